//! A real offer as rustls is given it: with a config that differs from the server's in what only
//! the client uses, while HPKE's `info` keeps the server's bytes.
//!
//! rustls takes three things from the ECHConfig that it is given: the name in the outer hello, the
//! padding of the inner hello, and HPKE's `info` (RFC 9849 §6.1). Two of them are changed:
//!
//! - `maximum_name_length` says 0, so that rustls pads every name to 255 bytes, which is also how
//!   it pads GREASE. RFC 9849 §6.1.3 leaves the padding to the client; padded to what the config
//!   says, the payload's length would tell a real offer from GREASE.
//! - `public_name` is replaced where another name is to be shown (`outer_name.rs`).
//!
//! The third has to stay what the server computes, or it could open nothing. The suite is
//! therefore wrapped, and the wrapper is told the original `info` by the call that makes the
//! connection: rustls calls [`Hpke::setup_sealer`] once, in [`ClientConnection::new`], and keeps
//! the context for the hello after a HelloRetryRequest. No table is kept, in which configs that
//! look alike to rustls would have to be told apart. Outside such a call, and for any `info` other
//! than the one expected, the wrapper refuses to seal.
//!
//! [`ClientConnection::new`]: rustls::client::ClientConnection::new

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use echkit_proto::config::{Chosen, EchConfig, EchConfigList};
use echkit_proto::hpke::Suite;
use rustls::crypto::hpke::{
    EncapsulatedSecret, Hpke, HpkeOpener, HpkePrivateKey, HpkePublicKey, HpkeSealer, HpkeSuite,
};
use rustls::{KeyLog, OtherError};

use super::OuterName;
use super::offer_log::OfferLog;
use crate::hpke;

/// What rustls is given for a real offer.
pub(super) struct RustlsOffer {
    /// The ECHConfigList, of one config.
    pub(super) list: Vec<u8>,
    pub(super) suite: &'static dyn Hpke,
    pub(super) scope: InfoScope,
}

impl RustlsOffer {
    /// `key_log` is told the secret that opens the offer, unless it logs no such thing.
    pub(super) fn new(
        chosen: &Chosen,
        outer: Option<&OuterName>,
        key_log: &Arc<dyn KeyLog>,
    ) -> Result<Self, rustls::Error> {
        let suite = wrapped(chosen.suite())?;
        let mut contents = chosen.contents().clone();
        contents.maximum_name_length = 0;
        if let Some(name) = outer {
            contents.public_name = name.public_name().clone();
        }
        let given = EchConfig::try_from(contents)
            .map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))))?;
        let scope = InfoScope(Some(Infos {
            given: given.hpke_info().into(),
            original: chosen.config().hpke_info().into(),
            log: OfferLog::new(chosen, key_log),
        }));
        Ok(Self {
            list: EchConfigList::from(given).encode(),
            suite,
            scope,
        })
    }
}

/// The ECHConfig of one offer, for the call in which rustls makes the connection.
///
/// A [`ClientConnection`](rustls::client::ClientConnection) with a real offer can be made inside of
/// [`InfoScope::enter`] alone; elsewhere rustls gets an error from the suite.
#[derive(Clone, Debug)]
pub struct InfoScope(Option<Infos>);

/// `info` of a config (RFC 9849 §6.1).
#[derive(Clone, Debug)]
struct Infos {
    /// Of the config that rustls is given.
    given: Arc<[u8]>,
    /// Of the server's.
    original: Arc<[u8]>,
    log: Option<OfferLog>,
}

thread_local! {
    /// The offer of the connection that this thread is making.
    static CURRENT: RefCell<Option<Infos>> = const { RefCell::new(None) };
}

impl InfoScope {
    /// The scope of a connection without a real offer.
    pub(super) const NONE: Self = Self(None);

    /// Runs `make`, which makes the connection. Calls may be nested; each has its own offer.
    pub fn enter<T>(&self, make: impl FnOnce() -> T) -> T {
        /// Puts the offer of the call around back, after a panic too.
        struct Restore(Option<Infos>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(self.0.clone()));
        make()
    }
}

/// The offer whose config rustls was given with the `info` `given`.
fn current(given: &[u8]) -> Result<Infos, rustls::Error> {
    CURRENT.with_borrow(|current| match current {
        Some(infos) if *infos.given == *given => Ok(infos.clone()),
        _ => Err(rustls::Error::General(
            "a connection that offers ECH was made outside of InfoScope::enter".to_owned(),
        )),
    })
}

/// Encapsulating to the public key of an ECHConfig failed; another config may serve.
#[derive(Debug, thiserror::Error)]
#[error("cannot encapsulate to the ECHConfig's key: {0}")]
struct EncapsulationError(rustls::Error);

/// Whether `error` says that the config's key could not be used.
pub(super) fn is_encapsulation_error(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::Other(OtherError(other)) if other.is::<EncapsulationError>())
}

/// The wrapper of a suite: one for each, made once per process because rustls wants `'static`.
fn wrapped(suite: Suite) -> Result<&'static dyn Hpke, rustls::Error> {
    static WRAPPERS: LazyLock<Vec<OriginalInfo>> =
        LazyLock::new(|| hpke::all().iter().copied().map(OriginalInfo).collect());
    let wrapper = WRAPPERS
        .iter()
        .find(|wrapper| hpke::suite_of(wrapper.0) == suite);
    match wrapper {
        Some(wrapper) => Ok(wrapper),
        None => Err(hpke::unknown(suite)),
    }
}

/// A suite that seals with the `info` of the original config.
#[derive(Debug)]
struct OriginalInfo(&'static dyn Hpke);

impl Hpke for OriginalInfo {
    fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Vec<u8>), rustls::Error> {
        self.0
            .seal(&current(info)?.original, aad, plaintext, pub_key)
    }

    fn setup_sealer(
        &self,
        info: &[u8],
        pub_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Box<dyn HpkeSealer + 'static>), rustls::Error> {
        let Infos { original, log, .. } = current(info)?;
        match log {
            None => self.0.setup_sealer(&original, pub_key),
            Some(log) => log.setup_sealer(hpke::suite_of(self.0), &original, pub_key),
        }
        .map_err(|error| rustls::Error::Other(OtherError(Arc::new(EncapsulationError(error)))))
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
            .open(enc, &current(info)?.original, aad, ciphertext, secret_key)
    }

    fn setup_opener(
        &self,
        enc: &EncapsulatedSecret,
        info: &[u8],
        secret_key: &HpkePrivateKey,
    ) -> Result<Box<dyn HpkeOpener + 'static>, rustls::Error> {
        self.0
            .setup_opener(enc, &current(info)?.original, secret_key)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use echkit_proto::key::{EchKey, KeyParams};

    fn no_log() -> Arc<dyn KeyLog> {
        Arc::new(rustls::NoKeyLog {})
    }

    /// Two configs that rustls cannot tell apart.
    fn twins() -> [(RustlsOffer, Chosen); 2] {
        let key = EchKey::generate(&KeyParams::new("one.example").unwrap()).unwrap();
        [30, 64].map(|maximum_name_length| {
            let mut contents = key.contents().clone();
            contents.maximum_name_length = maximum_name_length;
            let list = EchConfigList::from(EchConfig::try_from(contents).unwrap());
            let chosen = list.select().chosen.unwrap();
            (RustlsOffer::new(&chosen, None, &no_log()).unwrap(), chosen)
        })
    }

    fn given(offer: &RustlsOffer) -> Vec<u8> {
        let list = EchConfigList::parse(&offer.list).unwrap();
        list.configs()[0].hpke_info()
    }

    #[test]
    fn rustls_sees_no_maximum_name_length_and_the_outer_name() {
        let [(_, chosen), _] = twins();
        let cover = OuterName::new("cover.example").unwrap();
        let offer = RustlsOffer::new(&chosen, Some(&cover), &no_log()).unwrap();
        let list = EchConfigList::parse(&offer.list).unwrap();
        let contents = list.configs()[0].contents().unwrap();
        assert_eq!(contents.maximum_name_length, 0);
        assert_eq!(contents.public_name.as_str(), Some("cover.example"));
    }

    #[test]
    fn nested_calls_have_each_their_own_info_and_a_panic_puts_the_outer_one_back() {
        let [(first, one), (second, other)] = twins();
        let info = given(&first);
        assert_eq!(info, given(&second), "rustls sees one and the same config");
        assert!(current(&info).is_err(), "nothing is sealed outside");
        first.scope.enter(|| {
            assert_eq!(*current(&info).unwrap().original, one.config().hpke_info());
            second.scope.enter(|| {
                assert_eq!(
                    *current(&info).unwrap().original,
                    other.config().hpke_info()
                );
            });
            let caught = std::panic::catch_unwind(|| second.scope.enter(|| panic!("in rustls")));
            assert!(caught.is_err());
            assert_eq!(*current(&info).unwrap().original, one.config().hpke_info());
            // A connection without an offer inherits none.
            InfoScope::NONE.enter(|| assert!(current(&info).is_err()));
            assert!(current(b"tls ech\0another config").is_err());
            std::thread::scope(|threads| {
                let elsewhere = threads.spawn(|| current(&info).is_err());
                assert!(elsewhere.join().unwrap());
            });
        });
        assert!(current(&info).is_err());
    }

    #[test]
    fn the_wrapper_refuses_to_seal_outside_of_the_call() {
        let [(offer, chosen), _] = twins();
        let key = HpkePublicKey(chosen.contents().public_key.clone());
        let info = given(&offer);
        let sealed = offer.suite.setup_sealer(&info, &key);
        let error = sealed.err().unwrap();
        assert!(error.to_string().contains("InfoScope"), "{error}");
        assert!(!is_encapsulation_error(&error));
        assert!(
            offer
                .scope
                .enter(|| offer.suite.setup_sealer(&info, &key))
                .is_ok()
        );
        let bad = HpkePublicKey(vec![1; 7]);
        let failed = offer
            .scope
            .enter(|| offer.suite.setup_sealer(&info, &bad))
            .err()
            .unwrap();
        assert!(is_encapsulation_error(&failed), "{failed}");
    }
}
