//! Checks of deployments for Python, over `echkit_check`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use echkit::proxy::ProxyEnvironment;
use echkit::tls::{ClientTls, Trust};
use echkit::{Error, Origin};
use echkit_check::{CheckLimits, Checker, HostReport, ProbeSelection, anonymity};
use futures_util::StreamExt;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::AbortHandle;

use crate::client::http_failure;
use crate::client::seconds;
use crate::client::settings::{Pairs, resolver_of, trust_of};
use crate::lookup;
use crate::runtime;

/// A host's place among those that are checked, and its report.
type Finished = (usize, HostReport);

/// Checks of several hosts that are under way.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct Checks {
    selection: ProbeSelection,
    arriving: Arc<AsyncMutex<Receiver<Finished>>>,
    finished: Mutex<Vec<Finished>>,
    task: AbortHandle,
}

#[pymethods]
impl Checks {
    /// Begins. `origins` are scheme, host and port; `environment` has the variables that name
    /// proxies.
    #[new]
    #[pyo3(signature = (
        origins, *, dns, dns_cafile, cafile, environment, private, only, skip, limits, ns_port, jobs,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        origins: Vec<(String, String, u16)>,
        dns: String,
        dns_cafile: Option<PathBuf>,
        cafile: Option<PathBuf>,
        environment: Pairs,
        private: bool,
        only: Vec<String>,
        skip: Vec<String>,
        limits: (f64, f64),
        ns_port: u16,
        jobs: usize,
    ) -> PyResult<Self> {
        let origins = origins
            .iter()
            .map(|(scheme, host, port)| lookup::origin(scheme, host, *port))
            .collect::<PyResult<Vec<Origin>>>()?;
        let proxies = ProxyEnvironment::from_variables(environment);
        for origin in &origins {
            Checker::refuse_proxy(&proxies, origin).map_err(|error| wrong(&error))?;
        }
        let selection = selection(private, &only, &skip)?;
        let jobs = NonZeroUsize::new(jobs).ok_or_else(|| wrong(&"jobs: 1 at least"))?;
        let (host, connection) = limits;
        let limits = CheckLimits::default()
            .with_host(seconds("timeout", host)?)
            .with_connection(seconds("connect_timeout", connection)?);
        let builder = Checker::builder()
            .selection(selection.clone())
            .limits(limits)
            .name_server_port(ns_port);
        let checker = py
            .detach(|| {
                let resolver = resolver_of(&dns, trust_of(dns_cafile)?, &proxies)?;
                let trust = trust_of(cafile)?.unwrap_or_else(Trust::system);
                let tls = ClientTls::builder().trust(trust);
                builder.resolver(resolver).tls(tls).build()
            })
            .map_err(|error: Error| http_failure::raised(py, &error))?;
        // One that was not collected holds up those that follow: what is finished is not piled up.
        let (sender, arriving) = mpsc::channel(1);
        let task = runtime::spawn(py, async move {
            let mut checks = std::pin::pin!(checker.check_all(origins, jobs));
            while let Some(finished) = checks.next().await {
                if sender.send(finished).await.is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            selection,
            arriving: Arc::new(AsyncMutex::new(arriving)),
            finished: Mutex::default(),
            task,
        })
    }

    /// Waits for the next host that is finished: its place and its report in JSON, or `None` when
    /// all are.
    fn step(&self, py: Python<'_>) -> PyResult<Option<(usize, String)>> {
        let arriving = Arc::clone(&self.arriving);
        let arrived = runtime::block_on(py, async move { arriving.lock().await.recv().await })?;
        let Some((index, report)) = arrived else {
            return Ok(None);
        };
        let text = document(&report)?;
        self.lock().push((index, report));
        Ok(Some((index, text)))
    }

    /// The reports of the hosts that are finished, in the order of the hosts and compared with each
    /// other.
    fn reports(&self) -> PyResult<Vec<String>> {
        let mut finished = std::mem::take(&mut *self.lock());
        finished.sort_by_key(|(index, _)| *index);
        let mut reports: Vec<HostReport> = finished.into_iter().map(|(_, r)| r).collect();
        anonymity(&mut reports, &self.selection);
        reports.iter().map(document).collect()
    }

    /// Ends what is not finished.
    fn cancel(&self) {
        self.task.abort();
    }
}

impl Checks {
    fn lock(&self) -> MutexGuard<'_, Vec<Finished>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn selection(private: bool, only: &[String], skip: &[String]) -> PyResult<ProbeSelection> {
    let mut selection = ProbeSelection::default().with_private(private);
    for name in only {
        selection = selection
            .with_only(name)
            .map_err(|error| wrong(&format_args!("only: {error}")))?;
    }
    for name in skip {
        selection = selection
            .with_skip(name)
            .map_err(|error| wrong(&format_args!("skip: {error}")))?;
    }
    Ok(selection)
}

fn document(report: &HostReport) -> PyResult<String> {
    serde_json::to_string(&report.document())
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

fn wrong(error: &dyn std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
