//! Certificates as Python sees them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::trust::Limits;

/// A certificate of a peer's chain.
#[pyclass(frozen, module = "echkit.ssl")]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
}

#[pymethods]
impl Certificate {
    /// The certificate as PEM text (1) or DER bytes (2).
    #[pyo3(signature = (format=1))]
    fn public_bytes(&self, py: Python<'_>, format: i32) -> PyResult<Py<PyAny>> {
        match format {
            2 => Ok(PyBytes::new(py, &self.der).into_any().unbind()),
            1 => {
                let base64 = data_encoding::BASE64.encode(&self.der);
                let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
                for line in base64.as_bytes().chunks(64) {
                    text.push_str(&String::from_utf8_lossy(line));
                    text.push('\n');
                }
                text.push_str("-----END CERTIFICATE-----\n");
                Ok(text.into_pyobject(py)?.into_any().unbind())
            }
            _ => Err(PyValueError::new_err("Unsupported format")),
        }
    }

    /// The certificate as `getpeercert()` shows it.
    fn get_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        describe(py, &self.der)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.der == other.der
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.der.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let subject = X509Certificate::from_der(&self.der)
            .map(|(_, c)| c.subject().to_string())
            .unwrap_or_default();
        format!("<echkit.ssl.Certificate '{subject}'>")
    }
}

/// Whether a certificate may sign others.
#[pyfunction]
pub(crate) fn is_ca(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, c)| Limits::of(&c).is_ca())
}

/// A certificate as the standard module's `getpeercert()` describes it.
#[pyfunction]
pub(crate) fn describe<'py>(py: Python<'py>, der: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let (_, cert) = X509Certificate::from_der(der)
        .map_err(|error| PyValueError::new_err(format!("not a certificate: {error}")))?;
    let info = PyDict::new(py);
    info.set_item("subject", name(py, cert.subject())?)?;
    info.set_item("issuer", name(py, cert.issuer())?)?;
    info.set_item("version", cert.version().0 + 1)?;
    info.set_item("serialNumber", serial(cert.raw_serial()))?;
    info.set_item("notBefore", date(&cert.validity().not_before))?;
    info.set_item("notAfter", date(&cert.validity().not_after))?;
    for extension in cert.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                let names: Vec<_> = names
                    .general_names
                    .iter()
                    .map(|n| general_name(py, n))
                    .collect::<PyResult<_>>()?;
                info.set_item("subjectAltName", PyTuple::new(py, names)?)?;
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                // id-ad-ocsp and id-ad-caIssuers (RFC 5280 §4.2.2.1).
                for (oid, key) in [
                    ("1.3.6.1.5.5.7.48.1", "OCSP"),
                    ("1.3.6.1.5.5.7.48.2", "caIssuers"),
                ] {
                    let urls: Vec<&str> = access
                        .accessdescs
                        .iter()
                        .filter(|a| a.access_method.to_id_string() == oid)
                        .filter_map(|a| url(&a.access_location))
                        .collect();
                    if !urls.is_empty() {
                        info.set_item(key, PyTuple::new(py, urls)?)?;
                    }
                }
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                let urls: Vec<&str> = points
                    .iter()
                    .filter_map(|p| match &p.distribution_point {
                        Some(DistributionPointName::FullName(names)) => Some(names),
                        _ => None,
                    })
                    .flatten()
                    .filter_map(url)
                    .collect();
                if !urls.is_empty() {
                    info.set_item("crlDistributionPoints", PyTuple::new(py, urls)?)?;
                }
            }
            _ => {}
        }
    }
    Ok(info)
}

fn url<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(text) => Some(text),
        _ => None,
    }
}

fn serial(bytes: &[u8]) -> String {
    let start = bytes
        .iter()
        .position(|b| *b != 0)
        .unwrap_or(bytes.len().saturating_sub(1));
    match data_encoding::HEXUPPER.encode(&bytes[start..]) {
        empty if empty.is_empty() => "00".to_owned(),
        hex => hex,
    }
}

/// `Aug 26 14:23:15 2028 GMT`, the form that `cert_time_to_seconds` reads.
fn date(time: &ASN1Time) -> String {
    let time = time.to_datetime();
    let month = time.month().to_string();
    format!(
        "{} {:2} {:02}:{:02}:{:02} {} GMT",
        &month[..3],
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.year()
    )
}

fn name<'py>(py: Python<'py>, name: &X509Name<'_>) -> PyResult<Bound<'py, PyTuple>> {
    // The interpreter's own table of names, so that they are spelt as in the standard module.
    let table = py.import("_ssl")?.getattr("txt2obj")?;
    let mut parts = Vec::new();
    for rdn in name.iter() {
        let mut attributes = Vec::new();
        for attribute in rdn.iter() {
            let oid = attribute.attr_type().to_id_string();
            let label = match table.call1((&oid, false)) {
                Ok(known) => known.get_item(2)?.extract::<String>()?,
                Err(_) => oid,
            };
            let value = attribute
                .as_str()
                .map(str::to_owned)
                .unwrap_or_else(|_| String::from_utf8_lossy(attribute.as_slice()).into_owned());
            attributes.push((label, value));
        }
        parts.push(PyTuple::new(py, attributes)?);
    }
    PyTuple::new(py, parts)
}

fn general_name<'py>(py: Python<'py>, value: &GeneralName<'_>) -> PyResult<Bound<'py, PyTuple>> {
    let text = |kind: &str, value: String| PyTuple::new(py, [kind.to_owned(), value]);
    match value {
        GeneralName::DNSName(n) => text("DNS", (*n).to_owned()),
        GeneralName::RFC822Name(n) => text("email", (*n).to_owned()),
        GeneralName::URI(n) => text("URI", (*n).to_owned()),
        GeneralName::IPAddress(bytes) => text("IP Address", address(bytes)),
        GeneralName::RegisteredID(oid) => text("Registered ID", oid.to_id_string()),
        GeneralName::DirectoryName(n) => ("DirName", name(py, n)?).into_pyobject(py),
        _ => text("othername", "<unsupported>".to_owned()),
    }
}

fn address(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(v4).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        // OpenSSL writes every group out.
        Ok(v6) => Ipv6Addr::from(v6)
            .segments()
            .map(|segment| format!("{segment:X}"))
            .join(":"),
        Err(_) => "<invalid>".to_owned(),
    }
}
