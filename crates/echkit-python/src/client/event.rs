//! What an event loop, or a step of a request, waits for.

use echkit::discover::Discovery;
use echkit::http::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::found::Found;

/// What has come of it.
pub(crate) enum Event {
    /// The head of the response is there.
    Head,
    /// A part of the response's body.
    Part(Bytes),
    /// The next part of the request's body is wanted.
    More,
    /// The end of the response's body.
    End,
    /// What DNS says, if it said so in time.
    Found(Option<Box<Discovery>>),
}

impl Event {
    /// Its name and, for some, what is with it.
    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        let (name, with) = match self {
            Self::Head => ("head", None),
            Self::Part(bytes) => ("part", Some(PyBytes::new(py, &bytes).into_any())),
            Self::More => ("more", None),
            Self::End => ("end", None),
            Self::Found(found) => {
                let found = found.map(|found| Bound::new(py, Found(*found)));
                ("found", found.transpose()?.map(Bound::into_any))
            }
        };
        (PyString::intern(py, name), with).into_pyobject(py)
    }
}
