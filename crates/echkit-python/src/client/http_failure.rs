//! Errors of the client, and the exceptions of `echkit` that they become.

use echkit::Error;
use echkit::error::{Cause, Step};
use pyo3::prelude::*;
use pyo3::types::PyAny;

/// The exception for `error`, with its report. Python chooses the class by the stable kind.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match exception(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(raised) => raised,
    }
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let step = match error.cause() {
        Cause::Timeout { step, .. } => match step {
            Step::Dns | Step::Connect | Step::Handshake => Some("connect"),
            Step::Read => Some("read"),
            _ => None,
        },
        _ => None,
    };
    let report = error
        .report()
        .and_then(|report| serde_json::to_string(report).ok());
    let module = py.import("echkit._exceptions")?;
    let kind = error.kind().as_str();
    module.call_method1("exception", (kind, step, error.to_string(), report))
}
