//! Bulk data from one TCP connection to another without passing through this process: splice(2).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::passed::Passed;

/// The most that moves at a time: what a pipe holds by default.
const CHUNK: usize = 64 * 1024;

/// A pipe between two connections, which both splice to and from it.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

/// How one direction ended.
pub(super) enum SpliceEnd {
    /// Its sender has closed it.
    Closed,
    /// Its receiver takes no more.
    Refused,
    /// The kernel does not splice from these sockets; nothing is lost.
    Unsupported,
}

impl Pipe {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            read,
            write,
            held: 0,
        })
    }

    /// Passes all that `from` sends to `to`.
    pub(super) async fn pass_all(
        mut self,
        from: &TcpStream,
        to: &TcpStream,
        passed: &AtomicU64,
        moved: impl Fn(),
    ) -> io::Result<SpliceEnd> {
        loop {
            tokio::task::coop::consume_budget().await;
            from.readable().await?;
            match from.try_io(Interest::READABLE, || self.fill(from)) {
                Ok(0) => return Ok(SpliceEnd::Closed),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
                        return Ok(SpliceEnd::Unsupported);
                    }
                    _ => return Err(error),
                },
            }
            while self.held > 0 {
                let writable = to.writable().await;
                let sent = writable.and_then(|()| to.try_io(Interest::WRITABLE, || self.empty(to)));
                match sent {
                    Ok(sent) => {
                        Passed::add(passed, sent);
                        moved();
                    }
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                        _ => return Ok(SpliceEnd::Refused),
                    },
                }
            }
        }
    }

    /// Only while the pipe is empty: it would block then because the socket has nothing.
    fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        self.held = splice(from, None, &self.write, None, CHUNK, flags)?;
        Ok(self.held)
    }

    fn empty(&mut self, to: &TcpStream) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let sent = splice(&self.read, None, to, None, self.held, flags)?;
        self.held -= sent;
        Ok(sent)
    }
}
