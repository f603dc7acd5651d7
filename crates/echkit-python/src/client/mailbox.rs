//! Results on their way into an event loop.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use echkit::Error;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::event::{EventfdFlags, eventfd};

use super::event::Event;
use super::http_failure;

/// Where an event loop finds what has come of its requests and look-ups: it watches the descriptor, and collects
/// when that is readable. What puts something in needs no lock of the interpreter.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct Mailbox {
    pub(crate) letters: Arc<Letters>,
}

/// A request's number, whether it went well, and the event or exception.
type Collected = (u64, bool, Py<PyAny>);

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| PyOSError::new_err((error.raw_os_error(), error.to_string())))?;
        Ok(Self {
            letters: Arc::new(Letters {
                descriptor,
                arrived: Mutex::default(),
            }),
        })
    }

    /// The descriptor to watch.
    fn fileno(&self) -> i32 {
        self.letters.descriptor.as_raw_fd()
    }

    /// What has arrived since the last time.
    fn collect(&self, py: Python<'_>) -> PyResult<Vec<Collected>> {
        // Nothing to read means that it was collected already.
        let _ = rustix::io::read(&self.letters.descriptor, &mut [0; 8]);
        let arrived = std::mem::take(&mut *self.letters.lock());
        let mut collected = Vec::with_capacity(arrived.len());
        for (number, outcome) in arrived {
            collected.push(match outcome {
                Ok(event) => (number, true, event.into_python(py)?.unbind().into_any()),
                Err(error) => {
                    let raised = http_failure::raised(py, &error);
                    (number, false, raised.into_value(py).into_any())
                }
            });
        }
        Ok(collected)
    }
}

/// What has arrived.
pub(crate) struct Letters {
    descriptor: OwnedFd,
    arrived: Mutex<Vec<(u64, Result<Event, Error>)>>,
}

impl Letters {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Result<Event, Error>)>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in, and wakes the event loop where it was empty.
    pub(crate) fn put(&self, number: u64, outcome: Result<Event, Error>) {
        let mut arrived = self.lock();
        arrived.push((number, outcome));
        if arrived.len() == 1 {
            // A full counter wakes as well.
            let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }
}
