//! The command `ech`, started from Python.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs `ech` with the arguments `args`, the program's name first, and returns its exit code.
///
/// Meant for a process of its own: it writes to the standard streams, not to `sys.stdout`.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| echkit_cli::run(args))
}
