//! Counts of a context's connections.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Counts of a context, as `session_stats()` shows them.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug, Default)]
pub(crate) struct Stats {
    counts: [AtomicU64; 5],
}

pub(super) const CONNECT: usize = 0;
pub(super) const CONNECT_GOOD: usize = 1;
pub(super) const ACCEPT: usize = 2;
pub(super) const ACCEPT_GOOD: usize = 3;
pub(super) const HITS: usize = 4;

#[pymethods]
impl Stats {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The counts by their names.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let names = ["connect", "connect_good", "accept", "accept_good", "hits"];
        let counts = PyDict::new(py);
        for (name, count) in names.iter().zip(&self.counts) {
            counts.set_item(name, count.load(Ordering::Relaxed))?;
        }
        Ok(counts)
    }
}

impl Stats {
    pub(super) fn add(&self, which: usize) {
        self.counts[which].fetch_add(1, Ordering::Relaxed);
    }
}
