//! What a key log is told about a real offer (RFC 9850): the HPKE shared secret and the ECHConfig,
//! under the random of the ClientHelloOuter.
//!
//! rustls logs neither. The shared secret is made in `setup_sealer`, where no hello exists yet. Its
//! random is in what is sealed with, ClientHelloOuterAAD (RFC 9849 §5.2), so that the sealer logs
//! both when it seals the first time. The hello after a HelloRetryRequest is sealed with the same
//! secret and has the same random.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use echkit_proto::config::Chosen;
use echkit_proto::hpke::{SenderContext, SharedSecret, Suite, setup_logged_sender};
use echkit_proto::key_log::{ECH_CONFIG, ECH_SECRET};
use rustls::crypto::hpke::{EncapsulatedSecret, HpkePublicKey, HpkeSealer};
use rustls::{Error, KeyLog};

use crate::hpke::other;

/// Where the random lies in ClientHelloOuterAAD, behind `legacy_version`.
const RANDOM: Range<usize> = 2..34;

/// A key log, and the config of the offer that it is told about.
#[derive(Debug)]
pub(super) struct OfferLog {
    /// A key log is told a line at a time: a panic leaves nothing half done.
    key_log: AssertUnwindSafe<Arc<dyn KeyLog>>,
    config: Arc<[u8]>,
}

impl Clone for OfferLog {
    fn clone(&self) -> Self {
        Self {
            key_log: AssertUnwindSafe(Arc::clone(&self.key_log)),
            config: Arc::clone(&self.config),
        }
    }
}

impl OfferLog {
    /// `None` when the log takes no secrets of ECH.
    pub(super) fn new(chosen: &Chosen, key_log: &Arc<dyn KeyLog>) -> Option<Self> {
        key_log.will_log(ECH_SECRET).then(|| Self {
            key_log: AssertUnwindSafe(Arc::clone(key_log)),
            config: chosen.config().encoded().into(),
        })
    }

    /// A sealer that logs when it is first used.
    pub(super) fn setup_sealer(
        self,
        suite: Suite,
        info: &[u8],
        public_key: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Box<dyn HpkeSealer + 'static>), Error> {
        let (enc, sender, secret) =
            setup_logged_sender(suite, &public_key.0, info).map_err(other)?;
        let unlogged = Some((self, secret));
        Ok((
            EncapsulatedSecret(enc),
            Box::new(LoggedSealer { sender, unlogged }),
        ))
    }
}

#[derive(Debug)]
struct LoggedSealer {
    sender: SenderContext,
    /// What the log has not been told yet.
    unlogged: Option<(OfferLog, SharedSecret)>,
}

impl HpkeSealer for LoggedSealer {
    fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        if let Some((log, secret)) = self.unlogged.take()
            && let Some(random) = aad.get(RANDOM)
        {
            log.key_log.log(ECH_SECRET, random, secret.as_bytes());
            log.key_log.log(ECH_CONFIG, random, &log.config);
        }
        self.sender.seal(aad, plaintext).map_err(other)
    }
}

/// Two key logs, each of which is told what it takes.
#[derive(Debug)]
pub(super) struct BothKeyLogs(pub(super) [Arc<dyn KeyLog>; 2]);

impl KeyLog for BothKeyLogs {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        for key_log in &self.0 {
            if key_log.will_log(label) {
                key_log.log(label, client_random, secret);
            }
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.0.iter().any(|key_log| key_log.will_log(label))
    }
}
