//! Certificates and revocation lists as files hold them.

use std::path::PathBuf;

use echkit_proto::pem;
use echkit_tls::client::pem_certificates;
use pyo3::prelude::*;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::failure::library_error;
use crate::secret_file;

/// DER values.
type Ders = Vec<Vec<u8>>;

/// The certificates and revocation lists in PEM text: (certificates, lists), as DER. Other blocks,
/// which may be private keys, are not read. A text without either is an error.
#[pyfunction]
pub(crate) fn pem_items(text: &[u8]) -> PyResult<(Ders, Ders)> {
    let certificates: Ders = pem_certificates(text)
        .filter_map(|der| Some(der.ok()?.to_vec()))
        .collect();
    let crls: Ders = pem::blocks(text)
        .filter(|block| block.label() == "X509 CRL")
        .filter_map(|block| Some(block.decode().ok()?.to_vec()))
        .collect();
    match certificates.is_empty() && crls.is_empty() {
        true => Err(library_error(
            "X509",
            "NO_CERTIFICATE_OR_CRL_FOUND",
            "no certificate or crl found",
        )),
        false => Ok((certificates, crls)),
    }
}

/// What [`pem_items`] finds in a file.
#[pyfunction]
pub(crate) fn pem_items_of_file(path: PathBuf) -> PyResult<(Ders, Ders)> {
    pem_items(&secret_file::read(&path)?)
}

/// Splits concatenated DER values.
#[pyfunction]
pub(crate) fn der_items(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    while let Ok((rest, _)) = X509Certificate::from_der(bytes) {
        items.push(bytes[..bytes.len() - rest.len()].to_vec());
        bytes = rest;
    }
    items
}
