//! The client-facing server's decisions about a hello (RFC 9849 §7), without a connection.

use std::fmt;
use std::sync::Arc;

use crate::hello::{ClientHello, EchExtension, HelloError, OuterEch};
use crate::hpke::{ReceiverContext, Suite, SymmetricSuite};
use crate::inner::{InnerError, decode_checked};
use crate::key::{EchKey, OpenError};
use zeroize::Zeroizing;

use super::keys::{EchKeys, MAX_SAME_ID};
use crate::alert::Alert;

/// How hellos are judged.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Rules {
    /// Trust that every client is a client-facing server.
    pub backend: bool,
    /// Try every key, whatever config_id the hello names.
    pub trial_decryption: bool,
    /// Refuse opened offers whose outer name is not the key's public_name.
    pub check_outer_sni: bool,
}

/// How many keys trial decryption tries: each costs an HPKE operation.
const MAX_TRIALS: usize = 4 * MAX_SAME_ID;

/// TLS 1.2, the last version that an inner hello must not offer.
const TLS12: u16 = 0x0303;

/// What a first hello turned out to be.
#[derive(Debug)]
pub enum HelloVerdict {
    /// It offers no ECH.
    NotOffered,
    /// An offer that a key opened.
    Accepted(Box<Opened>),
    /// An offer that no key opened: the outer hello is answered.
    Rejected(RejectReason),
    /// A ClientHelloInner, at a backend server.
    Backend,
}

/// An offer that was opened.
pub struct Opened {
    /// The ClientHelloInner, decoded.
    pub inner: ClientHello,
    /// The HPKE suite of the offer.
    pub suite: Suite,
    /// The config_id of the key that opened it.
    pub config_id: u8,
    /// What a second hello is held against.
    pub retained: Retained,
}

/// Shows nothing of the hidden hello.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("suite", &self.suite)
            .field("config_id", &self.config_id)
            .finish_non_exhaustive()
    }
}

/// What the second hello is held against after a HelloRetryRequest (RFC 9849 §7.1.1).
pub struct Retained {
    receiver: ReceiverContext,
    suite: SymmetricSuite,
    config_id: u8,
    random: [u8; 32],
}

impl fmt::Debug for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retained")
            .field("suite", &self.suite)
            .field("config_id", &self.config_id)
            .finish_non_exhaustive()
    }
}

/// Judges the first hello of a connection (RFC 9849 §7, §7.1).
///
/// # Errors
///
/// When the client broke a rule that ends the handshake, with the alert of [`Misbehaviour::alert`].
pub fn judge(
    hello: &ClientHello,
    keys: &EchKeys,
    rules: Rules,
) -> Result<HelloVerdict, Misbehaviour> {
    match (hello.ech().map_err(Misbehaviour::Malformed)?, rules.backend) {
        (None, _) => Ok(HelloVerdict::NotOffered),
        (Some(EchExtension::Unknown(kind)), _) => Err(Misbehaviour::UnknownType(kind)),
        (Some(EchExtension::Inner), false) => Err(Misbehaviour::InnerFromNetwork),
        (Some(EchExtension::Outer(_)), true) => Err(Misbehaviour::OuterAtBackend),
        (Some(EchExtension::Inner), true) => match hello.supported_versions() {
            Some(versions) if versions.iter().all(|v| *v > TLS12) => Ok(HelloVerdict::Backend),
            _ => Err(Misbehaviour::Inner(InnerError::OldVersion)),
        },
        (Some(EchExtension::Outer(offer)), false) => open(hello, &offer, keys, rules),
    }
}

/// RFC 9849 §7.1: tries the candidates.
fn open(
    hello: &ClientHello,
    offer: &OuterEch<'_>,
    keys: &EchKeys,
    rules: Rules,
) -> Result<HelloVerdict, Misbehaviour> {
    let mut reason = match keys.keys().is_empty() {
        true => RejectReason::NoKeys,
        false => RejectReason::UnknownConfigId,
    };
    let candidates = keys
        .keys()
        .iter()
        .filter(|key| rules.trial_decryption || key.config_id() == offer.config_id)
        .take(MAX_TRIALS);
    let mut aad = None;
    for key in candidates {
        let mut receiver = match key.setup_receiver(offer.suite, offer.enc) {
            Ok(receiver) => receiver,
            Err(OpenError::SuiteNotOffered(_)) => {
                reason = reason.max(RejectReason::SuiteNotOffered);
                continue;
            }
            Err(_) => {
                reason = RejectReason::NotOpened;
                continue;
            }
        };
        let aad = aad.get_or_insert_with(|| hello.outer_aad().unwrap_or_default());
        let Ok(encoded) = receiver.open(aad, offer.payload) else {
            reason = RejectReason::NotOpened;
            continue;
        };
        let encoded = Zeroizing::new(encoded);
        check_outer_sni(hello, key, rules)?;
        let inner = decode_checked(&encoded, hello).map_err(Misbehaviour::Inner)?;
        return Ok(HelloVerdict::Accepted(Box::new(Opened {
            suite: Suite {
                kem: key.contents().kem,
                sym: offer.suite,
            },
            config_id: key.config_id(),
            retained: Retained {
                receiver,
                suite: offer.suite,
                config_id: offer.config_id,
                random: inner.random(),
            },
            inner,
        })));
    }
    Ok(HelloVerdict::Rejected(reason))
}

/// The optional check of RFC 9849 §7.1. The key that opened the offer is of one ECHConfig only,
/// since that config is part of the HPKE context: its public_name is the one to compare with.
fn check_outer_sni(
    hello: &ClientHello,
    key: &Arc<EchKey>,
    rules: Rules,
) -> Result<(), Misbehaviour> {
    let public = key.contents().public_name.as_str();
    let same = match (hello.server_name(), public) {
        (Some(outer), Some(public)) => outer.eq_ignore_ascii_case(public),
        _ => false,
    };
    match same || !rules.check_outer_sni {
        true => Ok(()),
        false => Err(Misbehaviour::OuterName),
    }
}

impl Retained {
    /// RFC 9849 §7.1.1: opens the second hello of an accepted connection.
    ///
    /// # Errors
    ///
    /// When the second ClientHello's ECH extension does not match the first's.
    pub fn open_second(&mut self, hello: &ClientHello) -> Result<ClientHello, Misbehaviour> {
        let offer = match hello.ech().map_err(Misbehaviour::Malformed)? {
            None => return Err(Misbehaviour::SecondWithout),
            Some(EchExtension::Outer(offer)) => offer,
            Some(EchExtension::Inner) => return Err(Misbehaviour::InnerFromNetwork),
            Some(EchExtension::Unknown(kind)) => return Err(Misbehaviour::UnknownType(kind)),
        };
        let unchanged = offer.suite == self.suite && offer.config_id == self.config_id;
        if !unchanged || !offer.enc.is_empty() {
            return Err(Misbehaviour::SecondChanged);
        }
        let encoded = self
            .receiver
            .open(&hello.outer_aad().unwrap_or_default(), offer.payload)
            .map_err(|_| Misbehaviour::SecondNotOpened)?;
        let encoded = Zeroizing::new(encoded);
        let inner = decode_checked(&encoded, hello).map_err(Misbehaviour::Inner)?;
        // RFC 8446 §4.1.2: the second hello is the first one but for named changes.
        match inner.random() == self.random {
            true => Ok(inner),
            false => Err(Misbehaviour::SecondChanged),
        }
    }
}

/// Judges the second hello of a connection whose first offer was rejected, or that made none:
/// whether it makes an offer. That is not opened (RFC 9849 §7.1.1), but what no client may send is
/// refused all the same.
///
/// # Errors
///
/// When no client may send such a hello.
pub fn judge_outer_second(hello: &ClientHello, backend: bool) -> Result<bool, Misbehaviour> {
    match (hello.ech().map_err(Misbehaviour::Malformed)?, backend) {
        (None, _) => Ok(false),
        (Some(EchExtension::Outer(_)), false) => Ok(true),
        (Some(EchExtension::Outer(_)), true) => Err(Misbehaviour::OuterAtBackend),
        // The first hello was none that a client-facing server opened.
        (Some(EchExtension::Inner), true) => Err(Misbehaviour::SecondChanged),
        (Some(EchExtension::Inner), false) => Err(Misbehaviour::InnerFromNetwork),
        (Some(EchExtension::Unknown(kind)), _) => Err(Misbehaviour::UnknownType(kind)),
    }
}

/// Judges the second hello at a backend server; `random` is that of the first.
///
/// # Errors
///
/// When the second ClientHello's ECH extension does not match the first's.
pub fn judge_backend_second(hello: &ClientHello, random: &[u8; 32]) -> Result<(), Misbehaviour> {
    match hello.ech().map_err(Misbehaviour::Malformed)? {
        None => Err(Misbehaviour::SecondWithout),
        Some(EchExtension::Outer(_)) => Err(Misbehaviour::OuterAtBackend),
        Some(EchExtension::Unknown(kind)) => Err(Misbehaviour::UnknownType(kind)),
        Some(EchExtension::Inner) if hello.random() != *random => Err(Misbehaviour::SecondChanged),
        Some(EchExtension::Inner) => Ok(()),
    }
}

/// Why an offer was not opened; the most specific reason among the keys tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RejectReason {
    /// The server has no ECH keys.
    NoKeys,
    /// No key has the offer's config_id.
    UnknownConfigId,
    /// A key has the config_id, but its config does not list the cipher suite.
    SuiteNotOffered,
    /// A key has the config_id and suite, but does not open the payload.
    NotOpened,
    /// The first hello made no offer, only the one after a HelloRetryRequest did; such an offer is
    /// not opened (RFC 9849 §7.1.1).
    OfferedLate,
}

/// What a client did that RFC 9849 answers with an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// The ECH extension, or the second hello, is malformed.
    #[error("malformed: {0}")]
    Malformed(HelloError),
    /// An ECHClientHelloType that does not exist (§7).
    #[error("unknown ECHClientHelloType {0}")]
    UnknownType(u8),
    /// A ClientHelloInner that came directly (§7).
    #[error("a ClientHelloInner was received from a client")]
    InnerFromNetwork,
    /// A ClientHelloOuter at a backend server (§7).
    #[error("a backend server received a ClientHelloOuter")]
    OuterAtBackend,
    /// The inner hello breaks a rule (§5.1, §7.1).
    #[error(transparent)]
    Inner(InnerError),
    /// The outer name is not the public_name, and that is checked (§7.1).
    #[error("the outer server_name is not the public_name of the key")]
    OuterName,
    /// No ECH in the second hello of an accepted connection (§7.1.1).
    #[error("the second ClientHello has no ECH extension")]
    SecondWithout,
    /// The second hello names another suite or key, has an `enc`, or another random (§7.1.1).
    #[error("the second ClientHello's ECH extension does not match the first's")]
    SecondChanged,
    /// The second payload does not open (§7.1.1).
    #[error("the second ClientHello's ECH payload cannot be decrypted")]
    SecondNotOpened,
}

impl Misbehaviour {
    /// The alert to abort with.
    pub fn alert(&self) -> Alert {
        match self {
            Self::Malformed(_) => Alert::DECODE_ERROR,
            Self::UnknownType(_)
            | Self::InnerFromNetwork
            | Self::OuterAtBackend
            | Self::OuterName
            | Self::SecondChanged => Alert::ILLEGAL_PARAMETER,
            Self::Inner(error) => error.alert(),
            Self::SecondWithout => Alert::MISSING_EXTENSION,
            Self::SecondNotOpened => Alert::DECRYPT_ERROR,
        }
    }
}
