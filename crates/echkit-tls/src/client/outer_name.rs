//! An outer SNI other than the public_name, with the rejection still authenticated for the real
//! public_name.
//!
//! rustls writes the config's public_name into the outer hello and authenticates a rejection for
//! it. It is given a config whose public_name is replaced (`real_offer.rs`), and the verifier is
//! wrapped, so that a rejection is verified for the original public_name (RFC 9849 §6.1.7).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use echkit_proto::config::{Chosen, PublicName};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::delegated_verifier::delegate_all_but_the_chain;
use crate::error::ClientSetupError;

/// Wrapped verifiers kept at most: one for each pair of outer SNI and public_name.
const MAX_WRAPPED_VERIFIERS: usize = 64;

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
            )));
        }
        if name.is_empty() || name.eq_ignore_ascii_case("none") {
            return Err(refused(
                "an outer hello without SNI would stand out; give a host name".to_owned(),
            ));
        }
        let name = name.to_ascii_lowercase();
        PublicName::new(&name)
            .map(Self)
            .map_err(|error| refused(format!("{name}: {error}")))
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        self.0.as_str().unwrap_or_default()
    }

    pub(super) fn public_name(&self) -> &PublicName {
        &self.0
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
                reason: format!("{host} is the name that ECH must hide"),
            }),
            false => Ok(()),
        }
    }
}

/// The verifier of a client, and its wrappers for outer names.
///
/// The wrapper of a pair of names is the same one each time, or no session would ever be resumed:
/// rustls compares verifiers by identity.
#[derive(Debug)]
pub(super) struct Verifiers {
    plain: Arc<dyn ServerCertVerifier>,
    wrapped: Mutex<HashMap<(String, String), Arc<dyn ServerCertVerifier>>>,
}

impl Verifiers {
    pub(super) fn new(plain: Arc<dyn ServerCertVerifier>) -> Self {
        Self {
            plain,
            wrapped: Mutex::default(),
        }
    }

    /// The client's own verifier.
    pub(super) fn plain(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::clone(&self.plain)
    }

    /// A verifier that asks for the public_name of `chosen` where rustls asks for `name`
    /// (RFC 9849 §6.1.7).
    pub(super) fn renaming(
        &self,
        chosen: &Chosen,
        name: &OuterName,
    ) -> Result<Arc<dyn ServerCertVerifier>, ClientSetupError> {
        let public_name = chosen.contents().public_name.to_string();
        let verified =
            ServerName::try_from(public_name.clone()).map_err(|_| ClientSetupError::Setting {
                setting: "outer SNI",
                reason: format!("the public_name {public_name} is not a host name"),
            })?;
        let mut wrapped = self.wrapped.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.as_str().to_owned(), public_name);
        if wrapped.len() >= MAX_WRAPPED_VERIFIERS && !wrapped.contains_key(&key) {
            wrapped.clear();
        }
        let verifier = wrapped.entry(key).or_insert_with(|| {
            Arc::new(PublicNameVerifier {
                inner: self.plain(),
                replacement: name.as_str().to_owned(),
                public_name: verified,
            })
        });
        Ok(Arc::clone(verifier))
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

    delegate_all_but_the_chain!(inner);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
}
