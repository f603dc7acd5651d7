//! One connection's way from its first byte to a plain [`rustls::ServerConnection`], without
//! sockets or tasks.

mod changing;
mod choice;
mod error;
mod feed;
mod judged;

use std::sync::Arc;

use echkit_proto::hello::{ClientHello, HelloReadError, HelloReader};
use echkit_proto::server::{EchKeys, HelloVerdict, judge};
use echkit_proto::tls_record::{
    APPLICATION_DATA, HANDSHAKE, MAX_CIPHERTEXT, RecordPart, RecordWalker,
};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use self::changing::{Changing, Offer};
pub use self::error::HandshakeError;
use self::feed::{connection, drain, feed, inner_records, last_words};
use self::judged::Judged;
use super::interpose::{Mode, Shared};
use super::outcome::{EchOutcome, dns_name};
use super::settings::EchServer;
use super::swap::Swapper;

/// The server's part of one handshake, as far as ECH is concerned.
///
/// Feed it with [`read`](Self::read), send what [`take_output`](Self::take_output) returns, and
/// once it [`is_done`](Self::is_done) continue with the connection of [`finish`](Self::finish).
/// After an error send what `take_output` returns (the alert) before closing.
///
/// ```
/// use std::io::{Error, Read, Write};
///
/// use echkit_tls::server::{EchOutcome, EchServer};
/// use rustls::ServerConnection;
///
/// /// The handshake of a client over anything that can be read and written.
/// fn accept(
///     server: &EchServer,
///     mut io: impl Read + Write,
/// ) -> Result<(ServerConnection, EchOutcome), Error> {
///     let mut handshake = server.handshake();
///     let mut buffer = [0; 4096];
///     while !handshake.is_done() {
///         let read = match io.read(&mut buffer)? {
///             0 => handshake.end(),
///             len => handshake.read(&buffer[..len]),
///         };
///         io.write_all(&handshake.take_output())?;
///         read.map_err(Error::other)?;
///     }
///     handshake.finish().ok_or_else(|| Error::other("the handshake is not done"))
/// }
/// ```
#[derive(Debug)]
pub struct Handshake {
    server: EchServer,
    reader: HelloReader,
    state: Step,
    output: Vec<u8>,
    /// Whether the configuration is chosen once the hello is known.
    choosing: bool,
}

#[derive(Debug)]
enum Step {
    /// The first hello is on its way; all bytes so far, for rustls if nothing is offered.
    First {
        raw: Vec<u8>,
    },
    /// The hello has been judged; which configuration answers it is open.
    Judged(Box<Judged>),
    /// A HelloRetryRequest is out; a second hello comes.
    Second(Box<Changing>),
    /// rustls continues alone.
    Done(Box<ServerConnection>, EchOutcome),
    Failed,
}

impl EchServer {
    /// Begins with a connection.
    pub fn handshake(&self) -> Handshake {
        Handshake::new(self.clone(), false)
    }

    /// Begins with a connection that waits, once its hello is there, for the configuration that
    /// is to answer it: see [`Handshake::hello`] and [`Handshake::answer`].
    pub fn handshake_with_choice(&self) -> Handshake {
        Handshake::new(self.clone(), true)
    }
}

impl Handshake {
    fn new(server: EchServer, choosing: bool) -> Self {
        Self {
            choosing,
            reader: HelloReader::new(server.max_hello),
            server,
            state: Step::First { raw: Vec::new() },
            output: Vec::new(),
        }
    }

    /// Takes bytes from the client, all of them: what follows the hello is in the connection
    /// afterwards.
    ///
    /// # Errors
    ///
    /// When the handshake has failed; the output then holds the alert.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        let state = std::mem::replace(&mut self.state, Step::Failed);
        let result = match state {
            Step::First { raw } => self.first(raw, bytes),
            Step::Judged(mut judged) => {
                judged.rest.extend_from_slice(bytes);
                Ok(Step::Judged(judged))
            }
            Step::Second(changing) => self.second(changing, bytes),
            Step::Done(mut conn, outcome) => {
                let result = feed(&mut conn, None, bytes);
                self.flush_failed(&mut conn, result)
                    .map(|()| Step::Done(conn, outcome))
            }
            Step::Failed => return Err(HandshakeError::Over),
        };
        self.settle(result)
    }

    fn settle(&mut self, result: Result<Step, HandshakeError>) -> Result<(), HandshakeError> {
        match result {
            Ok(state) => {
                self.state = state;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Takes note that the client has closed its side of the stream, which ends the handshake.
    ///
    /// # Errors
    ///
    /// When that cuts a hello short; the output then holds the alert.
    pub fn end(&mut self) -> Result<(), HandshakeError> {
        let cut = match std::mem::replace(&mut self.state, Step::Failed) {
            Step::First { raw } => !raw.is_empty(),
            Step::Second(changing) => {
                !self.reader.is_idle() || !changing.passing.is_between_records()
            }
            // rustls goes on, or has ended it.
            state => {
                self.state = state;
                false
            }
        };
        match cut {
            true => Err(self.failed(HandshakeError::Truncated)),
            false => Ok(()),
        }
    }

    /// Adds the alert that rustls has not sent.
    fn failed(&mut self, error: HandshakeError) -> HandshakeError {
        if let Some(alert) = error.alert_to_send() {
            self.output.extend(alert.fatal_record());
        }
        error
    }

    /// The bytes to send to the client now.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether the connection can be had.
    pub fn is_done(&self) -> bool {
        matches!(self.state, Step::Done(..))
    }

    /// The connection and what became of the offer, once done. What
    /// [`take_output`](Self::take_output) still holds goes out before anything that the
    /// connection writes.
    pub fn finish(self) -> Option<(ServerConnection, EchOutcome)> {
        match self.state {
            Step::Done(conn, outcome) => Some((*conn, outcome)),
            _ => None,
        }
    }

    fn first(&mut self, mut raw: Vec<u8>, bytes: &[u8]) -> Result<Step, HandshakeError> {
        let (taken, message) = match self.reader.read(bytes) {
            Ok(read) => read,
            Err(error) => {
                raw.extend_from_slice(bytes);
                return self.refuse(&raw, HandshakeError::Records(error));
            }
        };
        let (head, rest) = bytes.split_at(taken);
        raw.extend_from_slice(head);
        let Some(message) = message else {
            // Records of a byte or two must not multiply what a hello may hold.
            return match raw.len() > 2 * self.server.max_hello {
                true => Err(HandshakeError::Records(HelloReadError::TooLong(raw.len()))),
                false => Ok(Step::First { raw }),
            };
        };
        let hello = match ClientHello::parse(message) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(&raw, HandshakeError::Hello(error)),
        };
        let keys = self.server.keys.load();
        let verdict = judge(&hello, &keys, self.server.rules).map_err(HandshakeError::Client)?;
        let uncovered = matches!(
            verdict,
            HelloVerdict::NotOffered | HelloVerdict::Rejected(_)
        );
        if uncovered && self.server.public_name_only {
            let public = hello.server_name().is_some_and(|n| keys.is_public_name(n));
            if !public {
                return Err(HandshakeError::NotPublicName);
            }
        }
        let judged = Judged {
            hello,
            verdict,
            keys,
            raw,
            rest: rest.to_vec(),
        };
        match self.choosing {
            true => Ok(Step::Judged(Box::new(judged))),
            false => self.judged(judged),
        }
    }

    /// Has rustls answer.
    fn judged(&mut self, judged: Judged) -> Result<Step, HandshakeError> {
        let Judged {
            hello,
            verdict,
            keys,
            raw,
            rest,
        } = judged;
        let rest = rest.as_slice();
        let outer_sni = || dns_name(&hello);
        match verdict {
            HelloVerdict::NotOffered => self.plain(hello, &keys, &raw, rest),
            HelloVerdict::Rejected(reason) => {
                let outcome = EchOutcome::Rejected {
                    outer_sni: outer_sni(),
                    reason,
                    retry_configs: keys.retry_extension().is_some(),
                };
                self.outer(hello, outcome, &keys, &raw, rest)
            }
            HelloVerdict::Backend => {
                let random = hello.random();
                let outcome = EchOutcome::Backend {
                    inner_sni: outer_sni(),
                };
                let mode = Mode::Accept {
                    inner_random: random,
                };
                let shared = Shared::new(mode, hello.into_bytes(), self.server.padding);
                self.change(
                    self.config(&keys),
                    shared,
                    outcome,
                    Offer::Backend { random },
                    &raw,
                    rest,
                )
            }
            HelloVerdict::Accepted(opened) => {
                let outcome = EchOutcome::Accepted {
                    config_id: opened.config_id,
                    suite: opened.suite,
                    inner_sni: dns_name(&opened.inner),
                    outer_sni: outer_sni(),
                };
                let mode = Mode::Accept {
                    inner_random: opened.inner.random(),
                };
                let records = inner_records(&opened.inner);
                let config = self.config(&keys);
                let shared = Shared::new(mode, opened.inner.into_bytes(), self.server.padding);
                let offer = Offer::Accepted(opened.retained);
                self.change(config, shared, outcome, offer, &records, rest)
            }
        }
    }

    /// The configuration to answer with: the same for every hello, as [`RecordSizes`] says.
    ///
    /// [`RecordSizes`]: super::record_sizes::RecordSizes
    fn config(&self, keys: &EchKeys) -> Arc<ServerConfig> {
        let extension = keys.retry_extension().unwrap_or_default();
        self.server.records.with_room_for(extension.len())
    }

    /// Lets rustls refuse what is not a hello, with the alert that it has for that. It must: a
    /// connection that the front layer did not understand never goes on.
    fn refuse(&mut self, raw: &[u8], error: HandshakeError) -> Result<Step, HandshakeError> {
        if error.is_over_a_limit() {
            return Err(error);
        }
        let mut conn = connection(&self.server.config)?;
        let result = feed(&mut conn, None, raw);
        self.flush_refused(&mut conn, result)?;
        Err(error)
    }

    /// Answers a hello without an offer.
    fn plain(
        &mut self,
        hello: ClientHello,
        keys: &EchKeys,
        raw: &[u8],
        rest: &[u8],
    ) -> Result<Step, HandshakeError> {
        let mut conn = connection(&self.config(keys))?;
        let result = feed(&mut conn, None, raw);
        self.flush_refused(&mut conn, result)?;
        if asks_again(&conn) {
            // The second hello is to be judged, and may make an offer. Begin anew, with messages
            // that can be changed: up to here rustls has only chosen a suite and a group.
            return self.outer(hello, EchOutcome::NotOffered, keys, raw, rest);
        }
        let result = feed(&mut conn, None, rest);
        self.flush_failed(&mut conn, result)?;
        Ok(Step::Done(Box::new(conn), EchOutcome::NotOffered))
    }

    /// Answers a hello as it came, with the retry_configs of `keys` if it makes an offer.
    fn outer(
        &mut self,
        hello: ClientHello,
        outcome: EchOutcome,
        keys: &EchKeys,
        raw: &[u8],
        rest: &[u8],
    ) -> Result<Step, HandshakeError> {
        let config = self.config(keys);
        let retry = keys.retry_extension().unwrap_or_default().to_vec();
        let extension = retry.clone();
        let shared = Shared::new(
            Mode::Reject { extension },
            hello.into_bytes(),
            self.server.padding,
        );
        let backend = self.server.rules.backend;
        let offer = Offer::Outer { retry, backend };
        self.change(config, shared, outcome, offer, raw, rest)
    }

    fn change(
        &mut self,
        config: Arc<ServerConfig>,
        shared: Arc<Shared>,
        outcome: EchOutcome,
        offer: Offer,
        hello: &[u8],
        rest: &[u8],
    ) -> Result<Step, HandshakeError> {
        let mut changing = Box::new(Changing {
            conn: connection(&config)?,
            shared,
            swapper: Swapper::default(),
            outcome,
            offer,
            passing: RecordWalker::default(),
        });
        changing.feed(hello, &mut self.output)?;
        if asks_again(&changing.conn) {
            self.reader = HelloReader::new(self.server.max_hello);
            return self.second(changing, rest);
        }
        self.changed(*changing, rest)
    }

    /// The ServerHello is out: rustls continues alone.
    fn changed(&mut self, changing: Changing, rest: &[u8]) -> Result<Step, HandshakeError> {
        changing.check()?;
        let Changing {
            mut conn, outcome, ..
        } = changing;
        let result = feed(&mut conn, None, rest);
        self.flush_failed(&mut conn, result)?;
        Ok(Step::Done(Box::new(conn), outcome))
    }

    fn second(
        &mut self,
        mut changing: Box<Changing>,
        mut bytes: &[u8],
    ) -> Result<Step, HandshakeError> {
        while !bytes.is_empty() {
            // ChangeCipherSpec and early data pass by; a fragmented hello is not interrupted.
            let hello = bytes[0] == HANDSHAKE && changing.passing.is_between_records();
            if self.reader.is_idle() && !hello {
                match changing.passing.take(&mut bytes) {
                    Some(RecordPart::Header(header)) => {
                        let len = usize::from(header.len);
                        // RFC 8446 §5.2; the alert is ours as long as rustls has no keys.
                        if header.content_type == APPLICATION_DATA && len > MAX_CIPHERTEXT {
                            let error = HelloReadError::Overflow(len);
                            return Err(HandshakeError::Records(error));
                        }
                        changing.feed(&header.to_bytes(), &mut self.output)?;
                    }
                    Some(RecordPart::Content(content)) => {
                        changing.feed(content, &mut self.output)?;
                    }
                    None => {}
                }
                continue;
            }
            let (taken, message) = self.reader.read(bytes).map_err(HandshakeError::Records)?;
            let rest = &bytes[taken..];
            let Some(message) = message else {
                return Ok(Step::Second(changing));
            };
            let hello = ClientHello::parse(message).map_err(HandshakeError::Hello)?;
            let inner = changing.judge_second(hello)?;
            let records = inner_records(&inner);
            changing.shared.lock().expect_hello(inner.into_bytes());
            changing.feed(&records, &mut self.output)?;
            return self.changed(*changing, rest);
        }
        Ok(Step::Second(changing))
    }

    /// Takes rustls' alert along when it has failed on a hello.
    fn flush_refused(
        &mut self,
        conn: &mut ServerConnection,
        result: Result<(), HandshakeError>,
    ) -> Result<(), HandshakeError> {
        if let Err(error) = &result {
            let mut records = Vec::new();
            drain(conn, &mut records)?;
            self.output.extend(last_words(error, records));
        }
        result
    }

    /// The same once there are keys: what rustls does not report then is unknown.
    fn flush_failed(
        &mut self,
        conn: &mut ServerConnection,
        result: Result<(), HandshakeError>,
    ) -> Result<(), HandshakeError> {
        if result.is_err() {
            drain(conn, &mut self.output)?;
        }
        result
    }
}

/// Whether rustls has sent a HelloRetryRequest. To be read right after the first hello: a
/// resumption overwrites it later.
fn asks_again(conn: &ServerConnection) -> bool {
    conn.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
}
