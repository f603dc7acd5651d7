//! What came of checking one host.

use std::time::Duration;

use echkit::ErrorKind;
use echkit::discover::DnsReport;
use serde::{Serialize, Serializer};

use crate::catalogue::{ProbeFamily, Severity};
use crate::finding::Finding;

/// What came of checking one origin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HostReport {
    /// The origin.
    pub origin: String,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What is in order.
    pub passed: Vec<String>,
    /// What was not checked.
    pub skipped: Vec<Skipped>,
    /// Why the check could not be done, or not to its end. What was found until then is above.
    pub error: Option<CheckError>,
    /// What DNS said; `None` when it was not asked to the end.
    pub dns: Option<DnsReport>,
    /// The public_names of the usable configs.
    pub public_names: Vec<String>,
    /// Whether the published key was accepted somewhere: without it, no finding is no sign that ECH
    /// works.
    pub accepted: bool,
    /// The probes that showed the host's name in the clear.
    pub shown_by: Vec<ProbeFamily>,
    /// How long it took.
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
}

impl HostReport {
    /// The severity of the worst finding; `None` when nothing was found.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// What was not checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// The family of probes, or the place.
    pub probe: String,
    /// Why.
    pub why: String,
}

/// Why a host could not be checked, or not to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CheckError {
    /// The kind, as `ech get` has it.
    #[serde(serialize_with = "kind")]
    pub kind: ErrorKind,
    /// What went wrong; names the host first.
    pub message: String,
}

fn kind<S: Serializer>(kind: &ErrorKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

fn milliseconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_micros() as f64 / 1000.0)
}
