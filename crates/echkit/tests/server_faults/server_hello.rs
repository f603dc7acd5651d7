//! A ServerHello that cannot be confirmed, or is confirmed wrongly.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::EchStatus;
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, aws_lc_rs, hmac};
use rustls::{
    AlertDescription, CipherSuiteCommon, ClientConnection, SupportedCipherSuite, Tls13CipherSuite,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use echkit::server::{AcceptError, Acceptor, EchKeys, EchServer, HandshakeError};
use echkit_proto::key::EchKey;
use echkit_tls::server::doctored;

use echkit_test::in_memory::*;
use echkit_test::sealed::{SUITE, SecretLog, alert_of, one_suite};

/// The layer's hash, with messages changed on the way from rustls.
struct Deviant {
    layer: &'static dyn Hash,
    update: fn(&mut dyn Context, &[u8]),
}

struct DeviantContext {
    layer: Box<dyn Context>,
    update: fn(&mut dyn Context, &[u8]),
}

impl Hash for Deviant {
    fn start(&self) -> Box<dyn Context> {
        Box::new(DeviantContext {
            layer: self.layer.start(),
            update: self.update,
        })
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.layer.hash(data)
    }

    fn output_len(&self) -> usize {
        self.layer.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.layer.algorithm()
    }
}

impl Context for DeviantContext {
    fn fork_finish(&self) -> Output {
        self.layer.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self {
            layer: self.layer.fork(),
            update: self.update,
        })
    }

    fn finish(self: Box<Self>) -> Output {
        self.layer.finish()
    }

    fn update(&mut self, data: &[u8]) {
        (self.update)(&mut *self.layer, data);
    }
}

/// The suite's HKDF, with another way to begin.
struct OtherExtract {
    raw: &'static dyn Hkdf,
    extract: fn(&dyn Hkdf, &[u8]) -> Box<dyn HkdfExpander>,
}

impl Hkdf for OtherExtract {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.raw.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, _: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        (self.extract)(self.raw, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, rustls::Error> {
        let secret: SharedSecret = kx.complete(peer)?;
        Ok(self.raw.extract_from_secret(salt, secret.secret_bytes()))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        self.raw.expander_for_okm(okm)
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        self.raw.hmac_sign(key, message)
    }
}

struct NoExpander;

impl HkdfExpander for NoExpander {
    fn expand_slice(&self, _: &[&[u8]], _: &mut [u8]) -> Result<(), OutputLengthError> {
        Err(OutputLengthError)
    }

    fn expand_block(&self, _: &[&[u8]]) -> OkmBlock {
        OkmBlock::new(&[])
    }

    fn hash_len(&self) -> usize {
        32
    }
}

/// What goes wrong between rustls and the layer.
#[derive(Clone, Copy)]
struct Fault {
    update: fn(&mut dyn Context, &[u8]),
    extract: fn(&dyn Hkdf, &[u8]) -> Box<dyn HkdfExpander>,
}

const NO_FAULT: Fault = Fault {
    update: |layer, data| layer.update(data),
    extract: |raw, secret| raw.extract_from_secret(None, secret),
};

/// A ServerHello, or a HelloRetryRequest.
const SERVER_HELLO: Option<&u8> = Some(&2);

/// A rustls with a fault.
fn provider_with(fault: Fault) -> CryptoProvider {
    let raw = SUITE.tls13().unwrap();
    let hkdf = Box::leak(Box::new(OtherExtract {
        raw: raw.hkdf_provider,
        extract: fault.extract,
    }));
    let hash = Box::leak(Box::new(Deviant {
        layer: doctored::transcript_hash(raw.common.hash_provider, hkdf),
        update: fault.update,
    }));
    let suite = Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: raw.common.suite,
            hash_provider: hash,
            confidentiality_limit: raw.common.confidentiality_limit,
        },
        hkdf_provider: raw.hkdf_provider,
        aead_alg: doctored::record_protection(raw.aead_alg),
        quic: None,
    }));
    CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(suite)],
        ..aws_lc_rs::default_provider()
    }
}

/// An ECH server on a rustls with a fault, and a log of its secrets.
fn server_with(pki: &Pki, keys: Vec<EchKey>, fault: Fault, retries: bool) -> Faulty {
    let mut provider = provider_with(fault);
    if retries {
        provider.kx_groups = vec![aws_lc_rs::kx_group::SECP384R1];
    }
    let mut config = pki.server_with(Arc::new(provider));
    let log = Arc::new(SecretLog::default());
    config.key_log = log.clone();
    let config = Arc::new(config);
    // `EchServer::new` refuses such a provider, and is right.
    assert!(EchServer::new(config.clone(), EchKeys::default()).is_err());
    let server = doctored::server(config, EchKeys::new(keys).unwrap());
    Faulty { server, log }
}

struct Faulty {
    server: EchServer,
    log: Arc<SecretLog>,
}

/// One connection over TCP, as seen from both ends.
struct Seen {
    sent: Vec<u8>,
    received: Vec<u8>,
    client: ClientConnection,
    client_error: rustls::Error,
    server_error: AcceptError,
}

/// Performs the handshake until the client fails, and reads what the server sends to its end.
async fn shake(server: EchServer, mut client: ClientConnection) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut tcp = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let serve = tokio::spawn(async move { Acceptor::from(server).accept(far).await.unwrap_err() });
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let work = run(&mut client, &mut tcp, &mut sent, &mut received);
    let client_error = tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .expect("somebody is silent");
    drop(tcp);
    Seen {
        sent,
        received,
        client,
        client_error,
        server_error: serve.await.unwrap(),
    }
}

async fn run<IO: AsyncRead + AsyncWrite + Unpin>(
    client: &mut ClientConnection,
    io: &mut IO,
    sent: &mut Vec<u8>,
    received: &mut Vec<u8>,
) -> rustls::Error {
    let mut error = None;
    loop {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        io.write_all(&flight).await.unwrap();
        sent.extend(flight);
        let mut buffer = vec![0; 4096];
        let len = io.read(&mut buffer).await.unwrap();
        if len == 0 {
            return error.expect("the connection ended without a word");
        }
        received.extend_from_slice(&buffer[..len]);
        let mut unread = &buffer[..len];
        while error.is_none() && !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            error = client.process_new_packets().err();
        }
    }
}

/// Faults that keep the layer from confirming what rustls sends.
fn unconfirmed() -> [Fault; 4] {
    let unconfirmable = Fault {
        extract: |_, _| Box::new(NoExpander),
        ..NO_FAULT
    };
    // What is hashed is not what is sent.
    let other_message = Fault {
        update: |layer, data| {
            let mut data = data.to_vec();
            if data.first() == SERVER_HELLO {
                *data.last_mut().unwrap() ^= 1;
            }
            layer.update(&data);
        },
        ..NO_FAULT
    };
    // One update is not one message.
    let in_pieces = Fault {
        update: |layer, data| data.chunks(50).for_each(|piece| layer.update(piece)),
        ..NO_FAULT
    };
    let hello_in_pieces = Fault {
        update: |layer, data| match data.first() == SERVER_HELLO {
            true => data.chunks(50).for_each(|piece| layer.update(piece)),
            false => layer.update(data),
        },
        ..NO_FAULT
    };
    [unconfirmable, other_message, in_pieces, hello_in_pieces]
}

/// A confirmation under a secret that the client does not have.
const WRONGLY_CONFIRMED: Fault = Fault {
    extract: |raw, secret| raw.extract_from_secret(None, &[secret, &[0]].concat()),
    ..NO_FAULT
};

/// The layer cannot put its confirmation into the ServerHello, or HelloRetryRequest, that rustls
/// wrote: the client gets internal_error and not one byte of that message.
#[tokio::test]
async fn an_unconfirmed_server_hello_is_internal_error() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for (number, fault) in unconfirmed().into_iter().enumerate() {
        for retries in [false, true] {
            let faulty = server_with(&pki, vec![key.clone()], fault, retries);
            let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
            let seen = shake(faulty.server, client).await;
            assert_eq!(seen.received, [21, 3, 3, 0, 2, 2, 80], "{number}");
            assert_eq!(
                seen.client_error,
                rustls::Error::AlertReceived(AlertDescription::InternalError)
            );
            assert!(matches!(
                seen.server_error,
                AcceptError::Handshake(HandshakeError::Interposition)
            ));
            assert!(!contains(&seen.sent, SECRET));
        }
    }
}

/// A confirmation that the client does not find is a rejection to it: the keys of both sides then
/// differ, and each says so.
#[tokio::test]
async fn a_wrongly_confirmed_server_hello_ends_with_bad_record_mac() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let faulty = server_with(&pki, vec![key.clone()], WRONGLY_CONFIRMED, false);
    let mut config = pki.client_with(offer(&key), one_suite());
    let log = Arc::new(SecretLog::default());
    config.key_log = log.clone();
    let seen = shake(faulty.server, connect(config, SECRET)).await;
    assert_eq!(seen.client.ech_status(), EchStatus::Rejected);
    assert_eq!(seen.client_error, rustls::Error::DecryptError);
    assert_eq!(alert_of(&log.open_client(&seen.sent)), Some(20));
    assert_eq!(alert_of(&faulty.log.open_server(&seen.received)), Some(20));
    assert!(matches!(seen.server_error, AcceptError::Finishing { .. }));
    assert!(!contains(&seen.sent, SECRET));
}

/// The same without a fault: the tests above fail for the fault alone.
#[tokio::test]
async fn without_a_fault_the_doctored_server_is_a_server() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for retries in [false, true] {
        let faulty = server_with(&pki, vec![key.clone()], NO_FAULT, retries);
        let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
        let joined = join(&faulty.server, client, 9999).unwrap();
        assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
    }
}

#[test]
fn the_self_test_refuses_every_such_rustls_and_no_other() {
    assert_eq!(doctored::self_test(&provider_with(NO_FAULT)), Ok(()));
    for fault in unconfirmed().into_iter().chain([WRONGLY_CONFIRMED]) {
        let error = doctored::self_test(&provider_with(fault)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("this version of rustls") && text.contains("TLS13"),
            "{text}"
        );
    }
}
