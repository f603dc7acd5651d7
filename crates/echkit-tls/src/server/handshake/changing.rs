//! A connection while its messages are being changed: up to and with its ServerHello flight.

use std::sync::Arc;

use echkit_proto::hello::ClientHello;
use echkit_proto::tls_record::{ALERT, RecordWalker};
use rustls::{ProtocolVersion, ServerConnection};

use super::super::interpose::{Mode, Shared};
use super::super::outcome::{EchOutcome, dns_name};
use super::super::swap::Swapper;
use super::error::HandshakeError;
use super::feed::{drain, feed, last_words};
use echkit_proto::server::{RejectReason, Retained, judge_backend_second, judge_outer_second};

/// A connection whose messages are being changed.
pub(super) struct Changing {
    pub(super) conn: ServerConnection,
    pub(super) shared: Arc<Shared>,
    pub(super) swapper: Swapper,
    pub(super) outcome: EchOutcome,
    pub(super) offer: Offer,
    /// Follows the records that pass by, to tell where a hello begins.
    pub(super) passing: RecordWalker,
}

impl std::fmt::Debug for Changing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changing")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// What a second hello is held against.
pub(super) enum Offer {
    Accepted(Retained),
    Backend {
        random: [u8; 32],
    },
    /// The first hello is answered as it came: its offer was rejected, or it had none. `retry` is
    /// the extension that a rejected offer is answered with, empty when there is none.
    Outer {
        retry: Vec<u8>,
        backend: bool,
    },
}

impl Changing {
    /// Feeds rustls in the scope of this connection, and moves its output on, changed.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), HandshakeError> {
        let result = feed(&mut self.conn, Some(&self.shared), bytes);
        let mut records = Vec::new();
        drain(&mut self.conn, &mut records)?;
        let mut state = self.shared.lock();
        // Nothing of a failed change leaves, and nothing that the transcript did not see.
        if state.failed {
            return Err(HandshakeError::Interposition);
        }
        if let Err(error) = &result {
            if let (Mode::Accept { .. }, Some(unserved)) = (&state.mode, state.unserved) {
                // The alert is ours, in place of rustls' access_denied.
                return Err(unserved.into());
            }
            records = last_words(error, records);
            if records.first() == Some(&ALERT) {
                output.extend(records);
                return result;
            }
        }
        match state.mode {
            Mode::Accept { .. } => self
                .swapper
                .pass(&records, &mut state, output)
                .map_err(|_| HandshakeError::Interposition)?,
            Mode::Reject { .. } => {
                // rustls may fail between the two, and says why.
                if result.is_ok() && state.grown.is_some() != state.inserted {
                    return Err(HandshakeError::Interposition);
                }
                output.extend(records);
            }
        }
        result
    }

    /// What had to be changed was changed.
    pub(super) fn check(&self) -> Result<(), HandshakeError> {
        let state = self.shared.lock();
        let tls13 = self.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let changed = match state.mode {
            Mode::Accept { .. } => tls13 && state.server_hello && state.patches.is_empty(),
            Mode::Reject { .. } => state.inserted || !tls13,
        };
        match changed && !state.failed {
            true => Ok(()),
            false => Err(HandshakeError::Interposition),
        }
    }

    /// Judges the second hello by what became of the first, and returns what rustls gets for it.
    pub(super) fn judge_second(
        &mut self,
        hello: ClientHello,
    ) -> Result<ClientHello, HandshakeError> {
        match &mut self.offer {
            Offer::Accepted(retained) => retained.open_second(&hello),
            Offer::Backend { random } => judge_backend_second(&hello, random).map(|()| hello),
            Offer::Outer { retry, backend } => {
                judge_outer_second(&hello, *backend).map(|offered| {
                    // Nothing in EncryptedExtensions that the hello does not ask for (RFC 8446 §4.2).
                    let extension = match offered {
                        true => std::mem::take(retry),
                        false => Vec::new(),
                    };
                    let sent = !extension.is_empty();
                    self.shared.lock().mode = Mode::Reject { extension };
                    match &mut self.outcome {
                        EchOutcome::Rejected { retry_configs, .. } => *retry_configs = sent,
                        outcome if offered => {
                            *outcome = EchOutcome::Rejected {
                                outer_sni: dns_name(&hello),
                                reason: RejectReason::OfferedLate,
                                retry_configs: sent,
                            }
                        }
                        _ => {}
                    }
                    hello
                })
            }
        }
        .map_err(HandshakeError::Client)
    }
}
