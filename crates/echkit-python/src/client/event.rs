//! What a step of a request comes to.

use echkit::http::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

/// What a step has come to.
pub(super) enum Event {
    /// The head of the response is there.
    Head,
    /// A part of the response's body.
    Part(Bytes),
    /// The next part of the request's body is wanted.
    More,
    /// The end of the response's body.
    End,
}

impl Event {
    /// Its name and, for a part, the bytes.
    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        let (name, bytes) = match self {
            Self::Head => ("head", None),
            Self::Part(bytes) => ("part", Some(PyBytes::new(py, &bytes))),
            Self::More => ("more", None),
            Self::End => ("end", None),
        };
        (PyString::intern(py, name), bytes).into_pyobject(py)
    }
}
