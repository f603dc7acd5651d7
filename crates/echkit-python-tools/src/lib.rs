//! The extension module `echkit_tools._echkit_tools`: what the Python package `echkit` does not need to
//! make connections.
//!
//! The command `ech`, and the testbed behind `echkit.testing`.

mod command;
mod testbed;

/// The extension module.
#[pyo3::pymodule(gil_used = true)]
mod _echkit_tools {
    #[pymodule_export]
    use super::command::command;
    #[pymodule_export]
    use super::testbed::Testbed;

    /// The version of the workspace is that of the Python package.
    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        pyo3::types::PyModuleMethods::add(module, "__version__", env!("CARGO_PKG_VERSION"))
    }
}
