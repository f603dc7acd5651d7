//! The extension module `echkit._echkit`: TLS with Encrypted Client Hello behind Python's `ssl`.
//!
//! A skin: contexts and settings live in Python (`echkit.ssl`), the protocol in `echkit` and
//! rustls. What is here is the `_sslobj` that Python's `SSLSocket` and `SSLObject` drive.

mod certificate;
mod command;
mod config;
mod core;
mod ech_keys;
mod failure;
mod input;
mod lookup;
mod object;
mod record;
mod runtime;
mod session;
mod socket;
mod suites;
mod testbed;
mod trust;
mod verifier;

/// The extension module.
#[pyo3::pymodule(gil_used = true)]
mod _echkit {
    #[pymodule_export]
    use super::certificate::{Certificate, describe, is_ca};
    #[pymodule_export]
    use super::command::command;
    #[pymodule_export]
    use super::config::{Identity, Settings, check_curve, ech_config_list, outer_name};
    #[pymodule_export]
    use super::ech_keys::EchKeys;
    #[pymodule_export]
    use super::lookup::{Pending, Resolver};
    #[pymodule_export]
    use super::object::{SslObject, Stats};
    #[pymodule_export]
    use super::runtime::after_fork;
    #[pymodule_export]
    use super::session::SSLSession;
    #[pymodule_export]
    use super::testbed::Testbed;
    #[pymodule_export]
    use super::trust::{TrustStore, der_items, pem_items};
}
