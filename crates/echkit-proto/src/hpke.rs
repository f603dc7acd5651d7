//! HPKE in base mode (RFC 9180) for Encrypted Client Hello.
//!
//! The four DHKEMs of RFC 9180 §7.1 with three KDFs (§7.2) and three AEADs (§7.3) run on aws-lc.
//! X-Wing needs the feature `x-wing`; without it that KEM is unknown.
//!
//! ```
//! use echkit_proto::hpke::{self, Kem, PrivateKey, Suite};
//!
//! let key = PrivateKey::generate(Kem::X25519)?;
//! let (enc, mut sender) = hpke::setup_sender(Suite::MANDATORY, key.public_key(), b"info")?;
//! let sealed = sender.seal(b"aad", b"hello")?;
//!
//! let mut receiver = hpke::setup_receiver(Suite::MANDATORY.sym, &enc, &key, b"info")?;
//! assert_eq!(receiver.open(b"aad", &sealed)?, b"hello");
//! # Ok::<(), hpke::HpkeError>(())
//! ```

mod context;
mod error;
mod kdf;
mod kem;
mod shared_secret;
mod suite;

pub use context::{KeySchedule, ReceiverContext, SenderContext};
pub use error::{HpkeError, MAX_INFO};
pub use kem::PrivateKey;
pub(crate) use kem::check_public_key;
pub use shared_secret::SharedSecret;
pub use suite::{Aead, Kdf, Kem, Suite, SymmetricSuite, UnknownAlgorithm, suites};

/// SetupBaseS (RFC 9180 §5.1.1): encapsulates to a public key, as its KEM serialises it. Returns
/// the encapsulated key and the context that seals.
///
/// # Errors
///
/// When the suite is not implemented, the public key is invalid, or `info` is too long.
pub fn setup_sender(
    suite: Suite,
    public_key: &[u8],
    info: &[u8],
) -> Result<(Vec<u8>, SenderContext), HpkeError> {
    setup_logged_sender(suite, public_key, info).map(|(enc, sender, _)| (enc, sender))
}

/// [`setup_sender`], with the shared secret for a key log (RFC 9850).
///
/// # Errors
///
/// When the suite is not implemented, the public key is invalid, or `info` is too long.
pub fn setup_logged_sender(
    suite: Suite,
    public_key: &[u8],
    info: &[u8],
) -> Result<(Vec<u8>, SenderContext, SharedSecret), HpkeError> {
    let schedule = KeySchedule::new(suite, info)?;
    #[cfg(feature = "count-setups")]
    count::SENDERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (secret, enc) = kem::encap(suite.kem, public_key)?;
    let sender = SenderContext::new(&schedule, &secret)?;
    Ok((enc, sender, SharedSecret(secret)))
}

/// SetupBaseR (RFC 9180 §5.1.1): decapsulates `enc` with the receiver's private key. Returns the
/// context that opens.
///
/// # Errors
///
/// When the suite is not implemented, `enc` is invalid, or `info` is too long.
pub fn setup_receiver(
    sym: SymmetricSuite,
    enc: &[u8],
    private_key: &PrivateKey,
    info: &[u8],
) -> Result<ReceiverContext, HpkeError> {
    let suite = Suite {
        kem: private_key.kem(),
        sym,
    };
    setup_scheduled_receiver(&KeySchedule::new(suite, info)?, enc, private_key)
}

/// [`setup_receiver`] with the part of the key schedule that is the same for every message.
///
/// # Errors
///
/// When `enc` is invalid, or the private key is of another KEM than the suite.
pub fn setup_scheduled_receiver(
    schedule: &KeySchedule,
    enc: &[u8],
    private_key: &PrivateKey,
) -> Result<ReceiverContext, HpkeError> {
    if schedule.suite().kem != private_key.kem() {
        return Err(HpkeError::PrivateKey(schedule.suite().kem));
    }
    #[cfg(feature = "count-setups")]
    count::RECEIVERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let secret = private_key.decap(enc)?;
    ReceiverContext::new(schedule, &secret)
}

fn check(suite: Suite, info: &[u8]) -> Result<(), HpkeError> {
    match info.len() {
        _ if !suite.is_supported() => Err(HpkeError::UnknownSuite(suite)),
        len if len > MAX_INFO => Err(HpkeError::InfoTooLong(len)),
        _ => Ok(()),
    }
}

/// How many contexts this process has set up, for tests that hold a connection to its cost.
#[cfg(feature = "count-setups")]
pub mod count {
    use std::sync::atomic::AtomicUsize;

    /// Calls of [`setup_sender`](super::setup_sender) that reached the KEM.
    pub static SENDERS: AtomicUsize = AtomicUsize::new(0);
    /// Calls of [`setup_receiver`](super::setup_receiver) that reached the KEM.
    pub static RECEIVERS: AtomicUsize = AtomicUsize::new(0);
}

#[cfg(test)]
mod tests;
