//! The client-facing server of split mode (RFC 9849 §7.1): what it forwards to a backend server.

use std::fmt;

use zeroize::Zeroizing;

use super::keys::EchKeys;
use super::verdict::{
    HelloVerdict, Misbehaviour, RejectReason, Retained, Rules, judge, judge_outer_second,
};
use crate::accept::{SERVER_HELLO, is_hello_retry_request};
use crate::alert::Alert;
use crate::hello::{
    ClientHello, HANDSHAKE_HEADER_LEN, HelloError, HelloReadError, HelloReader, MAX_HELLO,
};
use crate::hpke::Suite;
use crate::tls_record::{HANDSHAKE, MAX_PLAINTEXT, RecordPart, RecordWalker, wrap_handshake};

/// How much of a server's first message tells a HelloRetryRequest: header, version and random.
const SERVER_HELLO_HEAD: usize = HANDSHAKE_HEADER_LEN + 2 + 32;

/// How far records of a byte or two may multiply what a hello holds.
const MAX_FRAMING: usize = 2;

/// A client's connection at a client-facing server, up to the end of the first ClientHello.
///
/// [`read`](Self::read) gives a [`Forwarding`] once the hello is judged. Which backend server is
/// meant by its names, the caller decides.
///
/// ```
/// use echkit_proto::server::{ClientFacing, EchKeys, ForwardError, ForwardedHello, Forwarding, Rules};
///
/// /// Called with each piece that a client sends, until it returns what goes to a backend server.
/// fn received(
///     client: &mut ClientFacing,
///     bytes: &[u8],
///     keys: &EchKeys,
/// ) -> Result<Option<Forwarding>, ForwardError> {
///     let Some(forwarding) = client.read(bytes, keys)? else {
///         return Ok(None);
///     };
///     match forwarding.hello() {
///         ForwardedHello::Accepted { inner_name, .. } => { /* the backend of this name */ }
///         ForwardedHello::Rejected { outer_name, .. } | ForwardedHello::NotOffered { outer_name } => {
///             /* the backend of this name, or that of the public_name */
///         }
///         _ => { /* that of the public_name */ }
///     }
///     Ok(Some(forwarding))
/// }
///
/// let mut client = ClientFacing::new(Rules::default());
/// let refused = received(&mut client, b"GET / HTTP/1.1\r\n\r\n", &EchKeys::default());
/// assert_eq!(refused.map(|_| ()).map_err(|error| error.alert().0), Err(10));
/// ```
#[derive(Debug)]
pub struct ClientFacing {
    reader: HelloReader,
    raw: Vec<u8>,
    rules: Rules,
    max_hello: usize,
}

impl ClientFacing {
    /// The beginning of a connection. [`Rules::backend`] is not for client-facing servers, and is
    /// taken as false.
    pub fn new(rules: Rules) -> Self {
        Self {
            reader: HelloReader::default(),
            raw: Vec::new(),
            rules: Rules {
                backend: false,
                ..rules
            },
            max_hello: MAX_HELLO,
        }
    }

    /// Refuses hellos longer than this. Default, and most: 65,535 bytes.
    #[must_use]
    pub fn with_max_hello(mut self, bytes: usize) -> Self {
        self.max_hello = bytes.min(MAX_HELLO);
        self.reader = HelloReader::new(self.max_hello);
        self
    }

    /// Takes bytes from the client, all of them, and judges the hello with `keys` once it is whole.
    ///
    /// # Errors
    ///
    /// When the connection must end, with the alert of [`ForwardError::alert`].
    pub fn read(
        &mut self,
        bytes: &[u8],
        keys: &EchKeys,
    ) -> Result<Option<Forwarding>, ForwardError> {
        let (taken, message) = self.reader.read(bytes)?;
        let (head, rest) = bytes.split_at(taken);
        self.raw.extend_from_slice(head);
        let Some(message) = message else {
            check_framing(&self.raw, self.max_hello)?;
            return Ok(None);
        };
        let outer = ClientHello::parse(message)?;
        let (hello, second, first) = match judge(&outer, keys, self.rules)? {
            HelloVerdict::Accepted(opened) => (
                ForwardedHello::Accepted {
                    config_id: opened.config_id,
                    suite: opened.suite,
                    inner_name: host_name(&opened.inner),
                    outer_name: host_name(&outer),
                },
                SecondHello::Sealed(Box::new(opened.retained)),
                inner_records(&opened.inner),
            ),
            HelloVerdict::Rejected(reason) => (
                ForwardedHello::Rejected {
                    reason,
                    outer_name: host_name(&outer),
                },
                SecondHello::AsItComes,
                Zeroizing::new(std::mem::take(&mut self.raw)),
            ),
            // `Rules::backend` is off.
            HelloVerdict::NotOffered | HelloVerdict::Backend => (
                ForwardedHello::NotOffered {
                    outer_name: host_name(&outer),
                },
                SecondHello::AsItComes,
                Zeroizing::new(std::mem::take(&mut self.raw)),
            ),
        };
        let mut forwarding = Forwarding {
            hello,
            second,
            answer: Answer::Awaited {
                walker: RecordWalker::default(),
                head: Vec::new(),
            },
            reader: HelloReader::new(self.max_hello),
            passing: RecordWalker::default(),
            second_raw: Vec::new(),
            held: Vec::new(),
            output: first,
            max_hello: self.max_hello,
        };
        forwarding.read_client(rest)?;
        Ok(Some(forwarding))
    }

    /// Takes note that the client has closed its side of the stream.
    ///
    /// # Errors
    ///
    /// When that cuts its hello short. A client that sent nothing gets no alert.
    pub fn end(&self) -> Result<(), ForwardError> {
        match self.reader.is_idle() && self.raw.is_empty() {
            true => Ok(()),
            false => Err(ForwardError::Truncated),
        }
    }
}

/// A connection between a client and a backend server, from the first ClientHello on.
///
/// What the client sends goes through [`read_client`](Self::read_client), and
/// [`take_output`](Self::take_output) to the server. What the server sends goes to the client
/// as it is, after [`read_server`](Self::read_server) has looked at it. Once
/// [`is_transparent`](Self::is_transparent), both may be copied without it.
pub struct Forwarding {
    hello: ForwardedHello,
    second: SecondHello,
    answer: Answer,
    reader: HelloReader,
    /// Follows the records that pass before a second hello, to tell where that begins.
    passing: RecordWalker,
    /// The second hello as it came.
    second_raw: Vec<u8>,
    /// From the client, and waiting for the server's answer.
    held: Vec<u8>,
    output: Zeroizing<Vec<u8>>,
    max_hello: usize,
}

/// What is done with a hello after a HelloRetryRequest.
enum SecondHello {
    /// It is opened with what the first one left (RFC 9849 §7.1.1).
    Sealed(Box<Retained>),
    /// It goes on as it comes, unless no client may send it.
    AsItComes,
}

/// What the server has said.
enum Answer {
    /// Nothing that tells.
    Awaited {
        walker: RecordWalker,
        /// The beginning of its first message.
        head: Vec<u8>,
    },
    /// A HelloRetryRequest: a second hello comes.
    Retry,
    /// Anything else, or the second hello has passed.
    Over,
}

impl Forwarding {
    /// What the first hello is.
    pub fn hello(&self) -> &ForwardedHello {
        &self.hello
    }

    /// Takes bytes from the client, all of them.
    ///
    /// A handshake record that comes before the server's answer is held, since that answer says
    /// whether it is a second hello: see [`is_holding`](Self::is_holding).
    ///
    /// # Errors
    ///
    /// When the second hello breaks a rule. What [`take_output`](Self::take_output) holds must not
    /// be sent any more; the client gets the alert of [`ForwardError::alert`].
    pub fn read_client(&mut self, bytes: &[u8]) -> Result<(), ForwardError> {
        match (&self.answer, self.held.is_empty()) {
            (Answer::Over, true) => {
                self.output.extend_from_slice(bytes);
                Ok(())
            }
            _ => {
                self.held.extend_from_slice(bytes);
                self.advance()
            }
        }
    }

    /// Looks at bytes from the server, before or after they are sent to the client.
    ///
    /// # Errors
    ///
    /// When bytes of the client that were held turn out to break a rule, as with
    /// [`read_client`](Self::read_client).
    pub fn read_server(&mut self, mut bytes: &[u8]) -> Result<(), ForwardError> {
        let Answer::Awaited { walker, head } = &mut self.answer else {
            return Ok(());
        };
        while let Some(part) = walker.take(&mut bytes) {
            match part {
                RecordPart::Header(header) if header.content_type == HANDSHAKE => {}
                // An alert, or not TLS.
                RecordPart::Header(_) => {
                    self.answer = Answer::Over;
                    break;
                }
                RecordPart::Content(content) => {
                    let lacking = SERVER_HELLO_HEAD - head.len();
                    head.extend_from_slice(&content[..lacking.min(content.len())]);
                    if head[0] != SERVER_HELLO || head.len() == SERVER_HELLO_HEAD {
                        self.answer = match is_hello_retry_request(head) {
                            true => Answer::Retry,
                            false => Answer::Over,
                        };
                        break;
                    }
                }
            }
        }
        self.advance()
    }

    /// The bytes to send to the server now.
    pub fn take_output(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.output)
    }

    /// Whether bytes of the client wait for the server's answer: read no more from it until then.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether everything from now on passes as it is, in both directions.
    pub fn is_transparent(&self) -> bool {
        matches!(self.answer, Answer::Over) && self.held.is_empty() && self.output.is_empty()
    }

    /// Takes note that the client has closed its side of the stream.
    ///
    /// # Errors
    ///
    /// When that cuts a second hello short.
    pub fn end(&self) -> Result<(), ForwardError> {
        match self.reader.is_idle() {
            true => Ok(()),
            false => Err(ForwardError::Truncated),
        }
    }

    /// Moves what is held on, as far as is known what it is.
    fn advance(&mut self) -> Result<(), ForwardError> {
        let held = std::mem::take(&mut self.held);
        let mut bytes = held.as_slice();
        while !bytes.is_empty() {
            if matches!(self.answer, Answer::Over) {
                self.output.extend_from_slice(bytes);
                return Ok(());
            }
            let hello = bytes[0] == HANDSHAKE && self.passing.is_between_records();
            if self.reader.is_idle() && !hello {
                // change_cipher_spec and early data pass.
                match self.passing.take(&mut bytes) {
                    Some(RecordPart::Header(header)) => {
                        self.output.extend_from_slice(&header.to_bytes());
                    }
                    Some(RecordPart::Content(content)) => self.output.extend_from_slice(content),
                    None => {}
                }
                continue;
            }
            if matches!(self.answer, Answer::Awaited { .. }) {
                self.held = bytes.to_vec();
                return Ok(());
            }
            let (taken, message) = self.reader.read(bytes)?;
            let (head, rest) = bytes.split_at(taken);
            self.second_raw.extend_from_slice(head);
            bytes = rest;
            match message {
                Some(message) => self.second_hello(ClientHello::parse(message)?)?,
                None => check_framing(&self.second_raw, self.max_hello)?,
            }
        }
        Ok(())
    }

    fn second_hello(&mut self, hello: ClientHello) -> Result<(), ForwardError> {
        let raw = std::mem::take(&mut self.second_raw);
        match &mut self.second {
            SecondHello::Sealed(retained) => {
                let inner = retained.open_second(&hello)?;
                self.output.extend_from_slice(&inner_records(&inner));
            }
            SecondHello::AsItComes => {
                judge_outer_second(&hello, false)?;
                self.output.extend_from_slice(&raw);
            }
        }
        self.answer = Answer::Over;
        Ok(())
    }
}

/// Shows no name that ECH hides.
impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarding")
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

fn inner_records(inner: &ClientHello) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(wrap_handshake(inner.bytes(), MAX_PLAINTEXT))
}

fn check_framing(raw: &[u8], max_hello: usize) -> Result<(), ForwardError> {
    match raw.len() > MAX_FRAMING * max_hello {
        true => Err(ForwardError::Records(HelloReadError::TooLong(raw.len()))),
        false => Ok(()),
    }
}

/// The host name of a hello in lower case, if it is one that can be looked up and logged: letters,
/// digits, `-`, `_` and dots between them.
fn host_name(hello: &ClientHello) -> Option<String> {
    let name = hello.server_name().filter(|name| name.len() <= 253)?;
    let label = |label: &str| {
        let whole = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        (1..=63).contains(&label.len()) && whole
    };
    name.split('.')
        .all(label)
        .then(|| name.to_ascii_lowercase())
}

/// What a client's first hello is, to choose the backend server by.
///
/// Names are in lower case, and `None` where there is none or it is not a host name.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHello {
    /// An offer that a key opened: the ClientHelloInner is forwarded.
    Accepted {
        /// The config_id of the key that opened it.
        config_id: u8,
        /// The HPKE suite.
        suite: Suite,
        /// The name inside.
        inner_name: Option<String>,
        /// The name outside.
        outer_name: Option<String>,
    },
    /// An offer that no key opened: the hello is forwarded as it came.
    Rejected {
        /// Why it was not opened.
        reason: RejectReason,
        /// The name outside.
        outer_name: Option<String>,
    },
    /// No offer: the hello is forwarded as it came.
    NotOffered {
        /// The name that is asked for.
        outer_name: Option<String>,
    },
}

/// Shows everything but the name that ECH hides.
impl fmt::Debug for ForwardedHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted {
                config_id,
                suite,
                outer_name,
                ..
            } => f
                .debug_struct("Accepted")
                .field("config_id", config_id)
                .field("suite", suite)
                .field("outer_name", outer_name)
                .finish_non_exhaustive(),
            Self::Rejected { reason, outer_name } => f
                .debug_struct("Rejected")
                .field("reason", reason)
                .field("outer_name", outer_name)
                .finish(),
            Self::NotOffered { outer_name } => f
                .debug_struct("NotOffered")
                .field("outer_name", outer_name)
                .finish(),
        }
    }
}

/// A hello that a client-facing server does not forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The client broke a rule of ECH.
    #[error("the client's ECH offer breaks a rule: {0}")]
    Client(#[from] Misbehaviour),
    /// The records hold no ClientHello.
    #[error("not a ClientHello: {0}")]
    Records(#[from] HelloReadError),
    /// The ClientHello is malformed.
    #[error("bad ClientHello: {0}")]
    Hello(#[from] HelloError),
    /// The client closed its side before its ClientHello was complete.
    #[error("the client closed the connection before its ClientHello was complete")]
    Truncated,
}

impl ForwardError {
    /// The alert that the client gets.
    pub fn alert(&self) -> Alert {
        match self {
            Self::Client(misbehaviour) => misbehaviour.alert(),
            Self::Records(error) => error.alert(),
            Self::Hello(_) | Self::Truncated => Alert::DECODE_ERROR,
        }
    }
}
