//! Where the records of a connection go to.

use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

/// Where the records of a connection go to.
pub(super) enum Transport {
    Socket(Py<PyWeakrefReference>),
    Memory {
        incoming: Py<PyAny>,
        outgoing: Py<PyAny>,
    },
}
