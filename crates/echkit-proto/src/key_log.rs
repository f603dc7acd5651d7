//! What a key log (`SSLKEYLOGFILE`, RFC 9850) says of ECH offers, and how it opens them.
//!
//! Two labels carry it, both with the random of the ClientHelloOuter: [`ECH_SECRET`], the HPKE
//! shared secret, and [`ECH_CONFIG`], the ECHConfig that the offer was made with. The secrets of
//! TLS 1.3 have the random of the ClientHelloInner where ECH was accepted, else of the outer one.

use std::collections::{HashMap, HashSet};

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

use crate::config::EchConfig;
use crate::hello::{ClientHello, EchExtension};
use crate::hpke::{HpkeError, KeySchedule, ReceiverContext, SharedSecret, Suite};
use crate::inner::{InnerError, decode_inner};

/// The label of the HPKE shared secret.
pub const ECH_SECRET: &str = "ECH_SECRET";
/// The label of the ECHConfig.
pub const ECH_CONFIG: &str = "ECH_CONFIG";

/// A label that each handshake of TLS 1.3 logs.
const HANDSHAKE: &str = "SERVER_HANDSHAKE_TRAFFIC_SECRET";

/// The offers of a key log, by the random of their ClientHelloOuter.
#[derive(Debug, Default)]
pub struct LoggedOffers {
    offers: HashMap<[u8; 32], LoggedOffer>,
    /// The randoms of handshakes that came to keys.
    handshakes: HashSet<[u8; 32]>,
}

#[derive(Debug, Default)]
struct LoggedOffer {
    secret: Option<SharedSecret>,
    config: Option<EchConfig>,
}

impl LoggedOffers {
    /// Reads the lines about ECH; all others, and those that are malformed, are passed over, as
    /// RFC 9850 §2 demands.
    pub fn parse(text: &str) -> Self {
        let mut offers: HashMap<[u8; 32], LoggedOffer> = HashMap::new();
        let mut handshakes = HashSet::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (
                Some(label @ (ECH_SECRET | ECH_CONFIG | HANDSHAKE)),
                Some(random),
                Some(value),
                None,
            ) = (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let (Ok(random), Ok(value)) = (
                HEXLOWER_PERMISSIVE.decode(random.as_bytes()),
                HEXLOWER_PERMISSIVE
                    .decode(value.as_bytes())
                    .map(Zeroizing::new),
            ) else {
                continue;
            };
            let Ok(random) = <[u8; 32]>::try_from(random) else {
                continue;
            };
            match label {
                HANDSHAKE => {
                    handshakes.insert(random);
                }
                ECH_SECRET => {
                    offers.entry(random).or_default().secret = SharedSecret::from_bytes(&value);
                }
                _ => offers.entry(random).or_default().config = EchConfig::parse(&value).ok(),
            }
        }
        Self { offers, handshakes }
    }

    /// Whether a handshake of TLS 1.3 with this random in its ClientHello came to keys: the
    /// random of a ClientHelloInner when ECH was accepted, of a ClientHelloOuter otherwise.
    pub fn has_handshake(&self, random: &[u8; 32]) -> bool {
        self.handshakes.contains(random)
    }

    /// What opens the hellos of the connection that begins with `outer`; `None` when the log does
    /// not know it.
    ///
    /// # Errors
    ///
    /// When the offer's suite is not implemented.
    pub fn opener(&self, outer: &ClientHello) -> Result<Option<LoggedOpener<'_>>, HpkeError> {
        let Some(LoggedOffer {
            secret: Some(secret),
            config: Some(config),
        }) = self.offers.get(&outer.random())
        else {
            return Ok(None);
        };
        let (Ok(Some(EchExtension::Outer(offer))), Some(contents)) =
            (outer.ech(), config.contents())
        else {
            return Ok(None);
        };
        let suite = Suite {
            kem: contents.kem,
            sym: offer.suite,
        };
        let schedule = KeySchedule::new(suite, &config.hpke_info())?;
        let receiver = ReceiverContext::with_secret(&schedule, secret)?;
        Ok(Some(LoggedOpener { config, receiver }))
    }
}

/// Opens the ECH offers of one connection, in the order in which they were sent.
#[derive(Debug)]
pub struct LoggedOpener<'a> {
    config: &'a EchConfig,
    receiver: ReceiverContext,
}

impl LoggedOpener<'_> {
    /// The ECHConfig that the offer was made with.
    pub fn config(&self) -> &EchConfig {
        self.config
    }

    /// Opens a ClientHelloOuter, the first or the one after a HelloRetryRequest.
    ///
    /// # Errors
    ///
    /// When it carries no offer that the logged secret opens, or what is inside is malformed.
    pub fn open(&mut self, outer: &ClientHello) -> Result<OpenedInner, OpenLoggedError> {
        let Ok(Some(EchExtension::Outer(offer))) = outer.ech() else {
            return Err(OpenLoggedError::NoOffer);
        };
        let aad = outer.outer_aad().ok_or(OpenLoggedError::NoOffer)?;
        let encoded = self
            .receiver
            .open(&aad, offer.payload)
            .map_err(OpenLoggedError::Hpke)?;
        let inner = decode_inner(&encoded, outer).map_err(OpenLoggedError::Inner)?;
        Ok(OpenedInner { encoded, inner })
    }
}

/// What was sealed in an offer.
#[non_exhaustive]
pub struct OpenedInner {
    /// EncodedClientHelloInner, its padding included.
    pub encoded: Vec<u8>,
    /// ClientHelloInner.
    pub inner: ClientHello,
}

/// Shows nothing of the hidden hello.
impl std::fmt::Debug for OpenedInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedInner").finish_non_exhaustive()
    }
}

/// Why a logged secret opened no offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenLoggedError {
    /// The hello carries no sealed hello.
    #[error("the ClientHello has no ECH offer")]
    NoOffer,
    /// HPKE refused it: a repeated hello, one that was changed, or GREASE.
    #[error("the logged secret does not open the offer: {0}")]
    Hpke(HpkeError),
    /// What was inside is malformed.
    #[error(transparent)]
    Inner(InnerError),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::key::{EchKey, KeyParams};

    #[test]
    fn lines_that_are_malformed_or_about_something_else_are_passed_over() {
        let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
        let config = HEXLOWER_PERMISSIVE.encode(key.config().encoded());
        let random = "ab".repeat(32);
        let secret = "01".repeat(32);
        let text = format!(
            "# a comment\nCLIENT_RANDOM {random} {secret}\nECH_SECRET {random}\n\
             ECH_SECRET zz {secret}\nECH_SECRET {random} {secret} more\n\
             ECH_SECRET {} {secret}\nECH_SECRET {random} {}\nECH_CONFIG {random} 00\n",
            "ab".repeat(31),
            "01".repeat(65),
        );
        let offers = LoggedOffers::parse(&text);
        assert!(
            offers
                .offers
                .values()
                .all(|o| o.secret.is_none() && o.config.is_none())
        );
        let text = format!("{text}ECH_SECRET {random} {secret}\r\nECH_CONFIG {random} {config}\n");
        let offers = LoggedOffers::parse(&text);
        let offer = offers.offers.get(&[0xab; 32]).unwrap();
        assert_eq!(offer.secret.as_ref().unwrap().as_bytes(), [1; 32]);
        assert_eq!(offer.config.as_ref(), Some(key.config()));
        assert!(!format!("{offers:?}").contains("01, 01"));
    }
}
