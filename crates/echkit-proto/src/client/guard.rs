//! Reads every outgoing ClientHello before it leaves, and stops what would show a hidden name.
//!
//! Sans-IO: give it the bytes that the TLS stack wants to send with [`Guard::push`], and send what
//! [`Guard::cleared`] holds. What it stops was never among the cleared bytes.
//!
//! Two things are stopped, in real offers only:
//!
//! - a hello that holds the hidden name, anywhere but in an SNI that is the public_name itself;
//! - a second hello (RFC 8446 §4.1.4) with `pre_shared_key` and a repeated `enc`. rustls 0.23.46
//!   sends that when an offer with a ticket meets a HelloRetryRequest that rejects it: the hello
//!   then holds the real ticket, which ties the hidden visit to a visible one. A second hello of
//!   an offer that is still alive has an empty `enc` (RFC 9849 §6.1.5) and a made-up ticket
//!   (§10.12.3).

use crate::hello::{
    CLIENT_HELLO, ClientHello, EchExtension, HelloError, OuterEch, extension, handshake_len,
};
use crate::hpke::{Kem, Suite};
use crate::tls_record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, whole_records};

/// Longest handshake message taken: far above any hello that rustls makes.
const MAX_MESSAGE: usize = 1 << 17;

/// What the hellos of a connection may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offering {
    /// Nothing is hidden: no ECH, or GREASE.
    Open,
    /// A real offer.
    Hidden {
        /// The name to hide; `None` for a literal address, which is in no hello.
        name: Option<String>,
        /// The server_name of the ClientHelloOuter.
        outer: String,
    },
}

/// What an eavesdropper could read in one ClientHello that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenHello {
    /// The name in its SNI.
    pub outer_sni: Option<String>,
    /// The application protocols that it offers; `None` without the extension.
    pub outer_alpn: Option<Vec<String>>,
    /// Its `config_id`, where it has an `encrypted_client_hello` extension.
    pub config_id: Option<u8>,
    /// The HPKE suite: KDF and AEAD as read, with the KEM that was used.
    pub suite: Option<String>,
    /// Whether it has a `pre_shared_key` extension.
    pub pre_shared_key: bool,
    /// Its length as a handshake message.
    pub len: usize,
}

/// Why nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The outer hello holds the hidden name.
    #[error("the ClientHelloOuter contains the hidden name")]
    HiddenName,
    /// The outer hello's SNI is not the one meant.
    #[error("the ClientHelloOuter has the server_name {shown:?} instead of {meant:?}")]
    OuterSni {
        /// The name in it.
        shown: Option<String>,
        /// What should.
        meant: String,
    },
    /// The hello lacks the offer.
    #[error("the ClientHello has no encrypted_client_hello extension")]
    NoOffer,
    /// The second hello holds a real session ticket.
    #[error("the second ClientHelloOuter has a session ticket in the clear")]
    Ticket,
    /// The bytes to send are not TLS as expected.
    #[error("cannot parse the outgoing ClientHello: {0}")]
    Unreadable(String),
}

/// Reads every outgoing ClientHello before it leaves. See the module's text.
#[derive(Debug)]
pub struct Guard {
    offering: Offering,
    kem: Option<Kem>,
    /// Bytes of a record that is not complete yet.
    pending: Vec<u8>,
    /// Whole records of a handshake message that is not complete yet.
    held: Vec<u8>,
    /// That message so far.
    message: Vec<u8>,
    cleared: Vec<u8>,
    hellos: Vec<SeenHello>,
    first_enc: Vec<u8>,
    /// A ChangeCipherSpec has passed.
    changed_cipher: bool,
    done: bool,
    stopped: Option<GuardError>,
}

impl Guard {
    /// A guard for one connection. `kem` is only used to name the suite in [`SeenHello`].
    pub fn new(offering: Offering, kem: Option<Kem>) -> Self {
        Self {
            offering,
            kem,
            pending: Vec::new(),
            held: Vec::new(),
            message: Vec::new(),
            cleared: Vec::new(),
            hellos: Vec::new(),
            first_enc: Vec::new(),
            changed_cipher: false,
            done: false,
            stopped: None,
        }
    }

    /// Takes bytes that the TLS stack wants to send.
    ///
    /// # Errors
    ///
    /// When they must not be sent. Everything that is not cleared yet is dropped, and every later
    /// call fails alike.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), GuardError> {
        if let Some(error) = &self.stopped {
            return Err(error.clone());
        }
        if self.done {
            self.cleared.extend_from_slice(bytes);
            return Ok(());
        }
        let before = self.cleared.len();
        self.pending.extend_from_slice(bytes);
        self.read_records().inspect_err(|error| {
            self.stopped = Some(error.clone());
            self.cleared.truncate(before);
            self.pending.clear();
            self.held.clear();
            self.message.clear();
        })
    }

    /// The bytes that may be sent.
    pub fn cleared(&self) -> &[u8] {
        &self.cleared
    }

    /// Forgets the first `len` cleared bytes, which were sent.
    pub fn sent(&mut self, len: usize) {
        self.cleared.drain(..len);
    }

    /// True once no further hello can come and bytes pass through unread.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The hellos that were cleared, in order: one, or two after a HelloRetryRequest.
    pub fn hellos(&self) -> &[SeenHello] {
        &self.hellos
    }

    /// Why nothing more is sent, if so.
    pub fn stopped(&self) -> Option<&GuardError> {
        self.stopped.as_ref()
    }

    fn read_records(&mut self) -> Result<(), GuardError> {
        let pending = std::mem::take(&mut self.pending);
        let mut records = whole_records(&pending);
        while !self.done {
            let Some(record) = records.next() else {
                self.pending.extend_from_slice(records.rest());
                return Ok(());
            };
            match record.header.content_type {
                HANDSHAKE if self.may_be_encrypted() => {
                    self.cleared.extend_from_slice(record.bytes);
                    self.message.extend_from_slice(record.content());
                    if self.read_messages().is_err() {
                        self.done = true;
                    }
                }
                HANDSHAKE => {
                    self.message.extend_from_slice(record.content());
                    self.held.extend_from_slice(record.bytes);
                    self.read_messages()?;
                }
                kind @ (CHANGE_CIPHER_SPEC | ALERT) if self.held.is_empty() => {
                    self.cleared.extend_from_slice(record.bytes);
                    self.changed_cipher |= kind == CHANGE_CIPHER_SPEC;
                }
                APPLICATION_DATA if self.held.is_empty() => {
                    self.cleared.extend_from_slice(record.bytes);
                    self.done = true;
                }
                other => {
                    return Err(GuardError::Unreadable(format!(
                        "unexpected record of type {other}"
                    )));
                }
            }
        }
        self.cleared.extend_from_slice(records.rest());
        Ok(())
    }

    /// Whether the next handshake record can be an encrypted Finished: a client that resumes a
    /// session of TLS 1.2 (RFC 5246 §7.3) sends one after its ChangeCipherSpec, and its bytes may
    /// look like those of a ClientHello. A real offer never ends in TLS 1.2 (RFC 9849 §6.1).
    fn may_be_encrypted(&self) -> bool {
        self.changed_cipher && self.offering == Offering::Open
    }

    /// Reads the handshake messages that are complete, and clears their records.
    fn read_messages(&mut self) -> Result<(), GuardError> {
        while let Some(len) = handshake_len(&self.message) {
            if self.message[0] != CLIENT_HELLO {
                // TLS 1.2 goes on in the clear: the server has chosen, no other hello comes.
                self.done = true;
                break;
            }
            if len > MAX_MESSAGE {
                return Err(GuardError::Unreadable(format!("{len} bytes long")));
            }
            if self.message.len() < len {
                return Ok(());
            }
            let message: Vec<u8> = self.message.drain(..len).collect();
            let hello = ClientHello::parse(message)?;
            let ech = match hello.ech()? {
                Some(EchExtension::Outer(ech)) => Some(ech),
                _ => None,
            };
            self.judge(&hello, ech.as_ref())?;
            self.hellos.push(seen(&hello, ech.as_ref(), self.kem));
        }
        if self.message.is_empty() || self.done {
            self.cleared.append(&mut self.held);
        }
        Ok(())
    }

    fn judge(&mut self, hello: &ClientHello, ech: Option<&OuterEch<'_>>) -> Result<(), GuardError> {
        let Offering::Hidden { name, outer } = &self.offering else {
            return Ok(());
        };
        let ech = ech.ok_or(GuardError::NoOffer)?;
        let shown = hello.server_name();
        if !shown.is_some_and(|sni| sni.eq_ignore_ascii_case(outer)) {
            return Err(GuardError::OuterSni {
                shown: shown.map(str::to_owned),
                meant: outer.clone(),
            });
        }
        if let Some(name) = name {
            // The SNI is as meant; `example` inside of `cover.example` gives nothing away.
            let sni = hello
                .extensions()
                .iter()
                .find(|e| e.kind == extension::SERVER_NAME)
                .map_or(0..0, |e| e.body.clone());
            let (before, after) = (&hello.bytes()[..sni.start], &hello.bytes()[sni.end..]);
            if holds_name(before, name) || holds_name(after, name) {
                return Err(GuardError::HiddenName);
            }
        }
        if self.hellos.is_empty() {
            self.first_enc = ech.enc.to_vec();
        } else if hello.has_pre_shared_key() && !ech.enc.is_empty() && ech.enc == self.first_enc {
            return Err(GuardError::Ticket);
        }
        Ok(())
    }
}

impl From<HelloError> for GuardError {
    fn from(error: HelloError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

fn seen(hello: &ClientHello, ech: Option<&OuterEch<'_>>, kem: Option<Kem>) -> SeenHello {
    SeenHello {
        outer_sni: hello.server_name().map(str::to_owned),
        outer_alpn: hello.alpn().map(|names| {
            names
                .into_iter()
                .map(|name| name.escape_ascii().to_string())
                .collect()
        }),
        config_id: ech.map(|ech| ech.config_id),
        suite: ech.map(|ech| match kem {
            Some(kem) => Suite {
                kem,
                sym: ech.suite,
            }
            .to_string(),
            None => ech.suite.to_string(),
        }),
        pre_shared_key: hello.has_pre_shared_key(),
        len: hello.bytes().len(),
    }
}

/// Shorter names turn up in random bytes by chance; they are looked for with their length.
const MIN_BARE_NAME: usize = 5;

/// Whether `bytes` hold `name` in either case.
fn holds_name(bytes: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    if name.is_empty() {
        return false;
    }
    let with_length;
    let needle = match name.len() < MIN_BARE_NAME {
        false => name,
        // As host_name of RFC 6066 §3.
        true => {
            with_length = [&[0, 0, name.len() as u8], name].concat();
            &with_length
        }
    };
    // Most windows differ in their first byte.
    bytes.windows(needle.len()).any(|window| {
        window[0].eq_ignore_ascii_case(&needle[0]) && window.eq_ignore_ascii_case(needle)
    })
}
