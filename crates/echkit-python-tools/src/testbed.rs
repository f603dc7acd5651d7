//! The testbed for Python's tests: an ECH internet on loopback inside of the process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echkit_testbed::Ports;
use pyo3::exceptions::{PyKeyError, PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::runtime::{Builder, Runtime};

/// How long the end of what still runs is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Servers and a DNS server of their own on loopback, until `stop`.
#[pyclass(frozen, module = "echkit_tools._echkit_tools")]
pub(crate) struct Testbed {
    running: Mutex<Option<Running>>,
    /// The process that started it: a fork leaves its threads behind.
    process: u32,
}

struct Running {
    testbed: echkit_testbed::Testbed,
    runtime: Runtime,
}

/// Where a proxy was asked to connect to, and what it was sent.
type Proxied<'py> = (Option<String>, Bound<'py, PyBytes>);

#[pymethods]
impl Testbed {
    #[new]
    #[pyo3(signature = (only=None, port=None))]
    fn new(py: Python<'_>, only: Option<Vec<String>>, port: Option<u16>) -> PyResult<Self> {
        let mut builder = echkit_testbed::Testbed::builder();
        if let Some(only) = only {
            builder = builder.only(only);
        }
        if let Some(port) = port {
            builder = builder.ports(Ports::From(port));
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("echkit-testbed")
            .enable_all()
            .build()?;
        let started = py.detach(|| runtime.block_on(builder.start()));
        let testbed = started.map_err(|error| match error {
            echkit_testbed::TestbedError::UnknownCase { .. } => {
                PyValueError::new_err(error.to_string())
            }
            other => PyOSError::new_err(other.to_string()),
        })?;
        Ok(Self {
            running: Mutex::new(Some(Running { testbed, runtime })),
            process: std::process::id(),
        })
    }

    /// The resolver over UDP and TCP, as a URI.
    fn dns(&self) -> PyResult<String> {
        self.with(|running| running.testbed.dns_uri())
    }

    /// The resolver over HTTPS, as a URI.
    fn doh(&self) -> PyResult<String> {
        self.with(|running| running.testbed.doh_uri())
    }

    /// The resolver over TLS, as a URI.
    fn dot(&self) -> PyResult<String> {
        self.with(|running| running.testbed.dot_uri())
    }

    /// The resolver over QUIC, as a URI.
    fn doq(&self) -> PyResult<String> {
        self.with(|running| running.testbed.doq_uri())
    }

    /// The resolver over HTTP/3, as a URI.
    fn doh3(&self) -> PyResult<String> {
        self.with(|running| running.testbed.doh3_uri())
    }

    /// The root certificate that signs the servers', in PEM.
    fn ca_pem(&self) -> PyResult<String> {
        self.with(|running| running.testbed.ca_pem().to_owned())
    }

    /// The cases that are served, as JSON.
    fn cases(&self) -> PyResult<String> {
        self.with(|running| {
            serde_json::to_string(running.testbed.cases())
                .map_err(|error| PyRuntimeError::new_err(error.to_string()))
        })?
    }

    /// Replaces the ECH keys of a case's server; the record in the DNS is stale from now on.
    fn rotate(&self, case: &str) -> PyResult<()> {
        self.with(|running| running.testbed.rotate(case))?
            .map_err(|error| PyKeyError::new_err(error.to_string()))
    }

    /// Has a case's server ask for another key share from now on.
    fn demand_hello_retry(&self, case: &str) -> PyResult<()> {
        self.with(|running| running.testbed.demand_hello_retry(case))?
            .map_err(|error| PyKeyError::new_err(error.to_string()))
    }

    /// What clients sent to the cases' servers, oldest first: (case, bytes) of each connection.
    fn captures<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyBytes>)>> {
        let captures = self.with(|running| running.testbed.captures())?;
        Ok(captures
            .into_iter()
            .map(|capture| (capture.case, PyBytes::new(py, &capture.bytes)))
            .collect())
    }

    /// Forgets what was captured.
    fn clear_captures(&self) -> PyResult<()> {
        self.with(|running| {
            running.testbed.clear_captures();
            for case in running.testbed.proxy_cases() {
                if let Some(proxy) = running.testbed.proxy(&case.name) {
                    proxy.clear_captures();
                }
            }
        })
    }

    /// The URI of a proxy, spoken to by `http`, `https` or `socks5`.
    fn proxy(&self, name: &str, scheme: &str) -> PyResult<String> {
        let uri = self.with(|running| {
            let cases = running.testbed.proxy_cases();
            let case = cases.iter().find(|case| case.name == name)?;
            case.way(scheme)?.uri.clone()
        })?;
        uri.ok_or_else(|| PyKeyError::new_err(format!("no proxy {name:?} over {scheme}")))
    }

    /// What passed through a proxy, oldest first: where it was asked to connect to, and what the
    /// client sent, of each connection.
    fn proxy_captures<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vec<Proxied<'py>>> {
        let captures =
            self.with(|running| running.testbed.proxy(name).map(|one| one.captures()))?;
        let captures = captures.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        let captures = captures.into_iter();
        Ok(captures
            .map(|capture| (capture.asked, PyBytes::new(py, &capture.sent)))
            .collect())
    }

    /// Waits until all captured connections have ended.
    fn quiet(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let limit = Duration::try_from_secs_f64(timeout)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let ended = py.detach(|| {
            self.with(|Running { testbed, runtime }| {
                runtime.block_on(async { tokio::time::timeout(limit, testbed.quiet()).await })
            })
        })?;
        ended.map_err(|_| PyTimeoutError::new_err("a connection is still open"))
    }

    /// Ends everything and frees the ports.
    fn stop(&self, py: Python<'_>) {
        let Some(Running { testbed, runtime }) = self.lock().take() else {
            return;
        };
        if self.process != std::process::id() {
            // A fork left the threads behind; the parent ends what is its own.
            std::mem::forget((testbed, runtime));
            return;
        }
        py.detach(|| {
            runtime.block_on(testbed.shutdown());
            runtime.shutdown_timeout(FAREWELL);
        });
    }
}

impl Testbed {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&Running) -> T) -> PyResult<T> {
        if self.process != std::process::id() {
            return Err(PyRuntimeError::new_err(
                "the testbed runs in the process that was forked",
            ));
        }
        match &*self.lock() {
            Some(running) => Ok(work(running)),
            None => Err(PyRuntimeError::new_err("the testbed has been stopped")),
        }
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let Some(Running { testbed, runtime }) = self.lock().take() else {
            return;
        };
        if self.process == std::process::id() {
            // Its tasks end with their runtime, which no caller waits for.
            let _entered = runtime.enter();
            drop(testbed);
        } else {
            std::mem::forget(testbed);
            std::mem::forget(runtime);
            return;
        }
        runtime.shutdown_background();
    }
}
