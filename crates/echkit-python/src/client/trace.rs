//! What the network saw of one request.

use echkit::http::{CookieJar, Method};
use echkit::policy::Timeouts;
use echkit::wire::WireRecorder;
use echkit::{Error, Origin};
use echkit_check::{Paint, PcapngTooLarge, Trace, pcapng};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::{Value, json};

use super::http_failure;
use super::settings::ClientSettings;
use crate::runtime;

/// A trace with the bytes and secrets that it was made from.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct TracedRequest {
    trace: Trace,
    /// Why there was no response.
    error: Option<Error>,
    recorder: WireRecorder,
}

impl TracedRequest {
    /// Asks for the head of a page, over connections of its own. An error is raised where nothing
    /// was tried; else the trace has it.
    pub(super) fn of(
        py: Python<'_>,
        settings: &ClientSettings,
        url: &str,
        timeouts: Timeouts,
    ) -> PyResult<Self> {
        let raised = |error: Error| http_failure::raised(py, &error);
        let url = match url.contains("://") {
            true => url.to_owned(),
            false => format!("https://{url}"),
        };
        let origin = Origin::parse(&url)
            .map_err(|error| PyValueError::new_err(format!("{url}: {error}")))?;
        let recorder = WireRecorder::default();
        let client = py
            .detach(|| settings.build_recording(CookieJar::new(), recorder.clone()))
            .map_err(raised)?;
        let request = client.request(Method::HEAD, &url).timeouts(timeouts);
        let sent = runtime::block_on(py, request.send())?;
        let (report, error) = match sent {
            Ok(response) => (response.report(), None),
            Err(error) => match error.report() {
                Some(report) => (report.clone(), Some(error)),
                None => return Err(raised(error)),
            },
        };
        Ok(Self {
            trace: Trace::new(&origin.host.to_string(), &report, &recorder),
            error,
            recorder,
        })
    }
}

#[pymethods]
impl TracedRequest {
    /// All of it, as `ech trace --json` lays it out.
    fn document(&self) -> String {
        let mut document = json!(self.trace);
        document["error"] = match &self.error {
            Some(error) => json!({ "kind": error.kind().as_str(), "message": error.to_string() }),
            None => Value::Null,
        };
        document.to_string()
    }

    /// For a terminal of that many columns.
    fn text(&self, columns: usize) -> String {
        self.trace.text(columns, |_: Paint, part| part.to_owned())
    }

    /// As a page of HTML.
    fn html(&self) -> String {
        self.trace.html()
    }

    /// The connections as a capture file, with their secrets.
    fn pcapng<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let made: Result<Vec<u8>, PcapngTooLarge> =
            py.detach(|| pcapng(&self.recorder.connections(), &self.recorder.key_log()));
        let bytes = made.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &bytes))
    }
}
