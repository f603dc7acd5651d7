//! A self-test of the rustls that is linked in.
//!
//! The server side relies on how rustls calls its crypto provider, which no promise of rustls
//! covers. Before the first ECH server of a process is made, whole handshakes run in memory through
//! the layer, against rustls' own client: an offer accepted and one rejected under each TLS 1.3
//! suite, and both again with a HelloRetryRequest. A rustls that behaves otherwise is refused here,
//! once, and not in the first handshake of a visitor.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::server::EchKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, EchConfig, EchMode, EchStatus};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs, verify_tls13_signature};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, PeerIncompatible, ServerConfig,
    ServerConnection, SignatureScheme, SupportedCipherSuite,
};
use rustls_pki_types::{
    CertificateDer, EchConfigListBytes, PrivatePkcs8KeyDer, ServerName, UnixTime,
};

use super::outcome::EchOutcome;
use super::provider::provider;
use super::settings::EchServer;

/// A P-256 certificate for the two names below and its key, which protect nothing.
const CERTIFICATE: &[u8] = include_bytes!("self_test/certificate.der");
const KEY: &[u8] = include_bytes!("self_test/key.der");
const INNER: &str = "inner.self-test.invalid";
const PUBLIC: &str = "public.self-test.invalid";

/// More flights than any handshake has.
const MAX_FLIGHTS: usize = 8;

/// The rustls that is linked in does not behave as the server side of ECH relies on.
///
/// It is a version that this crate does not know yet, or one that was changed. No ECH server is
/// made with it; nothing was sent to any peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this version of rustls does not behave as an ECH server relies on ({case}: {seen}); use a \
     version that this release of echkit was tested with, or a newer echkit"
)]
pub struct UnknownRustls {
    case: String,
    seen: String,
}

/// The result for [`provider()`](super::provider()), tested once per process.
pub(super) fn of_this_process() -> Result<(), UnknownRustls> {
    static RESULT: OnceLock<Result<(), UnknownRustls>> = OnceLock::new();
    RESULT.get_or_init(|| self_test(&provider())).clone()
}

/// Tests the layer of `provider`, whose TLS 1.3 suites must be wrapped by it.
pub(super) fn self_test(provider: &CryptoProvider) -> Result<(), UnknownRustls> {
    let setup = |seen: String| UnknownRustls {
        case: "set-up".to_owned(),
        seen,
    };
    let key = |id| {
        let mut params = KeyParams::new(PUBLIC).map_err(|error| setup(error.to_string()))?;
        params.config_id = Some(id);
        EchKey::generate(&params).map_err(|error| setup(error.to_string()))
    };
    let (current, stale) = (key(1)?, key(2)?);
    let (first, second): (&dyn SupportedKxGroup, _) =
        (aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1);
    let suites = provider.cipher_suites.iter().copied();
    for suite in suites.filter(|suite| suite.tls13().is_some()) {
        // Every suite has its own hash and AEAD; a HelloRetryRequest is the same under all.
        let groups = match suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 {
            true => &[first, second][..],
            false => &[first],
        };
        for group in groups.iter().copied() {
            for offered in [&current, &stale] {
                let case = Case {
                    suite,
                    group,
                    offered,
                    server_key: &current,
                    retries: group.name() != first.name(),
                };
                case.run(provider, [first, second])
                    .map_err(|seen| UnknownRustls {
                        case: case.name(),
                        seen,
                    })?;
            }
        }
    }
    Ok(())
}

/// One handshake.
struct Case<'a> {
    suite: SupportedCipherSuite,
    /// The one group of the server.
    group: &'static dyn SupportedKxGroup,
    offered: &'a EchKey,
    server_key: &'a EchKey,
    /// Whether the server has to ask for another key share.
    retries: bool,
}

impl Case<'_> {
    fn accepts(&self) -> bool {
        std::ptr::eq(self.offered, self.server_key)
    }

    fn name(&self) -> String {
        format!(
            "{} under {:?}{}",
            match self.accepts() {
                true => "acceptance",
                false => "rejection",
            },
            self.suite.suite(),
            match self.retries {
                true => " after a HelloRetryRequest",
                false => "",
            },
        )
    }

    fn run(
        &self,
        provider: &CryptoProvider,
        client_groups: [&'static dyn SupportedKxGroup; 2],
    ) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        let (server, retry_configs) = self.server(provider).map_err(text)?;
        let mut client = self.client(client_groups).map_err(text)?;
        let mut handshake = server.handshake();
        for _ in 0..MAX_FLIGHTS {
            handshake
                .read(&sent(&mut client)?)
                .map_err(|error| error.to_string())?;
            let output = handshake.take_output();
            if !handshake.is_done() {
                receive(&mut client, &output).map_err(text)?;
                continue;
            }
            let (mut conn, outcome) = handshake
                .finish()
                .ok_or("the handshake is done and has no connection")?;
            let retried = conn.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest);
            if retried != self.retries {
                return Err("no HelloRetryRequest where one is due, or the reverse".to_owned());
            }
            let received = receive(&mut client, &output);
            return match self.accepts() {
                true => received
                    .map_err(text)
                    .and_then(|()| accepted(client, &mut conn, &outcome)),
                false => rejected(received, &outcome, &retry_configs),
            };
        }
        Err("the handshake does not end".to_owned())
    }

    fn server(&self, provider: &CryptoProvider) -> Result<(EchServer, Vec<u8>), Error> {
        let general = |error: &dyn std::fmt::Display| Error::General(error.to_string());
        let narrowed = CryptoProvider {
            cipher_suites: vec![self.suite],
            kx_groups: vec![self.group],
            ..provider.clone()
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(narrowed))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(CERTIFICATE)],
                PrivatePkcs8KeyDer::from(KEY).into(),
            )?;
        config.send_tls13_tickets = 0;
        let keys = EchKeys::new(vec![self.server_key.clone()]).map_err(|error| general(&error))?;
        let retry_configs = keys.retry_configs().map(EchConfigList::encode);
        let server = EchServer::untested(Arc::new(config), keys.into());
        Ok((server, retry_configs.unwrap_or_default()))
    }

    fn client(
        &self,
        groups: [&'static dyn SupportedKxGroup; 2],
    ) -> Result<ClientConnection, Error> {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| suite.suite() == self.suite.suite());
        provider.kx_groups = groups.to_vec();
        let list = EchConfigList::from(self.offered.config().clone()).encode();
        let offer = EchConfig::new(
            EchConfigListBytes::from(list),
            aws_lc_rs::hpke::ALL_SUPPORTED_SUITES,
        )?;
        let verifier = Pinned(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_ech(EchMode::Enable(offer))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let name =
            ServerName::try_from(INNER).map_err(|error| Error::General(error.to_string()))?;
        ClientConnection::new(Arc::new(config), name)
    }
}

/// Both sides agree that ECH was accepted, and on their keys.
fn accepted(
    mut client: ClientConnection,
    conn: &mut ServerConnection,
    outcome: &EchOutcome,
) -> Result<(), String> {
    match outcome {
        EchOutcome::Accepted { inner_sni, .. } if inner_sni.as_deref() == Some(INNER) => {}
        other => return Err(format!("the server takes it for {other:?}")),
    }
    if client.ech_status() != EchStatus::Accepted || client.is_handshaking() {
        return Err(format!("the client takes it for {:?}", client.ech_status()));
    }
    let io = |error: std::io::Error| error.to_string();
    client.writer().write_all(b"ping").map_err(io)?;
    let flight = sent(&mut client)?;
    let mut flight = flight.as_slice();
    while !flight.is_empty() {
        conn.read_tls(&mut flight).map_err(io)?;
        conn.process_new_packets().map_err(|e| e.to_string())?;
    }
    let mut read = [0; 4];
    conn.reader().read_exact(&mut read).map_err(io)?;
    match &read == b"ping" && !conn.is_handshaking() {
        true => Ok(()),
        false => Err("the server reads what the client did not write".to_owned()),
    }
}

/// The client authenticated the public_name and has the retry_configs.
fn rejected(
    received: Result<(), Error>,
    outcome: &EchOutcome,
    retry_configs: &[u8],
) -> Result<(), String> {
    match outcome {
        EchOutcome::Rejected {
            retry_configs: true,
            ..
        } => {}
        other => return Err(format!("the server takes it for {other:?}")),
    }
    match received {
        Err(
            error @ Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(
                Some(_),
            )),
        ) => match crate::retry_configs::retry_configs(&error).flatten() {
            Some(list) if list == retry_configs => Ok(()),
            other => Err(format!("the client has the retry_configs {other:02x?}")),
        },
        other => Err(format!("the client ends with {other:?}")),
    }
}

fn sent(client: &mut ClientConnection) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client
            .write_tls(&mut bytes)
            .map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}

fn receive(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        client
            .read_tls(&mut bytes)
            .map_err(|error| Error::General(error.to_string()))?;
        client.process_new_packets()?;
    }
    Ok(())
}

/// Trusts the certificate of the self-test only, and checks that the server holds its key.
#[derive(Debug)]
struct Pinned(CryptoProvider);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = server_name.to_str();
        match end_entity.as_ref() == CERTIFICATE && (name == INNER || name == PUBLIC) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General("another certificate or name".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 in the self-test".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rustls_that_is_linked_in_passes() {
        assert_eq!(of_this_process(), Ok(()));
    }
}
