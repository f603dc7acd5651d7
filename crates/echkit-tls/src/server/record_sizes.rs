//! How long the records of a server are.
//!
//! The record with EncryptedExtensions grows by the retry_configs after rustls has cut it, so that
//! rustls has to leave room. It leaves the same room in every connection, accepted, rejected or
//! without an offer: otherwise the first full record would tell a visitor of the public site from
//! one of a hidden site (RFC 9849 §10.10.4), for as long as the connection lasts.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use echkit_proto::tls_record::{MAX_PLAINTEXT, RECORD_HEADER_LEN};
use rustls::ServerConfig;

/// Room is left in steps of this, so that a rotation of keys seldom changes it.
const STEP: usize = 256;

/// The shortest record that rustls makes, header included.
const LEAST: usize = 32;

/// Configurations that leave room in each record. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct RecordSizes {
    /// As the operator made it.
    config: Arc<ServerConfig>,
    /// By the room that they leave. As many as there are steps in the longest extension, at most.
    made: Arc<RwLock<BTreeMap<usize, Arc<ServerConfig>>>>,
}

impl RecordSizes {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Self {
        Self {
            config: Arc::clone(config),
            made: Arc::default(),
        }
    }

    /// The configuration whose records leave room for an extension of this length, within the
    /// operator's `max_fragment_size`.
    pub(super) fn with_room_for(&self, extension: usize) -> Arc<ServerConfig> {
        if extension == 0 {
            return Arc::clone(&self.config);
        }
        let most = RECORD_HEADER_LEN + MAX_PLAINTEXT;
        let max = self
            .config
            .max_fragment_size
            .map_or(most, |max| max.min(most));
        let left = |room: usize| max.checked_sub(room).filter(|left| *left >= LEAST);
        // Where the operator wants records too short for a step, it is exactly that length; where
        // not even that fits, the extension alone makes a record longer than asked for.
        let size = left(extension.next_multiple_of(STEP))
            .or_else(|| left(extension))
            .unwrap_or(LEAST);
        let known = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known.get(&size) {
            return Arc::clone(config);
        }
        drop(known);
        let mut config = ServerConfig::clone(&self.config);
        config.max_fragment_size = Some(size);
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(made.entry(size).or_insert_with(|| Arc::new(config)))
    }
}
