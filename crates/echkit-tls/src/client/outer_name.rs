//! An outer SNI other than the public_name, with the rejection still authenticated for the real
//! public_name.
//!
//! rustls writes the config's public_name into the outer hello, binds the config into HPKE's
//! `info`, and authenticates a rejection for the public_name. It is given a config whose
//! public_name is replaced, and two of those three are then put right:
//!
//! - the suite is wrapped, so that `info` holds the config's original bytes, without which the
//!   server could not open the offer (RFC 9849 §6.1);
//! - the verifier is wrapped, so that a rejection is verified for the original public_name
//!   (RFC 9849 §6.1.7).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

use echkit_proto::config::{Chosen, ConfigExtension, EchConfig, PublicName};
use echkit_proto::hpke::{Suite, suites};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::hpke::{
    EncapsulatedSecret, Hpke, HpkeOpener, HpkePrivateKey, HpkePublicKey, HpkeSealer, HpkeSuite,
};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::ClientSetupError;

/// Overrides being turned into a connection at one moment, at most.
const MAX_REGISTERED: usize = 4096;

/// A checked name for the outer hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterName(PublicName);

impl OuterName {
    /// Checks a name by the rules for a public_name (RFC 9849 §6.1.7).
    ///
    /// # Errors
    ///
    /// When it is an address, `none`, or not a host name.
    pub fn new(name: &str) -> Result<Self, ClientSetupError> {
        let refused = |reason: String| ClientSetupError::Setting {
            setting: "outer SNI",
            reason,
        };
        let bare = name.strip_prefix('[').unwrap_or(name);
        if bare
            .strip_suffix(']')
            .unwrap_or(bare)
            .parse::<IpAddr>()
            .is_ok()
        {
            return Err(refused(format!(
                "{name} is an address; SNI holds a host name (RFC 6066 §3)"
            ))
            .into());
        }
        if name.is_empty() || name.eq_ignore_ascii_case("none") {
            return Err(refused(
                "an outer hello without SNI would stand out; give a host name".to_owned(),
            )
            .into());
        }
        let name = name.to_ascii_lowercase();
        PublicName::new(&name)
            .map(Self)
            .map_err(|error| refused(format!("{name}: {error}")).into())
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        self.0.as_str().unwrap_or_default()
    }

    /// Refuses an override that names the origin itself: it would show what is to be hidden.
    ///
    /// # Errors
    ///
    /// When the two are the same.
    pub fn check_against(&self, host: &str) -> Result<(), ClientSetupError> {
        match self.as_str().eq_ignore_ascii_case(host) {
            true => Err(ClientSetupError::Setting {
                setting: "outer SNI",
                reason: format!("{host} is the very name that ECH is to hide"),
            }),
            false => Ok(()),
        }
    }
}

/// A config whose public_name is replaced, for a rustls configuration of one's own.
///
/// Use [`list`](Self::list), [`suite`](Self::suite) and [`verifier`](Self::verifier) together,
/// and keep this until [`rustls::ClientConnection::new`] has returned: that is when rustls makes
/// the HPKE context, for which the suite has to know the original config. [`ClientTls`] does all
/// this by itself.
///
/// [`ClientTls`]: super::ClientTls
#[derive(Debug)]
pub struct Renamed {
    list: Vec<u8>,
    suite: &'static dyn Hpke,
    replacement: String,
    public_name: ServerName<'static>,
    _registration: Registration,
}

impl Renamed {
    /// Replaces the public_name of `chosen` by `name`.
    ///
    /// # Errors
    ///
    /// When thousands of handshakes are beginning at this very moment.
    pub fn new(chosen: &Chosen, name: &OuterName) -> Result<Self, ClientSetupError> {
        replace(chosen, name)
    }

    /// The ECHConfigList for [`rustls::client::EchConfig::new`].
    pub fn list(&self) -> &[u8] {
        &self.list
    }

    /// The suite that goes with it; its `info` is the original config's (RFC 9849 §6.1).
    pub fn suite(&self) -> &'static dyn Hpke {
        self.suite
    }

    /// A verifier that asks `inner` for the original public_name where rustls asks for the
    /// replacement (RFC 9849 §6.1.7).
    pub fn verifier(&self, inner: Arc<dyn ServerCertVerifier>) -> Arc<dyn ServerCertVerifier> {
        Arc::new(PublicNameVerifier {
            inner,
            replacement: self.replacement.clone(),
            public_name: self.public_name.clone(),
        })
    }
}

fn replace(chosen: &Chosen, name: &OuterName) -> Result<Renamed, ClientSetupError> {
    let public_name = chosen.contents().public_name.to_string();
    let public_name =
        ServerName::try_from(public_name.clone()).map_err(|_| ClientSetupError::Setting {
            setting: "outer SNI",
            reason: format!("the public_name {public_name} is no host name"),
        })?;
    let suite = wrapped(chosen.suite_id()).ok_or(ClientSetupError::Setting {
        setting: "outer SNI",
        reason: format!("the suite {} is not implemented", chosen.suite_id()),
    })?;
    let (registration, serial) = reserve()?;
    let mut contents = chosen.contents().clone();
    contents.public_name = name.0.clone();
    // Configs may differ in their public_name alone, which is gone here. A serial number in an
    // optional extension keeps their `info` apart; it never leaves the process.
    let number = (1..0x8000)
        .find(|number| contents.extensions.iter().all(|e| e.number != *number))
        .unwrap_or_default();
    contents.extensions.push(ConfigExtension {
        number,
        data: serial.to_be_bytes().to_vec(),
    });
    let replaced = EchConfig::from(contents);
    let registration = registration.fill(replaced.hpke_info(), chosen.config.hpke_info());
    Ok(Renamed {
        list: echkit_proto::config::EchConfigList::from(replaced).encode(),
        suite,
        replacement: name.as_str().to_owned(),
        public_name,
        _registration: registration,
    })
}

/// `info` as rustls computes it → `info` as the server computes it.
static ORIGINALS: Mutex<Originals> = Mutex::new(Originals {
    known: None,
    reserved: 0,
    serial: 0,
});

struct Originals {
    known: Option<HashMap<Vec<u8>, Vec<u8>>>,
    reserved: usize,
    serial: u64,
}

fn originals() -> std::sync::MutexGuard<'static, Originals> {
    ORIGINALS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn reserve() -> Result<(Registration, u64), ClientSetupError> {
    let mut originals = originals();
    if originals.reserved >= MAX_REGISTERED {
        return Err(ClientSetupError::Setting {
            setting: "outer SNI",
            reason: format!("more than {MAX_REGISTERED} handshakes begin at once"),
        });
    }
    originals.reserved += 1;
    originals.serial += 1;
    Ok((Registration { key: None }, originals.serial))
}

/// A place in the table of originals, given back on drop.
#[derive(Debug)]
struct Registration {
    key: Option<Vec<u8>>,
}

impl Registration {
    fn fill(mut self, key: Vec<u8>, original: Vec<u8>) -> Self {
        originals()
            .known
            .get_or_insert_default()
            .insert(key.clone(), original);
        self.key = Some(key);
        self
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut originals = originals();
        originals.reserved -= 1;
        if let (Some(key), Some(known)) = (&self.key, &mut originals.known) {
            known.remove(key);
        }
    }
}

/// The wrapper of a suite: one for each, made once per process because rustls wants `'static`.
fn wrapped(suite: Suite) -> Option<&'static dyn Hpke> {
    static WRAPPERS: OnceLock<&'static [OriginalInfo]> = OnceLock::new();
    WRAPPERS
        .get_or_init(|| {
            let wrappers: Vec<_> = suites().iter().map(|inner| OriginalInfo(*inner)).collect();
            Box::leak(wrappers.into_boxed_slice())
        })
        .iter()
        .find(|wrapper| Suite::from(wrapper.suite()) == suite)
        .map(|wrapper| wrapper as &dyn Hpke)
}

/// A suite that seals with the `info` of the original config.
#[derive(Debug)]
struct OriginalInfo(&'static dyn Hpke);

impl OriginalInfo {
    fn original(&self, info: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        originals()
            .known
            .as_ref()
            .and_then(|known| known.get(info))
            .cloned()
            .ok_or_else(|| rustls::Error::General("unknown ECHConfig behind an outer SNI".into()))
    }
}

impl Hpke for OriginalInfo {
    fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Vec<u8>), rustls::Error> {
        self.0.seal(&self.original(info)?, aad, plaintext, pub_key)
    }

    fn setup_sealer(
        &self,
        info: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Box<dyn HpkeSealer + 'static>), rustls::Error> {
        self.0.setup_sealer(&self.original(info)?, pub_key)
    }

    fn open(
        &self,
        enc: &EncapsulatedSecret,
        info: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
        secret_key: &HpkePrivateKey,
    ) -> Result<Vec<u8>, rustls::Error> {
        self.0
            .open(enc, &self.original(info)?, aad, ciphertext, secret_key)
    }

    fn setup_opener(
        &self,
        enc: &EncapsulatedSecret,
        info: &[u8],
        secret_key: &HpkePrivateKey,
    ) -> Result<Box<dyn HpkeOpener + 'static>, rustls::Error> {
        self.0.setup_opener(enc, &self.original(info)?, secret_key)
    }

    fn generate_key_pair(&self) -> Result<(HpkePublicKey, HpkePrivateKey), rustls::Error> {
        self.0.generate_key_pair()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn suite(&self) -> HpkeSuite {
        self.0.suite()
    }
}

/// A verifier that asks for the public_name where rustls asks for its replacement.
#[derive(Debug)]
struct PublicNameVerifier {
    inner: Arc<dyn ServerCertVerifier>,
    replacement: String,
    public_name: ServerName<'static>,
}

impl ServerCertVerifier for PublicNameVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let server_name = match server_name {
            ServerName::DnsName(name) if name.as_ref().eq_ignore_ascii_case(&self.replacement) => {
                &self.public_name
            }
            other => other,
        };
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use echkit_proto::config::EchConfigList;
    use echkit_proto::key::{EchKey, KeyParams};

    #[test]
    fn addresses_none_and_the_origin_itself_are_refused() {
        for bad in [
            "192.0.2.1",
            "2001:db8::1",
            "[2001:db8::1]",
            "none",
            "",
            "a_b.example",
            "1.2",
        ] {
            assert!(OuterName::new(bad).is_err(), "{bad:?}");
        }
        let name = OuterName::new("Cover.example").unwrap();
        assert_eq!(name.as_str(), "cover.example");
        assert!(name.check_against("cover.EXAMPLE").is_err());
        assert!(name.check_against("hidden.example").is_ok());
    }

    #[test]
    fn configs_that_differ_in_public_name_alone_are_kept_apart_and_forgotten() {
        let key = EchKey::generate(&KeyParams::new("one.example").unwrap()).unwrap();
        let mut contents = key.contents().clone();
        contents.public_name = PublicName::new("two.example").unwrap();
        let one = EchConfigList::from(key.config().clone());
        let two = EchConfigList::from(EchConfig::from(contents));
        let cover = OuterName::new("cover.example").unwrap();

        let chosen = [one, two].map(|list| list.select().chosen.unwrap());
        let replaced = chosen.each_ref().map(|c| Renamed::new(c, &cover).unwrap());
        let infos = replaced.each_ref().map(|r| {
            let list = EchConfigList::parse(r.list()).unwrap();
            assert_eq!(
                list.configs()[0].contents().unwrap().public_name.as_str(),
                Some("cover.example")
            );
            list.configs()[0].hpke_info()
        });
        for (info, chosen) in infos.iter().zip(&chosen) {
            let original = OriginalInfo(chosen.suite).original(info).unwrap();
            assert_eq!(original, chosen.config.hpke_info());
        }
        drop(replaced);
        assert!(OriginalInfo(chosen[0].suite).original(&infos[0]).is_err());
    }
}
