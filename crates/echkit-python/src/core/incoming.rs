//! What comes in: records for rustls, what they say of ECH, and the plaintext in them.

use std::io::BufRead;

use echkit_proto::client::{AfterRejection, RejectionPolicy, after_rejection};
use echkit_tls::client::OfferOutcome;
use echkit_tls::record_opener::RecordOpener;
use rustls::{Connection, Error, IoState};

use super::{Core, Io, State};
use crate::failure::Failure;
use crate::socket::Received;
use crate::verifier::observing;
use crate::verify_failure::VerifyFailure;

impl Core {
    /// Receives and processes the next record.
    pub(super) fn advance(&mut self, io: Io) -> Result<(), Failure> {
        self.receive(io)?;
        if self.done
            && let Some(opener) = &self.opener
            && let Some(data) = opener.open(self.record.bytes())
        {
            self.plaintext = data.len();
            self.record.open(data);
            return Ok(());
        }
        self.process(io)
    }

    /// Receives the rest of one record, as its header has it.
    fn receive(&mut self, io: Io) -> Result<(), Failure> {
        while !self.record.is_complete() {
            match io {
                Io::Memory if self.input_ended => return Err(self.ended()),
                Io::Memory => return Err(Failure::WantRead),
                Io::Socket(fd) => match fd.receive(self.record.spare()) {
                    Received::Bytes(len) => self.record.received(len),
                    Received::Nothing => return Err(Failure::WantRead),
                    Received::End => return Err(self.ended()),
                    Received::Error(error) if self.done => {
                        return Err(match Failure::Io(error) {
                            reset if reset.is_reset() => self.ended(),
                            other => other,
                        });
                    }
                    Received::Error(error) => return Err(Failure::Io(error)),
                },
            }
        }
        Ok(())
    }

    fn ended(&self) -> Failure {
        match self.ragged_eof_is_eof && self.done {
            true => Failure::Closed,
            false => Failure::Eof,
        }
    }

    /// Gives the received record to rustls.
    fn process(&mut self, io: Io) -> Result<(), Failure> {
        if matches!(self.state, State::Accepting(_) | State::Opening(_))
            && let Some((reason, text)) = http_request(self.record.bytes())
        {
            // As OpenSSL, without an alert: nobody there could read it.
            self.state = State::Dead;
            return Err(Failure::Other(reason, text.to_owned()));
        }
        let mut record = std::mem::take(&mut self.record);
        let outcome = self.observed(|core| core.give(&mut &*record.bytes()));
        record.next();
        self.record = record;
        if outcome.is_err() {
            // The alert tells the peer; that it may not get through does not matter any more.
            let _ = self.flush(io);
        }
        outcome
    }

    /// Calls into rustls, and notes the key that it has made for what comes in.
    pub(super) fn observed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (value, opener) = RecordOpener::observe(|| work(self));
        if opener.is_some() {
            self.opener = opener;
        }
        value
    }

    /// Gives a record to rustls.
    fn give(&mut self, record: &mut &[u8]) -> Result<(), Failure> {
        match &mut self.state {
            State::Accepting(acceptor) => {
                while !record.is_empty() {
                    acceptor.read_tls(record).map_err(Failure::Io)?;
                }
                match acceptor.accept() {
                    Ok(None) => Ok(()),
                    Ok(Some(accepted)) => {
                        self.state = State::Hello(Box::new(accepted));
                        Ok(())
                    }
                    Err((error, mut alert)) => {
                        let _ = alert.write_all(&mut self.output);
                        self.state = State::Dead;
                        Err(Failure::Tls(error))
                    }
                }
            }
            State::Running(connection) => {
                // Nothing is verified after the handshake.
                let inner_name = self.inner_name.as_ref().filter(|_| !self.done);
                let (outcome, refused) = observing(inner_name, || {
                    let mut state = None;
                    while !record.is_empty() {
                        match connection.read_tls(record) {
                            // Nothing counts after close_notify.
                            Ok(0) => break,
                            Ok(_) => state = Some(connection.process_new_packets()?),
                            Err(error) => return Err(Error::General(error.to_string())),
                        }
                    }
                    Ok(state)
                });
                self.judge(outcome, refused)
            }
            State::Opening(_) => {
                let State::Opening(mut handshake) = std::mem::replace(&mut self.state, State::Dead)
                else {
                    return Ok(());
                };
                let step = handshake.read(record);
                self.opening(handshake, step)
            }
            State::Hello(_) | State::Dead => Ok(()),
        }
    }

    /// Notes what rustls made of what it was given.
    fn judge(
        &mut self,
        outcome: Result<Option<IoState>, Error>,
        refused: Option<VerifyFailure>,
    ) -> Result<(), Failure> {
        match outcome {
            Ok(Some(state)) => {
                self.plaintext = state.plaintext_bytes_to_read();
                self.closed_by_peer |= state.peer_has_closed();
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                if let State::Running(connection) = &mut self.state {
                    // There may have been good records before the bad one.
                    self.plaintext = connection.reader().fill_buf().map_or(0, <[u8]>::len);
                }
                self.judge_rejection(&error);
                if self.ech.rejected && self.ech.authenticated {
                    let retry_configs = self.ech.retry_configs.clone();
                    return Err(Failure::Rejected(retry_configs.unwrap_or_default()));
                }
                Err(refused.map_or(Failure::Tls(error), Failure::Certificate))
            }
        }
    }

    /// Reads from the error that ended a handshake what became of the offer. Retry configs count
    /// only under an authenticated public_name (RFC 9849 §6.1.6).
    fn judge_rejection(&mut self, error: &Error) {
        let Some(Connection::Client(client)) = self.connection() else {
            return;
        };
        let rejection = match OfferOutcome::read(client, Some(error)) {
            OfferOutcome::Rejected(rejection) => rejection,
            OfferOutcome::RejectedUnauthenticated | OfferOutcome::RejectedResumed => {
                self.ech.rejected = true;
                return;
            }
            _ => return,
        };
        self.ech.rejected = true;
        if self.unverified {
            return;
        }
        // The caller decides about another connection, so that nothing is ruled out here.
        let policy = RejectionPolicy {
            required: false,
            retry: true,
        };
        let retry_configs = rejection.retry_configs;
        // Nor is the name compared, which matters only where ECH is required.
        match after_rejection(policy, "", 0, retry_configs.as_deref()) {
            AfterRejection::Retry(_) | AfterRejection::Grease(_) => {
                self.ech.authenticated = true;
                self.ech.retry_configs = retry_configs;
            }
            AfterRejection::WithoutEch => self.ech.authenticated = true,
            // Malformed configs are no statement about ECH.
            AfterRejection::Stop(_) => {}
        }
    }

    /// Gives plaintext that is at hand to `sink`.
    pub(crate) fn take(&mut self, len: usize, sink: &mut impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < len {
            let data = self.at_hand();
            if data.is_empty() {
                break;
            }
            let now = data.len().min(len - taken);
            sink(&data[..now]);
            self.consume(now);
            taken += now;
        }
        taken
    }

    /// The beginning of the plaintext that can be read at once: what was opened in the buffer of the
    /// record, or what rustls has. Neither comes before the other is empty.
    pub(crate) fn at_hand(&mut self) -> &[u8] {
        if !self.record.data().is_empty() {
            return self.record.data();
        }
        match &mut self.state {
            State::Running(connection) => connection.reader().into_first_chunk().unwrap_or(&[]),
            _ => &[],
        }
    }

    /// Takes what [`Self::at_hand`] begins with.
    pub(crate) fn consume(&mut self, len: usize) {
        self.plaintext = self.plaintext.saturating_sub(len);
        if !self.record.data().is_empty() {
            self.record.take(len);
        } else if let State::Running(connection) = &mut self.state {
            connection.reader().consume(len);
            if self.plaintext == 0 {
                // After an error the sum was not known, only the first of it.
                self.plaintext = self.at_hand().len();
            }
        }
    }
}

/// What the beginning of a request in plain HTTP is called by OpenSSL. Servers look for it, to answer
/// in plain HTTP.
fn http_request(first: &[u8]) -> Option<(&'static str, &'static str)> {
    let requests: [&[u8]; 4] = [b"GET ", b"POST ", b"HEAD ", b"PUT "];
    if requests.iter().any(|request| first.starts_with(request)) {
        return Some(("HTTP_REQUEST", "http request"));
    }
    first
        .starts_with(b"CONNE")
        .then_some(("HTTPS_PROXY_REQUEST", "https proxy request"))
}
