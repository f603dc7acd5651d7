//! What comes in: records for rustls, what they say of ECH, and the plaintext in them.

use std::io::{BufRead, ErrorKind};

use echkit_proto::client::{AfterRejection, RejectionPolicy, after_rejection};
use echkit_tls::client::OfferOutcome;
use rustls::{Connection, Error, IoState};

use super::{Core, Io, State};
use crate::failure::Failure;
use crate::incoming_record::Direct;
use crate::socket::{Fd, Received};
use crate::verifier::observing;
use crate::verify_failure::VerifyFailure;

impl Core {
    /// Receives and processes what comes next: one record, or a piece of one as it was taken from
    /// a BIO. The latter only after the handshake, whose steps are taken record by record.
    pub(super) fn advance(&mut self, io: Io) -> Result<(), Failure> {
        match io {
            Io::Socket(fd) if self.done && self.record.is_handed_on() => {
                return self.advance_from(fd);
            }
            Io::Memory if self.done => {}
            _ => {
                self.receive(io)?;
                return self.process(io);
            }
        }
        let mut input = std::mem::take(&mut self.input);
        let mut rest = input.next();
        let len = rest.len();
        let outcome = match len {
            0 if input.ends_here() => Err(self.ended()),
            0 => Err(Failure::WantRead),
            _ => self.give(&mut rest, true),
        };
        let left = rest.len();
        input.take(len - left);
        self.input = input;
        if len > 0 && outcome.is_err() {
            let _ = self.flush(io);
        }
        outcome
    }

    /// Receives the rest of one record into the buffer of rustls, after the handshake.
    fn advance_from(&mut self, fd: Fd) -> Result<(), Failure> {
        let mut finished = false;
        while !finished && !self.closed_by_peer {
            let State::Running(connection) = &mut self.state else {
                return Err(Failure::WantRead);
            };
            let mut source = Direct {
                record: &mut self.record,
                fd,
                finished: false,
            };
            let state = match connection.read_tls(&mut source) {
                Ok(0) => return Err(self.ended()),
                Ok(_) => {
                    finished = source.finished;
                    connection.process_new_packets().map(Some)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(Failure::WantRead);
                }
                // Of rustls, which refuses what it has no room for.
                Err(error) if error.raw_os_error().is_none() => {
                    Err(Error::General(error.to_string()))
                }
                Err(error) => {
                    return Err(match Failure::Io(error) {
                        reset if reset.is_reset() => self.ended(),
                        other => other,
                    });
                }
            };
            let outcome = self.judge(state, None);
            if outcome.is_err() {
                // The alert tells the peer; that it may not get through does not matter any more.
                let _ = self.flush(Io::Socket(fd));
                return outcome;
            }
        }
        Ok(())
    }

    /// Receives the rest of one record, as its header has it.
    pub(super) fn receive(&mut self, io: Io) -> Result<(), Failure> {
        while !self.record.is_complete() {
            match io {
                Io::Memory => {
                    let bytes = self.input.next();
                    if bytes.is_empty() {
                        return Err(match self.input.ends_here() {
                            true => self.ended(),
                            false => Failure::WantRead,
                        });
                    }
                    let spare = self.record.spare();
                    let len = bytes.len().min(spare.len());
                    spare[..len].copy_from_slice(&bytes[..len]);
                    self.record.received(len);
                    self.input.take(len);
                }
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

    pub(super) fn ended(&self) -> Failure {
        match self.ragged_eof_is_eof && self.done {
            true => Failure::Closed,
            false => Failure::Eof,
        }
    }

    /// Gives the received record to rustls.
    pub(super) fn process(&mut self, io: Io) -> Result<(), Failure> {
        if matches!(self.state, State::Accepting(_) | State::Opening(_))
            && let Some((reason, text)) = http_request(self.record.news())
        {
            // As OpenSSL, without an alert: nobody there could read it.
            self.state = State::Dead;
            return Err(Failure::Other(reason, text.to_owned()));
        }
        let mut record = std::mem::take(&mut self.record);
        let outcome = self.give(&mut record.news(), false);
        record.next();
        self.record = record;
        if outcome.is_err() {
            // The alert tells the peer; that it may not get through does not matter any more.
            let _ = self.flush(io);
        }
        outcome
    }

    /// Gives `record` to rustls; all of it, unless it is to `pause` as soon as there is plaintext.
    pub(super) fn give(&mut self, record: &mut &[u8], pause: bool) -> Result<(), Failure> {
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
                    let mut state: Result<Option<IoState>, Error> = Ok(None);
                    while !record.is_empty() {
                        match &state {
                            Err(_) => break,
                            Ok(Some(now)) if pause && now.plaintext_bytes_to_read() > 0 => break,
                            Ok(_) => {}
                        }
                        match connection.read_tls(record) {
                            // Nothing counts after close_notify.
                            Ok(0) => break,
                            Ok(_) => state = connection.process_new_packets().map(Some),
                            Err(error) => state = Err(Error::General(error.to_string())),
                        }
                    }
                    state
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
        let State::Running(connection) = &mut self.state else {
            return 0;
        };
        let mut reader = connection.reader();
        let mut taken = 0;
        while taken < len {
            let Ok(chunk) = reader.fill_buf() else { break };
            if chunk.is_empty() {
                break;
            }
            let now = chunk.len().min(len - taken);
            sink(&chunk[..now]);
            reader.consume(now);
            taken += now;
        }
        self.plaintext = match self.plaintext.saturating_sub(taken) {
            // After an error the sum was not known, only the first of it.
            0 => reader.fill_buf().map_or(0, <[u8]>::len),
            left => left,
        };
        taken
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
