//! What happens on a connection after its handshake: every byte comes back inverted.

use std::io::{self, Read, Write};

use echkit_tls::client::Guard;
use rustls::{Connection, Error};

use crate::failure::Failure;
use crate::options::ConnectionOptions;
use crate::socket::Socket;

/// How many bytes are read at once: the runner's records reach the reader in several reads.
const READ_SIZE: usize = 512;

/// A connection on its socket.
pub(crate) struct Exchange<'a> {
    pub(crate) connection: Connection,
    /// What a client's bytes have to pass.
    pub(crate) guard: Option<Guard>,
    pub(crate) socket: &'a mut Socket,
    pub(crate) options: &'a ConnectionOptions,
}

/// Why an exchange ended too early.
pub(crate) enum Ended {
    /// The TLS library's error, after its alert was sent.
    Tls(Error),
    Other(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

/// How many bytes to read from the socket at once.
pub(crate) fn read_size(options: &ConnectionOptions) -> usize {
    match options.reads_bytewise {
        true => 1,
        false => options.read_size.unwrap_or(READ_SIZE),
    }
}

impl Exchange<'_> {
    /// Finishes the handshake, lets `check` look at it, and answers until the peer closes.
    pub(crate) fn run(
        &mut self,
        check: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Ended> {
        let mut check = Some(check);
        let mut buffer = vec![0; read_size(self.options)];
        loop {
            self.answer_early_data()?;
            self.flush()?;
            if !self.connection.is_handshaking() {
                if let Some(check) = check.take() {
                    check(self)?;
                    self.begin()?;
                }
                if self.options.shuts_down {
                    break;
                }
                self.answer()?;
            }
            if self.is_closed() {
                break;
            }
            let bytes = self.socket.read(&mut buffer)?;
            if bytes.is_empty() {
                if check.is_some() {
                    return Err(Failure::failed("the peer closed during the handshake").into());
                }
                break;
            }
            let bytes = bytes.to_owned();
            self.take(&bytes)?;
        }
        self.close()
    }

    /// Gives bytes of the peer to rustls.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            match self.connection.read_tls(&mut bytes) {
                // After close_notify nothing is read.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(Failure::failed(error).into()),
            }
            if let Err(error) = self.connection.process_new_packets() {
                // What cannot be sent any more does not matter: the error is what counts.
                let _ = self.flush();
                return Err(Ended::Tls(error));
            }
        }
        Ok(())
    }

    /// Sends what rustls has to send.
    fn flush(&mut self) -> Result<(), Failure> {
        let mut flight = Vec::new();
        while self.connection.wants_write() {
            self.connection
                .write_tls(&mut flight)
                .map_err(Failure::failed)?;
        }
        let Some(guard) = &mut self.guard else {
            return self.socket.send(&flight);
        };
        guard.push(&flight).map_err(Failure::failed)?;
        self.socket.send(guard.cleared())?;
        guard.sent(guard.cleared().len());
        Ok(())
    }

    /// What is sent before anything is read.
    fn begin(&mut self) -> Result<(), Failure> {
        let export = &self.options.export;
        if export.length > 0 {
            let context = export.has_context.then_some(export.context.as_bytes());
            let material = self
                .connection
                .export_keying_material(vec![0; export.length], export.label.as_bytes(), context)
                .map_err(Failure::failed)?;
            self.write(&material)?;
        }
        if self.options.writes_first {
            let text = self.options.first_write.as_deref().unwrap_or("hello");
            self.write(text.as_bytes())?;
        }
        self.flush()
    }

    fn answer_early_data(&mut self) -> Result<(), Failure> {
        let mut early = Vec::new();
        if let Connection::Server(server) = &mut self.connection
            && let Some(mut data) = server.early_data()
        {
            data.read_to_end(&mut early).map_err(Failure::failed)?;
        }
        self.write_inverted(&mut early)
    }

    fn answer(&mut self) -> Result<(), Failure> {
        let mut buffer = vec![0; self.options.read_size.unwrap_or(READ_SIZE)];
        loop {
            match self.connection.reader().read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    if self.options.updates_keys {
                        self.connection
                            .refresh_traffic_keys()
                            .map_err(Failure::failed)?;
                    }
                    self.write_inverted(&mut buffer[..length])?;
                    self.flush()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Failure::failed(error)),
            }
        }
    }

    fn write_inverted(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
        self.write(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.connection
            .writer()
            .write_all(bytes)
            .map_err(Failure::failed)
    }

    /// Whether the peer has sent close_notify.
    fn is_closed(&mut self) -> bool {
        self.connection
            .process_new_packets()
            .is_ok_and(|state| state.peer_has_closed())
    }

    /// Says goodbye, and waits for the peer's goodbye if the test is about that.
    fn close(&mut self) -> Result<(), Ended> {
        self.connection.send_close_notify();
        let sent = self.flush();
        if !self.options.checks_close_notify {
            // The runner need not be there any more.
            return Ok(());
        }
        sent?;
        let mut buffer = [0; READ_SIZE];
        while !self.is_closed() {
            let bytes = self.socket.read(&mut buffer)?.to_owned();
            if bytes.is_empty() {
                return Err(Failure::failed("the peer closed without close_notify").into());
            }
            self.take(&bytes)?;
        }
        Ok(())
    }
}
