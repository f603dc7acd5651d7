//! Moving records and waiting for them, with neither the connection's lock nor the interpreter's.

use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyWeakrefMethods};

use super::records::Records;
use super::transport::Transport;
use super::{SslObject, lock};
use crate::core::{Core, Io};
use crate::failure::{Failure, ssl_error};
use crate::socket::{Direction, Fd};

/// How long a call may wait.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    NonBlocking,
    Until(Option<Instant>),
}

impl Patience {
    /// What to wait for and until when, where an outcome asks for it and there is patience.
    fn until<T>(self, outcome: &Result<T, Failure>) -> Option<(Direction, Option<Instant>)> {
        let direction = match outcome {
            Err(Failure::WantRead) => Direction::Read,
            Err(Failure::WantWrite) => Direction::Write,
            _ => return None,
        };
        match self {
            Self::Until(deadline) => Some((direction, deadline)),
            Self::NonBlocking => None,
        }
    }
}

impl SslObject {
    /// The socket, and how long a call may wait: asked anew for each call.
    pub(super) fn patience<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Option<Bound<'py, PyAny>>, Patience)> {
        let Transport::Socket(weak) = &self.transport else {
            return Ok((None, Patience::NonBlocking));
        };
        let socket = weak.bind(py).upgrade().ok_or_else(gone)?;
        let timeout: Option<f64> = sockets(py)?.0.call1(py, (&socket,))?.extract(py)?;
        let patience = match timeout {
            None => Patience::Until(None),
            Some(0.0) => Patience::NonBlocking,
            Some(seconds) => Patience::Until(
                Duration::try_from_secs_f64(seconds)
                    .ok()
                    .and_then(|d| Instant::now().checked_add(d)),
            ),
        };
        Ok((Some(socket), patience))
    }

    pub(super) fn in_memory(&self) -> bool {
        matches!(self.transport, Transport::Memory { .. })
    }

    pub(super) fn fd(&self, py: Python<'_>) -> PyResult<Option<Fd>> {
        let Transport::Socket(weak) = &self.transport else {
            return Ok(None);
        };
        let socket = weak.bind(py).upgrade().ok_or_else(gone)?;
        match sockets(py)?.1.call1(py, (socket,))?.extract::<i32>(py)? {
            -1 => Err(gone()),
            fd => Ok(Some(Fd(fd))),
        }
    }

    /// Runs `operation` until it no longer asks to wait. No lock is held while waiting, so that a
    /// blocked reader never stops a writer.
    pub(super) fn run<T: Send>(
        &self,
        py: Python<'_>,
        patience: Patience,
        name: &'static str,
        mut operation: impl FnMut(&mut Core, Io) -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        loop {
            // Asked anew each time: another thread may have closed the socket meanwhile.
            let Some(fd) = self.fd(py)? else {
                return self.run_in_memory(py, name == "read", operation);
            };
            let (outcome, waited) = py.detach(|| {
                let outcome = operation(&mut lock(&self.core), Io::Socket(fd));
                let waited = patience
                    .until(&outcome)
                    .map(|(direction, deadline)| fd.wait(direction, deadline));
                (outcome, waited)
            });
            match waited {
                None => return outcome,
                Some(Ok(true)) => {}
                Some(Ok(false)) => return Err(Failure::TimedOut(name)),
                // Tried again: another thread may have received what this one waits for.
                Some(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {
                    py.check_signals()?;
                }
                Some(Err(error)) => return Err(Failure::Io(error)),
            }
        }
    }

    fn run_in_memory<T: Send>(
        &self,
        py: Python<'_>,
        reads: bool,
        mut operation: impl FnMut(&mut Core, Io) -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let Transport::Memory { incoming, .. } = &self.transport else {
            return Err(Failure::WantRead);
        };
        let incoming = incoming.bind(py);
        // What would come to nothing is not tried first.
        if reads && lock(&self.core).needs_input() {
            self.supply(py, incoming)?;
        }
        loop {
            let outcome = py.detach(|| operation(&mut lock(&self.core), Io::Memory));
            self.hand_out(py)?;
            if !matches!(outcome, Err(Failure::WantRead)) || !self.supply(py, incoming)? {
                return outcome;
            }
        }
    }

    /// Takes from a BIO what is missing of one record, and no more; says whether there was
    /// anything.
    fn supply(&self, py: Python<'_>, incoming: &Bound<'_, PyAny>) -> PyResult<bool> {
        let mut supplied = false;
        loop {
            let wanted = lock(&self.core).record.missing();
            if wanted == 0 {
                // Another thread has taken the rest of the record.
                return Ok(true);
            }
            let data = incoming.call_method1(intern!(py, "read"), (wanted,))?;
            let data = data.cast_into::<PyBytes>().map_err(PyErr::from)?;
            let data = data.as_bytes();
            if data.is_empty() {
                break;
            }
            supplied = true;
            let mut core = lock(&self.core);
            core.record.add(data);
            if data.len() < wanted || core.record.is_complete() {
                return Ok(true);
            }
        }
        let eof: bool = incoming.getattr(intern!(py, "eof"))?.extract()?;
        let news = eof && !std::mem::replace(&mut lock(&self.core).input_ended, true);
        Ok(news || supplied)
    }

    /// Hands out the records that were made (memory only).
    pub(super) fn hand_out(&self, py: Python<'_>) -> PyResult<()> {
        if let Transport::Memory { outgoing, .. } = &self.transport {
            let output = std::mem::take(&mut lock(&self.core).output);
            if !output.is_empty() {
                outgoing
                    .bind(py)
                    .call_method1(intern!(py, "write"), (Records(output),))?;
            }
        }
        Ok(())
    }
}

/// `gettimeout` and `fileno` of `_socket.socket` itself. As the standard module, we do not ask the
/// methods of a subclass: eventlet's tell a time-out that it waits for on its own, while the socket
/// does not block.
fn sockets(py: Python<'_>) -> PyResult<&'static (Py<PyAny>, Py<PyAny>)> {
    static METHODS: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    METHODS.get_or_try_init(py, || {
        let class = py.import("_socket")?.getattr("socket")?;
        let method = |name| PyResult::Ok(class.getattr(name)?.unbind());
        Ok((method("gettimeout")?, method("fileno")?))
    })
}

fn gone() -> PyErr {
    ssl_error("NO_SOCKET", "Underlying socket has been closed.")
}
