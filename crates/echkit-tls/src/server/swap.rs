//! The bytes that rustls sends, with the changed ServerHello and HelloRetryRequest in place of its
//! own. Nothing leaves that the transcript did not see.

use echkit_proto::accept::SERVER_HELLO;
use echkit_proto::hello::handshake_len;
use echkit_proto::tls_record::{
    APPLICATION_DATA, HANDSHAKE, MAX_PLAINTEXT, whole_records, wrap_handshake,
};

use super::interpose::State;

/// Swaps messages in a stream of whole records.
#[derive(Debug, Default)]
pub(super) struct Swapper {
    /// Fragments of a handshake message that is not whole yet.
    message: Vec<u8>,
    /// The longest of them, once there are several.
    fragment: Option<usize>,
}

/// The records are not what the transcript saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch;

impl Swapper {
    /// Appends `records`, changed as `state` demands, to `out`.
    pub(super) fn pass(
        &mut self,
        records: &[u8],
        state: &mut State,
        out: &mut Vec<u8>,
    ) -> Result<(), Mismatch> {
        let mut records = whole_records(records);
        for record in &mut records {
            match record.header.content_type {
                HANDSHAKE => self.fragment(record.content(), state, out)?,
                // Encrypted records follow the ServerHello: by then everything is swapped.
                APPLICATION_DATA if !state.patches.is_empty() || !self.message.is_empty() => {
                    return Err(Mismatch);
                }
                _ => out.extend_from_slice(record.bytes),
            }
        }
        match records.rest().is_empty() {
            true => Ok(()),
            false => Err(Mismatch),
        }
    }

    fn fragment(
        &mut self,
        content: &[u8],
        state: &mut State,
        out: &mut Vec<u8>,
    ) -> Result<(), Mismatch> {
        if !self.message.is_empty() {
            let longest = self.fragment.unwrap_or(self.message.len());
            self.fragment = Some(longest.max(content.len()));
        }
        self.message.extend_from_slice(content);
        let Some(len) = handshake_len(&self.message).filter(|len| *len <= self.message.len())
        else {
            return Ok(());
        };
        // One message to a record, and in the plain only these (RFC 8446 §4.1.3, §4.1.4).
        if self.message.len() > len || self.message[0] != SERVER_HELLO || state.patches.is_empty() {
            return Err(Mismatch);
        }
        let patch = state.patches.remove(0);
        if patch.original != self.message {
            return Err(Mismatch);
        }
        // What came in one record leaves in one: a few bytes more are no reason for a second.
        let fragment = self.fragment.take().unwrap_or(MAX_PLAINTEXT);
        out.extend(wrap_handshake(&patch.patched, fragment));
        self.message.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::interpose::{Mode, Padding, Patch, Shared};
    use super::*;

    fn pass(patches: &[(&[u8], &[u8])], records: &[u8]) -> Result<Vec<u8>, Mismatch> {
        let mode = Mode::Accept {
            inner_random: [0; 32],
        };
        let shared = Shared::new(mode, Vec::new(), Padding::default());
        let mut state = shared.lock();
        state.patches = patches
            .iter()
            .map(|(original, patched)| Patch {
                original: original.to_vec(),
                patched: patched.to_vec(),
            })
            .collect();
        let mut out = Vec::new();
        Swapper::default().pass(records, &mut state, &mut out)?;
        Ok(out)
    }

    const ORIGINAL: &[u8] = &[2, 0, 0, 4, 1, 2, 3, 4];
    const PATCHED: &[u8] = &[2, 0, 0, 6, 1, 2, 9, 9, 9, 9];

    #[test]
    fn swaps_a_fragmented_message_and_keeps_its_fragments_small() {
        for size in [1, 3, 8, 100] {
            let mut records = wrap_handshake(ORIGINAL, size);
            records.extend_from_slice(&[20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 1, 7]);
            let mut expected = match size < ORIGINAL.len() {
                true => wrap_handshake(PATCHED, size),
                false => wrap_handshake(PATCHED, MAX_PLAINTEXT),
            };
            expected.extend_from_slice(&[20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 1, 7]);
            assert_eq!(pass(&[(ORIGINAL, PATCHED)], &records), Ok(expected));
        }
    }

    /// Point 7 of the acceptance list: what the transcript did not see does not leave.
    #[test]
    fn refuses_a_wrong_patch() {
        let records = wrap_handshake(ORIGINAL, 100);
        let other: &[u8] = &[2, 0, 0, 4, 1, 2, 3, 5];
        assert_eq!(pass(&[(other, PATCHED)], &records), Err(Mismatch));
        assert_eq!(pass(&[], &records), Err(Mismatch));
        let two = [ORIGINAL, ORIGINAL].concat();
        let records = wrap_handshake(&two, 100);
        assert_eq!(pass(&[(ORIGINAL, PATCHED)], &records), Err(Mismatch));
    }

    #[test]
    fn refuses_encrypted_records_before_the_swap_and_cut_ones() {
        let early: &[u8] = &[23, 3, 3, 0, 1, 7];
        assert_eq!(pass(&[(ORIGINAL, PATCHED)], early), Err(Mismatch));
        assert_eq!(pass(&[], &early[..5]), Err(Mismatch));
        assert_eq!(pass(&[], early), Ok(early.to_vec()));
    }
}
