//! The tokio runtime behind what asks the network on its own: look-ups and HTTP.
//!
//! Made at the first use, so that an import starts no thread; a child process after a fork has
//! none of its parent's threads and makes its own.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;

use crate::log;

/// How long a signal may have to wait for its handler while something is waited for.
const TICK: Duration = Duration::from_millis(50);

/// Taken with the interpreter's lock held and never while waiting: when a process forks, which
/// needs that lock too, no thread is inside.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// How often the process was forked on the way here.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Which of a line of forked processes this is. What was made in another one is dead here.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Forgets the parent's runtime in a forked child, where its threads do not exist.
#[pyfunction]
pub(crate) fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    // To drop it would wait for threads that are not there.
    std::mem::forget(runtime.take());
    log::after_fork();
    // The generator for what is not secret (identifiers, choices) does not notice a fork; should
    // the system have no new seed for it, it continues with the old one.
    let _ = rand::rng().reseed();
}

fn handle(_attached: Python<'_>) -> PyResult<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let running = match runtime.take() {
        Some(running) => running,
        None => Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("echkit")
            .enable_all()
            .build()?,
    };
    Ok(runtime.insert(running).handle().clone())
}

/// Runs `future` in the background.
pub(crate) fn spawn(
    py: Python<'_>,
    future: impl Future<Output = ()> + Send + 'static,
) -> PyResult<AbortHandle> {
    Ok(handle(py)?.spawn(future).abort_handle())
}

/// Runs `future` to its end, without the interpreter's lock; a signal's handler may end it early.
pub(crate) fn block_on<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = T> + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let receiver = Mutex::new(receiver);
    let task = spawn(py, async move {
        // The caller may no longer be waiting.
        let _ = sender.send(future.await);
    })?;
    loop {
        let received = py.detach(|| {
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.recv_timeout(TICK)
        });
        match received {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(raised) = py.check_signals() {
                    task.abort();
                    return Err(raised);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the work in the background ended without a result",
                ));
            }
        }
    }
}
