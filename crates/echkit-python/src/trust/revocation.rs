//! Certificate revocation lists: which of several counts, and which cannot be used at all.

use pyo3::prelude::*;
use webpki::{CertRevocationList, Error, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList as Parsed, FromDer};

use crate::failure::library_error;

/// A revocation list that can be used.
#[derive(Debug)]
pub(super) struct LoadedCrl {
    list: CertRevocationList<'static>,
    this_update: i64,
    next_update: i64,
    /// The CRL number (RFC 5280 §5.2.3), as bytes without leading zeros.
    number: Vec<u8>,
}

impl LoadedCrl {
    /// Reads a list, or says why it cannot be used.
    pub(super) fn new(der: &[u8]) -> Result<Self, String> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| {
            let issuer = Parsed::from_der(der)
                .map(|(_, list)| list.issuer().to_string())
                .unwrap_or_default();
            format!("revocation list of {issuer}: {}", why_not(der, &error))
        })?;
        let (_, parsed) = Parsed::from_der(der)
            .map_err(|error| format!("revocation list: it does not parse: {error}"))?;
        Ok(Self {
            list: list.into(),
            this_update: parsed.last_update().timestamp(),
            next_update: parsed
                .next_update()
                .map_or(i64::MAX, |time| time.timestamp()),
            number: parsed
                .crl_number()
                .map(|n| n.to_bytes_be())
                .unwrap_or_default(),
        })
    }
}

/// Words for what webpki refuses, with what to do about it.
fn why_not(der: &[u8], error: &Error) -> String {
    // webpki takes the missing version for a version that does not parse.
    let of_version_1 = Parsed::from_der(der).is_ok_and(|(_, list)| list.version().is_none());
    let no_end = Parsed::from_der(der).is_ok_and(|(_, list)| list.next_update().is_none());
    match error {
        _ if of_version_1 => {
            "it is of version 1; have its issuer make one of version 2 with a CRL \
                              number (RFC 5280 §5.1.2.1)"
                .to_owned()
        }
        _ if no_end => {
            "it has no nextUpdate, so that nobody can tell when it is too old; have its \
                        issuer set it (RFC 5280 §5.1.2.5)"
                .to_owned()
        }
        Error::UnsupportedDeltaCrl => {
            "it is a delta to another list; load the complete list".to_owned()
        }
        Error::UnsupportedIndirectCrl => {
            "it is an indirect list, with certificates of other issuers; load each issuer's own \
             list"
                .to_owned()
        }
        Error::UnsupportedRevocationReasonsPartitioning => {
            "it lists some reasons only; load the list for all reasons".to_owned()
        }
        Error::UnsupportedCriticalExtension => {
            "it has a critical extension that is not supported".to_owned()
        }
        other => format!("it cannot be used ({other:?})"),
    }
}

/// The lists in the order in which to look for one: those that are valid now before others, and of
/// each the newest first. webpki takes the first that its issuer's name and scope fit.
pub(super) fn in_order(lists: &[LoadedCrl], now: i64) -> Vec<&CertRevocationList<'static>> {
    let mut begun: Vec<&LoadedCrl> = lists.iter().filter(|l| l.this_update <= now).collect();
    begun.sort_by(|a, b| {
        let key = |l: &LoadedCrl| (now < l.next_update, l.this_update, l.number.len());
        key(b).cmp(&key(a)).then_with(|| b.number.cmp(&a.number))
    });
    begun.into_iter().map(|l| &l.list).collect()
}

/// The lists that are not valid yet.
pub(super) fn of_the_future(lists: &[LoadedCrl], now: i64) -> Vec<&CertRevocationList<'static>> {
    let future = lists.iter().filter(|l| l.this_update > now);
    future.map(|l| &l.list).collect()
}

/// Raises `SSLError` for a revocation list that cannot be used. `file` names where it is from.
#[pyfunction]
pub(crate) fn check_crl(der: &[u8], file: &str) -> PyResult<()> {
    LoadedCrl::new(der)
        .map(drop)
        .map_err(|why| library_error("X509", "UNUSABLE_CRL", &format!("{file}: {why}")))
}
