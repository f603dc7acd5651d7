//! Moving records and waiting for them, with neither the connection's lock nor the interpreter's.

use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyWeakrefMethods, PyWeakrefReference};

use super::{SslObject, lock};
use crate::core::{Core, Io};
use crate::failure::{Failure, ssl_error};
use crate::socket::{Direction, Fd};

/// Where the records of a connection go to.
pub(super) enum Transport {
    Socket(Py<PyWeakrefReference>),
    Memory {
        incoming: Py<PyAny>,
        outgoing: Py<PyAny>,
    },
}

/// How long a call may wait.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    NonBlocking,
    Until(Option<Instant>),
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
        let timeout: Option<f64> = socket.call_method0("gettimeout")?.extract()?;
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
        match socket.call_method0("fileno")?.extract::<i32>()? {
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
        operation: impl Fn(&mut Core, Io) -> Result<T, Failure> + Send + Sync,
    ) -> Result<T, Failure> {
        loop {
            let Some(fd) = self.fd(py)? else {
                return self.run_in_memory(py, &operation);
            };
            let outcome = py.detach(|| operation(&mut lock(&self.core), Io::Socket(fd)));
            let direction = match &outcome {
                Err(Failure::WantRead) => Direction::Read,
                Err(Failure::WantWrite) => Direction::Write,
                _ => return outcome,
            };
            let Patience::Until(deadline) = patience else {
                return outcome;
            };
            loop {
                match py.detach(|| fd.wait(direction, deadline)) {
                    Ok(true) => break,
                    Ok(false) => return Err(Failure::TimedOut(name)),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                        py.check_signals()?;
                    }
                    Err(error) => return Err(Failure::Io(error)),
                }
            }
        }
    }

    fn run_in_memory<T: Send>(
        &self,
        py: Python<'_>,
        operation: &(impl Fn(&mut Core, Io) -> Result<T, Failure> + Send + Sync),
    ) -> Result<T, Failure> {
        let Transport::Memory { incoming, outgoing } = &self.transport else {
            return Err(Failure::WantRead);
        };
        let incoming = incoming.bind(py);
        let data = incoming.call_method0("read")?;
        let data = data.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes();
        let eof: bool = incoming.getattr("eof")?.extract()?;
        let (outcome, output) = py.detach(|| {
            let mut core = lock(&self.core);
            core.input.extend_from_slice(data);
            core.input_eof = eof;
            let outcome = operation(&mut core, Io::Memory);
            (outcome, std::mem::take(&mut core.output))
        });
        if !output.is_empty() {
            outgoing
                .bind(py)
                .call_method1("write", (PyBytes::new(py, &output),))?;
        }
        outcome
    }

    /// Hands records out that were made outside of [`Self::run`].
    pub(super) fn hand_out(&self, py: Python<'_>) -> PyResult<()> {
        if let Transport::Memory { outgoing, .. } = &self.transport {
            let output = std::mem::take(&mut lock(&self.core).output);
            outgoing
                .bind(py)
                .call_method1("write", (PyBytes::new(py, &output),))?;
        }
        Ok(())
    }
}

fn gone() -> PyErr {
    ssl_error("NO_SOCKET", "Underlying socket has been closed.")
}
