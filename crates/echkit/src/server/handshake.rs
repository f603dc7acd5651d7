//! One connection's way from its first byte to a plain [`rustls::ServerConnection`], without
//! sockets or tasks.

use std::sync::Arc;

use echkit_proto::hello::record::{
    ALERT, HANDSHAKE, HelloReader, MAX_PLAINTEXT, RECORD_HEADER_LEN, RecordError, wrap_handshake,
};
use echkit_proto::hello::{ClientHello, HelloError};
use rustls::{AlertDescription, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use super::interpose::{self, Mode, Shared};
use super::judge::{
    Misbehaviour, Retained, Verdict, judge, judge_backend_second, judge_rejected_second,
};
use super::outcome::EchOutcome;
use super::settings::EchServer;
use super::wire::Swapper;

/// The server's part of one handshake, as far as ECH is concerned.
///
/// Feed it with [`read`](Self::read), send what [`take_output`](Self::take_output) returns, and
/// once it [`is_done`](Self::is_done) go on with the connection of [`finish`](Self::finish). After
/// an error send what `take_output` returns (the alert) before closing.
#[derive(Debug)]
pub struct Handshake {
    server: EchServer,
    reader: HelloReader,
    state: Step,
    output: Vec<u8>,
}

#[derive(Debug)]
enum Step {
    /// The first hello is on its way; all bytes so far, for rustls if nothing is offered.
    First {
        raw: Vec<u8>,
    },
    /// A HelloRetryRequest is out; a second hello comes.
    Second(Box<Changing>),
    /// rustls goes on alone.
    Done(Box<ServerConnection>, EchOutcome),
    Failed,
}

/// A connection whose messages are being changed.
struct Changing {
    conn: ServerConnection,
    shared: Arc<Shared>,
    swapper: Swapper,
    outcome: EchOutcome,
    offer: Offer,
    /// Bytes of a record's header, to tell hellos from records that pass by.
    header: Vec<u8>,
    /// What is left of a record that passes by.
    passing: usize,
}

impl std::fmt::Debug for Changing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changing")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// What a second hello is held against.
enum Offer {
    Accepted(Retained),
    Backend { random: [u8; 32] },
    Rejected,
}

impl Handshake {
    pub(super) fn new(server: EchServer) -> Self {
        Self {
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
            Step::Second(changing) => self.second(changing, bytes),
            Step::Done(mut conn, outcome) => {
                let result = feed(&mut conn, None, bytes);
                self.flush_on_error(&mut conn, result)
                    .map(|()| Step::Done(conn, outcome))
            }
            Step::Failed => return Err(HandshakeError::Over),
        };
        match result {
            Ok(state) => {
                self.state = state;
                Ok(())
            }
            Err(error) => {
                if let Some(alert) = error.alert_to_send() {
                    self.output.extend(alert_record(alert));
                }
                Err(error)
            }
        }
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
                true => Err(HandshakeError::Records(RecordError::TooLong(raw.len()))),
                false => Ok(Step::First { raw }),
            };
        };
        let hello = match ClientHello::parse(message) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(&raw, HandshakeError::Hello(error)),
        };
        let keys = self.server.keys.load();
        let verdict = judge(&hello, &keys, self.server.rules).map_err(HandshakeError::Client)?;
        let outer_sni = || hello.server_name().map(str::to_owned);
        let uncovered = matches!(verdict, Verdict::NotOffered | Verdict::Rejected(_));
        if uncovered && self.server.public_name_only {
            let public = hello.server_name().is_some_and(|n| keys.is_public_name(n));
            if !public {
                return Err(HandshakeError::NotPublicName);
            }
        }
        match verdict {
            Verdict::NotOffered => {
                let config = self.server.config.clone();
                self.plain(config, &raw, rest, EchOutcome::NotOffered)
            }
            Verdict::Rejected(reason) => {
                let extension = keys.retry_extension();
                let outcome = EchOutcome::Rejected {
                    outer_sni: outer_sni(),
                    reason,
                    retry_configs: extension.is_some(),
                };
                let Some(extension) = extension else {
                    let config = self.server.config.clone();
                    return self.plain(config, &raw, rest, outcome);
                };
                let mode = Mode::Reject {
                    extension: extension.to_vec(),
                };
                let config = self.server.reject_config.clone();
                let shared = Shared::new(mode, hello.into_bytes());
                self.change(config, shared, outcome, Offer::Rejected, &raw, rest)
            }
            Verdict::Backend => {
                let random = hello.random();
                let outcome = EchOutcome::Backend {
                    inner_sni: outer_sni(),
                };
                let mode = Mode::Accept {
                    inner_random: random,
                };
                let config = self.server.config.clone();
                let shared = Shared::new(mode, hello.into_bytes());
                self.change(
                    config,
                    shared,
                    outcome,
                    Offer::Backend { random },
                    &raw,
                    rest,
                )
            }
            Verdict::Accepted(opened) => {
                let outcome = EchOutcome::Accepted {
                    config_id: opened.config_id,
                    suite: opened.suite,
                    inner_sni: opened.inner.server_name().map(str::to_owned),
                    outer_sni: outer_sni(),
                };
                let mode = Mode::Accept {
                    inner_random: opened.inner.random(),
                };
                let records = inner_records(&opened.inner);
                let config = self.server.config.clone();
                let shared = Shared::new(mode, opened.inner.into_bytes());
                let offer = Offer::Accepted(opened.retained);
                self.change(config, shared, outcome, offer, &records, rest)
            }
        }
    }

    /// Lets rustls refuse what is no hello, with the alert that it has for that. It must: a
    /// connection that the front layer did not understand never goes on.
    fn refuse(&mut self, raw: &[u8], error: HandshakeError) -> Result<Step, HandshakeError> {
        if error.is_over_a_limit() {
            return Err(error);
        }
        let mut conn = connection(&self.server.config)?;
        let result = feed(&mut conn, None, raw);
        self.flush_on_error(&mut conn, result)?;
        Err(error)
    }

    fn plain(
        &mut self,
        config: Arc<ServerConfig>,
        raw: &[u8],
        rest: &[u8],
        outcome: EchOutcome,
    ) -> Result<Step, HandshakeError> {
        let mut conn = connection(&config)?;
        let result = feed(&mut conn, None, raw).and_then(|()| feed(&mut conn, None, rest));
        self.flush_on_error(&mut conn, result)?;
        Ok(Step::Done(Box::new(conn), outcome))
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
            header: Vec::new(),
            passing: 0,
        });
        changing.feed(hello, &mut self.output)?;
        // Read now: a resumption overwrites it later.
        if changing.conn.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest) {
            self.reader = HelloReader::new(self.server.max_hello);
            return self.second(changing, rest);
        }
        self.changed(*changing, rest)
    }

    /// The ServerHello is out: rustls goes on alone.
    fn changed(&mut self, changing: Changing, rest: &[u8]) -> Result<Step, HandshakeError> {
        changing.check()?;
        let Changing {
            mut conn, outcome, ..
        } = changing;
        let result = feed(&mut conn, None, rest);
        self.flush_on_error(&mut conn, result)?;
        Ok(Step::Done(Box::new(conn), outcome))
    }

    fn second(
        &mut self,
        mut changing: Box<Changing>,
        mut bytes: &[u8],
    ) -> Result<Step, HandshakeError> {
        while !bytes.is_empty() {
            if changing.passing > 0 {
                let (head, rest) = bytes.split_at(changing.passing.min(bytes.len()));
                changing.feed(head, &mut self.output)?;
                changing.passing -= head.len();
                bytes = rest;
                continue;
            }
            // ChangeCipherSpec and early data pass by; a fragmented hello is not interrupted.
            if self.reader.is_idle() && (bytes[0] != HANDSHAKE || !changing.header.is_empty()) {
                let lacking = RECORD_HEADER_LEN - changing.header.len();
                let (head, rest) = bytes.split_at(lacking.min(bytes.len()));
                changing.header.extend_from_slice(head);
                bytes = rest;
                if changing.header.len() == RECORD_HEADER_LEN {
                    let header = std::mem::take(&mut changing.header);
                    changing.passing = u16::from_be_bytes([header[3], header[4]]).into();
                    changing.feed(&header, &mut self.output)?;
                }
                continue;
            }
            let (taken, message) = self.reader.read(bytes).map_err(HandshakeError::Records)?;
            let rest = &bytes[taken..];
            let Some(message) = message else {
                return Ok(Step::Second(changing));
            };
            let hello = ClientHello::parse(message).map_err(HandshakeError::Hello)?;
            let inner = match &mut changing.offer {
                Offer::Accepted(retained) => retained.open_second(&hello),
                Offer::Backend { random } => judge_backend_second(&hello, random).map(|()| hello),
                Offer::Rejected => judge_rejected_second(&hello).map(|()| hello),
            }
            .map_err(HandshakeError::Client)?;
            let records = inner_records(&inner);
            changing.shared.lock().expected_hello = inner.into_bytes();
            changing.feed(&records, &mut self.output)?;
            return self.changed(*changing, rest);
        }
        Ok(Step::Second(changing))
    }

    /// Takes rustls' alert along when it has failed.
    fn flush_on_error(
        &mut self,
        conn: &mut ServerConnection,
        result: Result<(), HandshakeError>,
    ) -> Result<(), HandshakeError> {
        if let Err(error) = &result {
            let before = self.output.len();
            drain(conn, &mut self.output)?;
            if self.output.len() == before {
                self.output
                    .extend(missing_alert(conn, error).into_iter().flatten());
            }
        }
        result
    }
}

impl Changing {
    /// Feeds rustls in the scope of this connection, and moves its output on, changed.
    fn feed(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let result = feed(&mut self.conn, Some(&self.shared), bytes);
        let mut records = Vec::new();
        drain(&mut self.conn, &mut records)?;
        if let (Err(error), true) = (&result, records.is_empty()) {
            records.extend(missing_alert(&self.conn, error).into_iter().flatten());
        }
        let mut state = self.shared.lock();
        // Nothing of a failed change leaves, and nothing that the transcript did not see.
        if state.failed {
            return Err(HandshakeError::Interposition);
        }
        match state.mode {
            Mode::Accept { .. } => self
                .swapper
                .pass(&records, &mut state, output)
                .map_err(|_| HandshakeError::Interposition)?,
            Mode::Reject { .. } => {
                if state.grown.is_some() != state.inserted {
                    return Err(HandshakeError::Interposition);
                }
                output.extend(records);
            }
        }
        result
    }

    /// What had to be changed was changed.
    fn check(&self) -> Result<(), HandshakeError> {
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
}

/// A hello as records for rustls.
fn inner_records(hello: &ClientHello) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(wrap_handshake(hello.bytes(), MAX_PLAINTEXT))
}

/// A fatal alert in the plain.
fn alert_record(alert: AlertDescription) -> [u8; 7] {
    [ALERT, 3, 3, 0, 2, 2, alert.into()]
}

/// rustls ends a few handshakes without a word, for instance when a handshake message announces
/// too many bytes. Before there are keys, the word is ours.
fn missing_alert(conn: &ServerConnection, error: &HandshakeError) -> Option<[u8; 7]> {
    let HandshakeError::Tls(error) = error else {
        return None;
    };
    if conn.negotiated_cipher_suite().is_some() {
        return None;
    }
    match error {
        // The client has had the last word.
        rustls::Error::AlertReceived(_) => None,
        rustls::Error::InvalidMessage(_) => Some(alert_record(AlertDescription::DecodeError)),
        _ => Some(alert_record(AlertDescription::HandshakeFailure)),
    }
}

fn connection(config: &Arc<ServerConfig>) -> Result<ServerConnection, HandshakeError> {
    ServerConnection::new(config.clone()).map_err(HandshakeError::Tls)
}

/// Gives rustls all of `bytes`. (An empty slice would be the end of the stream.)
fn feed(
    conn: &mut ServerConnection,
    shared: Option<&Arc<Shared>>,
    mut bytes: &[u8],
) -> Result<(), HandshakeError> {
    while !bytes.is_empty() {
        match conn.read_tls(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(HandshakeError::Buffer(error.to_string())),
        }
        interpose::enter(shared, || conn.process_new_packets()).map_err(HandshakeError::Tls)?;
    }
    Ok(())
}

fn drain(conn: &mut ServerConnection, output: &mut Vec<u8>) -> Result<(), HandshakeError> {
    while conn.wants_write() {
        conn.write_tls(output)
            .map_err(|error| HandshakeError::Buffer(error.to_string()))?;
    }
    Ok(())
}

/// A handshake has failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The client broke a rule of ECH.
    #[error("the client's ECH offer breaks a rule: {0}")]
    Client(Misbehaviour),
    /// The records hold no ClientHello.
    #[error("no ClientHello: {0}")]
    Records(RecordError),
    /// The ClientHello is malformed.
    #[error("bad ClientHello: {0}")]
    Hello(HelloError),
    /// Only public names are served in the clear, and another one was asked for.
    #[error("the name asked for in the clear is not a public name")]
    NotPublicName,
    /// rustls ended the handshake.
    #[error("the TLS handshake failed: {0}")]
    Tls(rustls::Error),
    /// rustls did not behave as the ECH layer relies on; nothing wrong was sent.
    #[error("the TLS library did not behave as ECH needs it; is it another version of rustls?")]
    Interposition,
    /// rustls took no more bytes.
    #[error("the TLS library's buffer: {0}")]
    Buffer(String),
    /// The handshake had failed before.
    #[error("the handshake is over")]
    Over,
}

impl HandshakeError {
    /// The alert that rustls has not sent already.
    fn alert_to_send(&self) -> Option<AlertDescription> {
        match self {
            Self::Client(misbehaviour) => Some(misbehaviour.alert()),
            Self::Records(RecordError::TooLong(_)) | Self::Hello(_) => {
                Some(AlertDescription::DecodeError)
            }
            Self::Records(_) => Some(AlertDescription::UnexpectedMessage),
            Self::NotPublicName => Some(AlertDescription::UnrecognisedName),
            Self::Interposition | Self::Buffer(_) => Some(AlertDescription::InternalError),
            Self::Tls(_) | Self::Over => None,
        }
    }

    /// rustls would take these, or has a higher limit than ours.
    fn is_over_a_limit(&self) -> bool {
        matches!(
            self,
            Self::Records(RecordError::TooLong(_) | RecordError::Trailing | RecordError::Empty)
        )
    }
}
