//! The command `ech`, started from Python.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs `ech` with the arguments `args`, the program's name first, and returns its exit code.
/// `program` is what starts it once more when arguments follow.
///
/// Meant for a process of its own: it writes to the standard streams, not to `sys.stdout`.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, args: Vec<OsString>, program: Vec<OsString>) -> u8 {
    py.detach(|| echkit_cli::run_as(program, args))
}
