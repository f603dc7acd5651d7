//! One TLS connection without I/O of its own: records in, records out.

mod incoming;

use std::io::{self, Write};
use std::sync::Arc;

use echkit_tls::client::Guard;
use echkit_tls::record_opener::RecordOpener;
use echkit_tls::server::{self, EchServer, HandshakeError};
use rustls::Connection;
use rustls::server::{Accepted, Acceptor};
use rustls_pki_types::ServerName;

use crate::failure::Failure;
use crate::incoming_record::IncomingRecord;
use crate::socket::Fd;
use crate::verifier::observing;

/// Plaintext encrypted in one go: rustls' own limit for what waits to be sent.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Most plaintext for one call to read, so that a writer in another thread gets its turn.
const MAX_READ: usize = 256 * 1024;

/// A client's change_cipher_spec, which changes nothing (RFC 8446 §D.4).
const CHANGE_CIPHER_SPEC: [u8; 6] = [20, 3, 3, 0, 1, 1];

/// Where records come from and go to.
#[derive(Clone, Copy)]
pub(crate) enum Io {
    Socket(Fd),
    /// `Core::record` and `Core::output`.
    Memory,
}

pub(crate) enum State {
    /// A server that waits for a ClientHello.
    Accepting(Box<Acceptor>),
    /// A ClientHello was read; a configuration is to be chosen.
    Hello(Box<Accepted>),
    /// A server with ECH keys, until rustls continues alone.
    Opening(Box<server::Handshake>),
    Running(Box<Connection>),
    /// The handshake ended before there was a connection.
    Dead,
}

/// What became of an ECH offer; the numbers are those of the CPython proposal.
#[derive(Clone, Debug, Default)]
pub(crate) struct EchOutcome {
    pub(crate) rejected: bool,
    /// The rejection was authenticated for the public_name.
    pub(crate) authenticated: bool,
    pub(crate) retry_configs: Option<Vec<u8>>,
}

/// What a server's callback and configuration depend on.
pub(crate) struct Hello {
    pub(crate) name: Option<String>,
    pub(crate) alpn: Option<Vec<Vec<u8>>>,
    pub(crate) suites: Vec<u16>,
}

/// One connection.
pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) inner_name: Option<ServerName<'static>>,
    pub(crate) unverified: bool,
    pub(crate) ragged_eof_is_eof: bool,
    /// No more will be added to `record` (memory only).
    pub(crate) input_ended: bool,
    /// Records to hand out: all of them for memory, else what is written by hand.
    pub(crate) output: Vec<u8>,
    /// What a client's handshake has to send, until it is more than change_cipher_spec.
    held: Vec<u8>,
    /// The record that is being received, or read.
    pub(crate) record: IncomingRecord,
    /// Opens records of application data in the buffer of `record`; made by the handshake.
    opener: Option<RecordOpener>,
    /// Plaintext that can be read at once.
    pub(crate) plaintext: usize,
    /// What ended a read that had something to return; the next one says so.
    deferred: Option<Failure>,
    /// What a non-blocking write took and could not flush.
    pub(crate) unflushed: usize,
    pub(crate) closed_by_peer: bool,
    pub(crate) closed_by_us: bool,
    pub(crate) done: bool,
    pub(crate) ech: EchOutcome,
    /// Whether it is a server with ECH keys.
    pub(crate) opens_ech: bool,
    /// What a server with ECH keys made of the client's offer.
    pub(crate) opened: Option<server::EchOutcome>,
    /// Reads every hello of a client before it leaves.
    pub(crate) guard: Option<Guard>,
    /// Whether the context has counted the start, and the end, of a handshake. Several threads may
    /// be in one.
    pub(crate) start_counted: bool,
    pub(crate) end_counted: bool,
}

impl Core {
    pub(crate) fn new(state: State) -> Self {
        let opens_ech = matches!(state, State::Opening(_));
        Self {
            state,
            inner_name: None,
            unverified: false,
            ragged_eof_is_eof: false,
            input_ended: false,
            output: Vec::new(),
            held: Vec::new(),
            record: IncomingRecord::default(),
            opener: None,
            plaintext: 0,
            deferred: None,
            unflushed: 0,
            closed_by_peer: false,
            closed_by_us: false,
            done: false,
            ech: EchOutcome::default(),
            opens_ech,
            opened: None,
            guard: None,
            start_counted: false,
            end_counted: false,
        }
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        match &self.state {
            State::Running(connection) => Some(connection),
            _ => None,
        }
    }

    fn running(&mut self) -> Result<&mut Connection, Failure> {
        match &mut self.state {
            State::Running(connection) => Ok(connection),
            _ => Err(Failure::Other(
                "UNINITIALIZED",
                "the connection has not been made".to_owned(),
            )),
        }
    }

    /// The name that was sent in the clear, as read from the bytes that were sent.
    pub(crate) fn outer_name(&self) -> Option<String> {
        self.guard.as_ref()?.hellos().first()?.outer_sni.clone()
    }

    /// Goes on with the handshake. `Ok(false)`: a configuration has to be chosen first.
    pub(crate) fn handshake(&mut self, io: Io) -> Result<bool, Failure> {
        loop {
            match self.flush(io) {
                // Only tickets are left, and the client may have sent all that it wanted before
                // it closed. OpenSSL lets its servers continue as well.
                Err(failure) if failure.is_reset() && self.has_answered() => {}
                other => other?,
            }
            if self.waits_for_choice() {
                return Ok(false);
            }
            match &self.state {
                State::Running(connection) if !connection.is_handshaking() => {
                    self.done = true;
                    return Ok(true);
                }
                State::Dead => {
                    return Err(Failure::Other(
                        "SSL_HANDSHAKE_FAILURE",
                        "the handshake has failed before".to_owned(),
                    ));
                }
                _ => {}
            }
            self.advance(io)?;
        }
    }

    /// Whether a hello waits for the configuration that is to answer it.
    pub(crate) fn waits_for_choice(&self) -> bool {
        match &self.state {
            State::Hello(_) => true,
            State::Opening(handshake) => handshake.hello().is_some(),
            _ => false,
        }
    }

    /// Whether it is a server that has the client's last word of the handshake.
    fn has_answered(&self) -> bool {
        matches!(self.connection(), Some(Connection::Server(c)) if !c.is_handshaking())
    }

    /// The hello that waits for a configuration: the inner one, where an offer was opened.
    pub(crate) fn hello(&self) -> Option<Hello> {
        match &self.state {
            State::Hello(accepted) => {
                let hello = accepted.client_hello();
                Some(Hello {
                    name: hello.server_name().map(str::to_owned),
                    alpn: hello
                        .alpn()
                        .map(|names| names.map(<[u8]>::to_vec).collect()),
                    suites: hello.cipher_suites().iter().map(|s| (*s).into()).collect(),
                })
            }
            State::Opening(handshake) => {
                let hello = handshake.hello()?;
                Some(Hello {
                    name: handshake.server_name(),
                    alpn: hello
                        .alpn()
                        .map(|names| names.into_iter().map(<[u8]>::to_vec).collect()),
                    suites: hello.cipher_suites().collect(),
                })
            }
            _ => None,
        }
    }

    /// Answers the hello, unless another thread has answered it meanwhile.
    pub(crate) fn choose(&mut self, server: &EchServer, io: Io) -> Result<(), Failure> {
        self.observed(|core| core.answer(server, io))
    }

    fn answer(&mut self, server: &EchServer, io: Io) -> Result<(), Failure> {
        if !self.waits_for_choice() {
            return Ok(());
        }
        let accepted = match std::mem::replace(&mut self.state, State::Dead) {
            State::Hello(accepted) => accepted,
            State::Opening(mut handshake) => {
                let answered = handshake.answer(server);
                let outcome = self.opening(handshake, answered);
                if outcome.is_err() {
                    let _ = self.flush(io);
                }
                return outcome;
            }
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let config = Arc::clone(server.config());
        let (made, refused) = observing(None, || accepted.into_connection(config));
        match made {
            Ok(connection) => {
                self.state = State::Running(Box::new(Connection::Server(connection)));
                Ok(())
            }
            Err((error, mut alert)) => {
                let _ = alert.write_all(&mut self.output);
                let _ = self.flush(io);
                Err(refused.map_or(Failure::Tls(error), Failure::Certificate))
            }
        }
    }

    /// Goes on from a step of a server's handshake with ECH keys.
    fn opening(
        &mut self,
        mut handshake: Box<server::Handshake>,
        step: Result<(), HandshakeError>,
    ) -> Result<(), Failure> {
        self.output.extend(handshake.take_output());
        match step {
            Ok(()) if handshake.is_done() => {
                if let Some((connection, outcome)) = handshake.finish() {
                    self.state = State::Running(Box::new(Connection::Server(connection)));
                    self.opened = Some(outcome);
                }
                Ok(())
            }
            Ok(()) => {
                self.state = State::Opening(handshake);
                Ok(())
            }
            Err(HandshakeError::Tls(error)) => Err(Failure::Tls(error)),
            Err(error @ HandshakeError::Client(_)) => {
                Err(Failure::Other("ECH_DECODE_ERROR", error.to_string()))
            }
            Err(error) => Err(Failure::Other("BAD_PACKET", error.to_string())),
        }
    }

    /// Ends a server's handshake with an alert in the clear, before any ServerHello; not where
    /// another thread has answered the hello meanwhile.
    pub(crate) fn abort(&mut self, alert: u8, io: Io) {
        if !self.waits_for_choice() {
            return;
        }
        // A fatal alert (RFC 8446 §6) in a record of its own.
        self.output.extend_from_slice(&[21, 3, 3, 0, 2, 2, alert]);
        self.state = State::Dead;
        let _ = self.flush(io);
    }

    /// About how much plaintext [`Self::read`] will give.
    pub(crate) fn expected(&self, len: usize) -> usize {
        let coming = match self.plaintext {
            0 => self.record.announced().unwrap_or(0),
            _ => 0,
        };
        len.min(self.plaintext + coming).min(MAX_READ)
    }

    /// Gives up to `len` bytes of plaintext to `sink`: at least one byte, or an error, and then
    /// whatever else is at hand without waiting.
    pub(crate) fn read(
        &mut self,
        io: Io,
        len: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        let len = len.min(MAX_READ);
        self.make_readable(io)?;
        let mut taken = self.take(len, &mut sink);
        while taken < len
            && self.deferred.is_none()
            && !self.closed_by_peer
            && self.more_fits(io, len - taken)
        {
            match self.step(io) {
                Ok(()) => taken += self.take(len - taken, &mut sink),
                Err(Failure::WantRead) => break,
                Err(other) => {
                    self.deferred = Some(other);
                    taken += self.take(len - taken, &mut sink);
                    break;
                }
            }
        }
        Ok(taken)
    }

    /// Makes at least one byte of plaintext available; an error behind it is kept for the next read.
    pub(crate) fn make_readable(&mut self, io: Io) -> Result<(), Failure> {
        if self.plaintext == 0
            && let Err(failure) = self.fill(io)
        {
            if self.plaintext == 0 {
                return Err(failure);
            }
            self.deferred = Some(failure);
        }
        Ok(())
    }

    /// Whether a read would have to wait for the next record.
    pub(crate) fn needs_input(&self) -> bool {
        self.done
            && self.plaintext == 0
            && !self.closed_by_peer
            && self.deferred.is_none()
            && !self.record.is_complete()
    }

    /// Makes plaintext available, or says why there is none.
    fn fill(&mut self, io: Io) -> Result<(), Failure> {
        if let Some(failure) = self.deferred.take() {
            return Err(failure);
        }
        while self.plaintext == 0 {
            if self.closed_by_peer {
                return Err(Failure::Closed);
            }
            self.step(io)?;
        }
        Ok(())
    }

    /// Whether another record is on its way here, and leaves no plaintext behind. Over memory none
    /// is taken ahead: it could be close_notify, or its end an error, and a consumer that saw
    /// neither `pending()` nor the BIO hold anything would not read on to learn of it.
    fn more_fits(&self, io: Io, room: usize) -> bool {
        match io {
            Io::Socket(_) => self.record.announced().is_some_and(|len| len <= room),
            Io::Memory => false,
        }
    }

    /// Receives and decrypts the next record.
    fn step(&mut self, io: Io) -> Result<(), Failure> {
        self.advance(io)?;
        match self.flush(io) {
            // Reading must go on while the peer takes nothing.
            Ok(()) | Err(Failure::WantWrite) => Ok(()),
            Err(failure) if failure.is_reset() => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Encrypts as much of `plaintext` as there is room for, and says how much that was.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Result<usize, Failure> {
        if self.closed_by_us {
            return Err(Failure::Other(
                "PROTOCOL_IS_SHUTDOWN",
                "protocol is shutdown".to_owned(),
            ));
        }
        let mut writer = self.running()?.writer();
        writer.write(plaintext).map_err(Failure::Io)
    }

    /// Says goodbye and waits for the peer's.
    pub(crate) fn shutdown(&mut self, io: Io) -> Result<(), Failure> {
        if !self.closed_by_us {
            self.running()?.send_close_notify();
            self.closed_by_us = true;
        }
        self.flush(io)?;
        if let Some(failure) = self.deferred.take() {
            return Err(failure);
        }
        while !self.closed_by_peer {
            if self.plaintext > 0 {
                return Err(Failure::Other(
                    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY",
                    "application data after close notify".to_owned(),
                ));
            }
            self.advance(io)?;
        }
        Ok(())
    }

    /// Sends whatever waits.
    pub(crate) fn flush(&mut self, io: Io) -> Result<(), Failure> {
        if let State::Running(connection) = &mut self.state {
            let guard = self.guard.as_mut().filter(|guard| !guard.is_done());
            if let Some(guard) = guard {
                let mut flight = Vec::new();
                while connection.wants_write() {
                    connection.write_tls(&mut flight).map_err(Failure::Io)?;
                }
                guard
                    .push(&flight)
                    .map_err(|error| Failure::Other("ECH_GUARD", error.to_string()))?;
                let cleared = guard.cleared().len();
                self.held.extend_from_slice(guard.cleared());
                guard.sent(cleared);
            }
            // One flight, one call to the system: Nagle's algorithm would hold what comes after
            // change_cipher_spec until the server has acknowledged that, which is too late for an
            // alert before close().
            let client = matches!(**connection, Connection::Client(_));
            if client && connection.is_handshaking() {
                while connection.wants_write() {
                    connection.write_tls(&mut self.held).map_err(Failure::Io)?;
                }
            }
            if !connection.is_handshaking() || self.held != CHANGE_CIPHER_SPEC {
                self.output.append(&mut self.held);
            }
            while connection.wants_write() {
                match io {
                    Io::Socket(mut fd) if self.output.is_empty() => {
                        connection.write_tls(&mut fd).map_err(sending)?;
                    }
                    Io::Socket(_) | Io::Memory => {
                        connection
                            .write_tls(&mut self.output)
                            .map_err(Failure::Io)?;
                    }
                }
            }
        }
        if let Io::Socket(mut fd) = io {
            while !self.output.is_empty() {
                let sent = fd.write(&self.output).map_err(sending)?;
                self.output.drain(..sent);
            }
        }
        Ok(())
    }
}

fn sending(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock => Failure::WantWrite,
        _ => Failure::Io(error),
    }
}
