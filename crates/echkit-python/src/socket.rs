//! A file descriptor that never blocks here: waiting is done apart, without any lock.

use std::io::{self, IoSlice, Write};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

/// A socket of Python's, by its number.
#[derive(Clone, Copy)]
pub(crate) struct Fd(pub(crate) i32);

/// What came of an attempt to receive.
pub(crate) enum Received {
    Bytes(usize),
    Nothing,
    End,
    Error(io::Error),
}

/// What to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The longest wait at a time. A signal that comes just before a wait does not end it, nor does a
/// close by another thread: both are looked for in between.
const SLICE: Duration = Duration::from_secs(1);

const SENDING: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl Fd {
    #[allow(unsafe_code)]
    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: the number was asked from the socket object for this very call and is not -1.
        // Python owns the descriptor; should another thread close it meanwhile, the kernel answers
        // with an error, as it would to the standard module, which holds a bare number as well.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }

    pub(crate) fn receive(self, buffer: &mut [u8]) -> Received {
        loop {
            return match recv(self.borrow(), &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => Received::End,
                Ok((len, _)) => Received::Bytes(len),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Received::Nothing,
                Err(error) => Received::Error(error.into()),
            };
        }
    }

    /// Waits until the socket is ready: `Ok(false)` when the deadline has passed, an error of
    /// kind `Interrupted` when it is time to look for signals.
    pub(crate) fn wait(self, direction: Direction, deadline: Option<Instant>) -> io::Result<bool> {
        let flags = match direction {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
        };
        let fd = self.borrow();
        let mut fds = [PollFd::new(&fd, flags)];
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        // Rounded up, or the last wait would spin.
        let now = left.map_or(SLICE, |left| SLICE.min(left + Duration::from_micros(1)));
        let timeout = Timespec {
            tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(now.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout))? > 0 {
            true => Ok(true),
            false if left.is_some_and(|left| left < SLICE) => Ok(false),
            false => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

impl Write for Fd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(self.borrow(), bytes, SENDING) {
                Err(Errno::INTR) => continue,
                other => return Ok(other?),
            }
        }
    }

    /// Several records with one system call.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let nothing_else = &mut SendAncillaryBuffer::default();
            match sendmsg(self.borrow(), slices, nothing_else, SENDING) {
                Err(Errno::INTR) => continue,
                other => return Ok(other?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
