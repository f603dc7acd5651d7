//! One TLS connection without I/O of its own: records in, records out.

use std::io::{self, Read, Write};
use std::sync::Arc;

use echkit::tls::Guard;
use rustls::client::EchStatus;
use rustls::internal::msgs::codec::Codec;
use rustls::server::{Accepted, Acceptor};
use rustls::{Connection, Error, PeerIncompatible, ServerConfig};
use rustls_pki_types::ServerName;

use crate::failure::Failure;
use crate::socket::{Fd, Received};
use crate::verifier::observing;

const HEADER: usize = 5;
/// Longest record (RFC 8446 §5.2); TLS 1.2 allows more (RFC 5246 §6.2.3).
const MAX_BODY: usize = 16_384 + 2_048;
/// Plaintext encrypted in one go: rustls' own limit for what waits to be sent.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Where records come from and go to.
#[derive(Clone, Copy)]
pub(crate) enum Io {
    Socket(Fd),
    /// `Core::input` and `Core::output`.
    Memory,
}

pub(crate) enum State {
    /// A server that waits for a ClientHello.
    Accepting(Box<Acceptor>),
    /// A ClientHello was read; a configuration is to be chosen.
    Hello(Box<Accepted>),
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

/// One connection.
pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) inner_name: Option<ServerName<'static>>,
    pub(crate) unverified: bool,
    pub(crate) ragged_eof_is_eof: bool,
    /// Ciphertext that was handed in and not yet read (memory only).
    pub(crate) input: Vec<u8>,
    pub(crate) input_eof: bool,
    /// Records to hand out: all of them for memory, else what is written by hand.
    pub(crate) output: Vec<u8>,
    /// The record that is being received.
    record: Vec<u8>,
    /// Plaintext that can be read at once.
    pub(crate) plaintext: usize,
    /// Plaintext to encrypt; kept to save the allocation.
    pub(crate) scratch: Vec<u8>,
    /// What a non-blocking write took and could not flush.
    pub(crate) unflushed: usize,
    pub(crate) closed_by_peer: bool,
    pub(crate) closed_by_us: bool,
    pub(crate) done: bool,
    pub(crate) ech: EchOutcome,
    /// Reads every hello of a client before it leaves.
    pub(crate) guard: Option<Guard>,
}

impl Core {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            inner_name: None,
            unverified: false,
            ragged_eof_is_eof: false,
            input: Vec::new(),
            input_eof: false,
            output: Vec::new(),
            record: Vec::new(),
            plaintext: 0,
            scratch: Vec::new(),
            unflushed: 0,
            closed_by_peer: false,
            closed_by_us: false,
            done: false,
            ech: EchOutcome::default(),
            guard: None,
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
            self.flush(io)?;
            match &self.state {
                State::Hello(_) => return Ok(false),
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
            self.receive(io)?;
            self.process(io)?;
        }
    }

    /// Chooses a server's configuration.
    pub(crate) fn choose(&mut self, config: Arc<ServerConfig>, io: Io) -> Result<(), Failure> {
        let State::Hello(accepted) = std::mem::replace(&mut self.state, State::Dead) else {
            return Ok(());
        };
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

    /// Ends a server's handshake with an alert in the clear, before any ServerHello.
    pub(crate) fn abort(&mut self, alert: u8, io: Io) {
        // A fatal alert (RFC 8446 §6) in a record of its own.
        self.output.extend_from_slice(&[21, 3, 3, 0, 2, 2, alert]);
        self.state = State::Dead;
        let _ = self.flush(io);
    }

    /// Makes plaintext available, or says why there is none.
    pub(crate) fn fill(&mut self, io: Io) -> Result<(), Failure> {
        loop {
            if self.plaintext > 0 {
                return Ok(());
            }
            if self.closed_by_peer {
                return Err(Failure::Closed);
            }
            self.receive(io)?;
            self.process(io)?;
            match self.flush(io) {
                // Reading must go on while the peer takes nothing.
                Ok(()) | Err(Failure::WantWrite) => {}
                Err(other) => return Err(other),
            }
        }
    }

    /// Encrypts `scratch[from..]` as far as there is room, and says how much that was.
    pub(crate) fn encrypt(&mut self, from: usize) -> Result<usize, Failure> {
        if self.closed_by_us {
            return Err(Failure::Other(
                "PROTOCOL_IS_SHUTDOWN",
                "protocol is shutdown".to_owned(),
            ));
        }
        let scratch = std::mem::take(&mut self.scratch);
        let written = self
            .running()
            .and_then(|c| c.writer().write(&scratch[from..]).map_err(Failure::Io));
        self.scratch = scratch;
        written
    }

    /// Says goodbye and waits for the peer's.
    pub(crate) fn shutdown(&mut self, io: Io) -> Result<(), Failure> {
        if !self.closed_by_us {
            self.running()?.send_close_notify();
            self.closed_by_us = true;
        }
        self.flush(io)?;
        while !self.closed_by_peer {
            if self.plaintext > 0 {
                return Err(Failure::Other(
                    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY",
                    "application data after close notify".to_owned(),
                ));
            }
            self.receive(io)?;
            self.process(io)?;
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
                self.output.extend_from_slice(guard.cleared());
                guard.sent(cleared);
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

    /// Receives the rest of one record, and nothing beyond it: what follows may not be TLS.
    fn receive(&mut self, io: Io) -> Result<(), Failure> {
        loop {
            let have = self.record.len();
            let need = wanted(&self.record);
            if have == need {
                return Ok(());
            }
            match io {
                Io::Memory if self.input.is_empty() && self.input_eof => {
                    return Err(self.ended());
                }
                Io::Memory if self.input.is_empty() => return Err(Failure::WantRead),
                Io::Memory => {
                    let len = self.input.len().min(need - have);
                    self.record.extend(self.input.drain(..len));
                }
                Io::Socket(fd) => {
                    self.record.resize(need, 0);
                    let received = fd.receive(&mut self.record[have..]);
                    let len = match received {
                        Received::Bytes(len) => len,
                        _ => 0,
                    };
                    self.record.truncate(have + len);
                    match received {
                        Received::Bytes(_) => {}
                        Received::Nothing => return Err(Failure::WantRead),
                        Received::End => return Err(self.ended()),
                        Received::Error(error) => return Err(Failure::Io(error)),
                    }
                }
            }
        }
    }

    fn ended(&self) -> Failure {
        match self.ragged_eof_is_eof && self.done {
            true => Failure::Closed,
            false => Failure::Eof,
        }
    }

    /// Gives the received record to rustls.
    fn process(&mut self, io: Io) -> Result<(), Failure> {
        let record = std::mem::take(&mut self.record);
        let outcome = self.give(&record);
        self.record = record;
        self.record.clear();
        if outcome.is_err() {
            // The alert tells the peer; that it may not get through does not matter any more.
            let _ = self.flush(io);
        }
        outcome
    }

    fn give(&mut self, mut record: &[u8]) -> Result<(), Failure> {
        match &mut self.state {
            State::Accepting(acceptor) => {
                while !record.is_empty() {
                    acceptor.read_tls(&mut record).map_err(Failure::Io)?;
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
                let (outcome, refused) = observing(self.inner_name.as_ref(), || {
                    while !record.is_empty() {
                        connection
                            .read_tls(&mut record)
                            .map_err(|error| Error::General(error.to_string()))?;
                    }
                    connection.process_new_packets()
                });
                match outcome {
                    Ok(state) => {
                        self.plaintext = state.plaintext_bytes_to_read();
                        self.closed_by_peer |= state.peer_has_closed();
                        Ok(())
                    }
                    Err(error) => {
                        self.judge_rejection(&error, refused.is_some());
                        if self.ech.rejected && self.ech.authenticated {
                            let retry_configs = self.ech.retry_configs.clone();
                            return Err(Failure::Rejected(retry_configs.unwrap_or_default()));
                        }
                        Err(refused.map_or(Failure::Tls(error), Failure::Certificate))
                    }
                }
            }
            State::Hello(_) | State::Dead => Ok(()),
        }
    }

    /// RFC 9849 §6.1.6: retry configs count only under an authenticated public_name.
    fn judge_rejection(&mut self, error: &Error, refused: bool) {
        let status = match self.connection() {
            Some(Connection::Client(client)) => client.ech_status(),
            _ => return,
        };
        if let Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(
            configs,
        )) = error
        {
            self.ech.rejected = true;
            self.ech.authenticated = !self.unverified;
            if let (Some(configs), true) = (configs, self.ech.authenticated) {
                let mut list = vec![0, 0];
                for config in configs {
                    config.encode(&mut list);
                }
                let len = u16::try_from(list.len() - 2).unwrap_or(u16::MAX);
                list[..2].copy_from_slice(&len.to_be_bytes());
                self.ech.retry_configs = Some(list);
            }
        } else if refused && status == EchStatus::Rejected {
            self.ech.rejected = true;
        }
    }

    /// Plaintext that is at hand.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let Ok(connection) = self.running() else {
            return 0;
        };
        let len = connection.reader().read(buffer).unwrap_or(0);
        self.plaintext = self.plaintext.saturating_sub(len);
        len
    }
}

/// How long the record is, as far as is known: its header first.
fn wanted(record: &[u8]) -> usize {
    let Some(header) = record.first_chunk::<HEADER>() else {
        return HEADER;
    };
    let body = usize::from(u16::from_be_bytes([header[3], header[4]]));
    // What is no TLS goes to rustls as it is, to be refused.
    match (20..=23).contains(&header[0]) && header[1] == 3 && body <= MAX_BODY {
        true => HEADER + body,
        false => HEADER,
    }
}

fn sending(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock => Failure::WantWrite,
        _ => Failure::Io(error),
    }
}
