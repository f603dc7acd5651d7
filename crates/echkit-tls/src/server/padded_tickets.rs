//! Session tickets whose length does not grow with the hidden name.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// Tickets are padded to a multiple of this: more than rustls writes for the longest host name
/// without a client certificate.
const STEP: usize = 512;

/// Pads what a ticket holds before it is encrypted (RFC 9849 §6.1.3).
///
/// rustls writes the name of the site, the application protocol and the client's certificates into
/// a ticket; its length, which NewSessionTicket and the outer hello of a resumption show, would
/// tell sites of one key apart. A client certificate chain of more than a step still shows in steps
/// of 512 bytes. [`EchServer`](super::EchServer) wraps the ticketer of its configuration; tickets
/// that were made without padding are not taken, and lead to a full handshake.
pub struct PaddedTickets(Arc<dyn ProducesTickets>);

impl PaddedTickets {
    /// Pads the tickets of `inner`.
    pub fn new(inner: Arc<dyn ProducesTickets>) -> Self {
        Self(inner)
    }

    /// `config`, with its tickets padded if it makes any.
    pub(super) fn in_config(config: Arc<ServerConfig>) -> Arc<ServerConfig> {
        if !config.ticketer.enabled() {
            return config;
        }
        let mut padded = ServerConfig::clone(&config);
        padded.ticketer = Arc::new(Self::new(Arc::clone(&config.ticketer)));
        Arc::new(padded)
    }
}

impl ProducesTickets for PaddedTickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let len = u32::try_from(plain.len()).ok()?;
        let mut padded = Zeroizing::new(Vec::with_capacity(
            (size_of::<u32>() + plain.len()).next_multiple_of(STEP),
        ));
        padded.extend_from_slice(&len.to_be_bytes());
        padded.extend_from_slice(plain);
        let whole = padded.len().next_multiple_of(STEP);
        padded.resize(whole, 0);
        self.0.encrypt(&padded)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let padded = Zeroizing::new(self.0.decrypt(cipher)?);
        let (len, rest) = padded.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (plain, zeros) = rest.split_at_checked(len)?;
        // The length is part of what was authenticated; this only tells tickets of other kinds.
        let ours = padded.len().is_multiple_of(STEP) && zeros.iter().all(|byte| *byte == 0);
        ours.then(|| plain.to_vec())
    }
}

impl fmt::Debug for PaddedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PaddedTickets").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Shows its plaintext.
    #[derive(Debug)]
    struct Clear;

    impl ProducesTickets for Clear {
        fn enabled(&self) -> bool {
            true
        }

        fn lifetime(&self) -> u32 {
            60
        }

        fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
            Some(plain.to_vec())
        }

        fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
            Some(cipher.to_vec())
        }
    }

    #[test]
    fn tickets_of_every_name_have_one_length_and_are_read_back() {
        let tickets = PaddedTickets::new(Arc::new(Clear));
        for len in [0, 1, 100, 255, 508] {
            let plain = vec![7; len];
            let ticket = tickets.encrypt(&plain).unwrap();
            assert_eq!(ticket.len(), STEP, "{len}");
            assert_eq!(tickets.decrypt(&ticket).unwrap(), plain);
        }
        assert_eq!(tickets.encrypt(&[0; 509]).unwrap().len(), 2 * STEP);
    }

    #[test]
    fn tickets_of_another_form_are_not_taken() {
        let tickets = PaddedTickets::new(Arc::new(Clear));
        let mut long = tickets.encrypt(b"state").unwrap();
        long[0] = 1;
        let mut spoilt = tickets.encrypt(b"state").unwrap();
        spoilt[STEP - 1] = 1;
        for ticket in [&[][..], &[0, 0, 0], b"unpadded state", &long, &spoilt] {
            assert_eq!(tickets.decrypt(ticket), None, "{ticket:?}");
        }
    }
}
