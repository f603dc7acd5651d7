//! The extension module `echkit._echkit`: TLS with Encrypted Client Hello behind Python's `ssl`.
//!
//! A skin: contexts and settings live in Python (`echkit.ssl`), the protocol in `echkit-tls`
//! and rustls, look-ups and HTTP in `echkit`, checks and traces in `echkit-check`. What is here is the `_sslobj` that
//! Python's `SSLSocket` and `SSLObject` drive, and the native HTTP client.

mod certificate;
mod check;
mod client;
mod config;
mod core;
mod ech_config;
mod ech_keys;
mod failure;
mod found;
mod identity;
mod incoming_record;
mod key_log;
mod log;
mod lookup;
mod object;
mod runtime;
mod secret_file;
mod session;
mod socket;
mod suites;
mod trust;
mod verifier;
mod verify_failure;

/// The extension module.
#[pyo3::pymodule(gil_used = true)]
mod _echkit {
    #[pymodule_export]
    use super::certificate::{Certificate, describe, is_ca};
    #[pymodule_export]
    use super::check::Checks;
    #[pymodule_export]
    use super::client::HttpClient;
    #[pymodule_export]
    use super::client::exchange::Exchange;
    #[pymodule_export]
    use super::client::mailbox::Mailbox;
    #[pymodule_export]
    use super::client::trace::TracedRequest;
    #[pymodule_export]
    use super::config::{Settings, check_curve};
    #[pymodule_export]
    use super::ech_config::{EchConfigList, outer_name};
    #[pymodule_export]
    use super::ech_keys::EchKeys;
    #[pymodule_export]
    use super::found::Found;
    #[pymodule_export]
    use super::identity::Identity;
    #[pymodule_export]
    use super::log::{log_level, take_log};
    #[pymodule_export]
    use super::lookup::{Pending, Resolver};
    #[pymodule_export]
    use super::object::{SslObject, Stats};
    #[pymodule_export]
    use super::runtime::after_fork;
    #[pymodule_export]
    use super::session::SSLSession;
    #[pymodule_export]
    use super::trust::{TrustStore, check_crl, der_items, pem_items, pem_items_of_file};

    /// The version of the workspace is that of the Python package.
    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        pyo3::types::PyModuleMethods::add(module, "__version__", env!("CARGO_PKG_VERSION"))
    }
}
