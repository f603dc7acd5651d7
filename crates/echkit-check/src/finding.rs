//! One finding: what was seen, and where.

use core::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::catalogue::{FindingId, Severity};

/// Something to know about a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub id: FindingId,
    /// How bad it is.
    pub severity: Severity,
    /// The section that says how it ought to be.
    pub rfc: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What was seen.
    pub seen: String,
    /// The places where it was seen; none where it is about the records.
    pub places: Vec<Location>,
    /// What to do.
    pub mend: &'static str,
}

impl Finding {
    pub(crate) fn new(id: FindingId, seen: String, places: Vec<Location>) -> Self {
        let explanation = id.explanation();
        Self {
            id,
            severity: explanation.severity,
            rfc: explanation.rfc,
            title: explanation.title,
            seen,
            places,
            mend: explanation.mend,
        }
    }
}

/// An endpoint of the records, at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Location {
    /// The host whose address it is.
    pub target: String,
    /// Address and port.
    pub address: SocketAddr,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.target)
    }
}
