//! The connection to the runner.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpStream};
use std::time::Duration;

use crate::failure::Failure;
use crate::options::Options;

/// Longer than the runner waits for anything: only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A blocking socket, which is half-closed and read to its end when it goes. Otherwise bytes that
/// were never read would reset the connection, and the runner would not see the last alert.
pub(crate) struct Socket(TcpStream);

impl Socket {
    /// Connects, and says which test this is.
    pub(crate) fn connect(options: &Options) -> Result<Self, Failure> {
        let address: IpAddr = match options.is_ipv6 {
            true => Ipv6Addr::LOCALHOST.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        };
        let open = || -> io::Result<TcpStream> {
            let mut stream = TcpStream::connect((address, options.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&options.shim_id.to_le_bytes())?;
            Ok(stream)
        };
        let stream = open()
            .map_err(|error| Failure::failed(format!("cannot connect to the runner: {error}")))?;
        Ok(Self(stream))
    }

    /// Reads what is there; nothing at the end of the stream.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8], Failure> {
        match self.0.read(buffer) {
            Ok(length) => Ok(&buffer[..length]),
            // The runner closes without waiting once it has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(&[]),
            Err(error) => Err(Failure::failed(format!("cannot read: {error}"))),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0
            .write_all(bytes)
            .map_err(|error| Failure::failed(format!("cannot write: {error}")))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.0.shutdown(Shutdown::Write).is_ok() {
            let mut buffer = [0; 1024];
            while self.0.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
    }
}
