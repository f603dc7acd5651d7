//! What came of checking one host.

use std::time::Duration;

use echkit::ErrorKind;
use echkit::discover::DnsReport;
use serde::{Serialize, Serializer};

use crate::catalogue::{ProbeFamily, Severity};
use crate::finding::{Finding, Location};

/// What came of checking one origin. [`HostReport::document`] is its JSON.
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
    /// The server's first flight under the published key; `None` when none was accepted.
    pub first_flight: Option<FirstFlight>,
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

    /// What to say of the whole.
    pub fn verdict(&self) -> Verdict {
        match self.worst() {
            None if self.error.is_some() => Verdict::NotChecked,
            Some(Severity::Error) => Verdict::Broken,
            // What was left out on request may be what is wrong.
            _ if !self.accepted && self.error.is_none() => Verdict::Undecided,
            Some(Severity::Warning) => Verdict::Faulty,
            Some(Severity::Advice) => Verdict::Improvable,
            None | Some(Severity::Note) if self.error.is_some() => Verdict::NotChecked,
            None | Some(Severity::Note) => Verdict::Works,
        }
    }

    /// How many findings there are of each severity that there are any of, the worst first.
    pub fn counts(&self) -> Vec<(Severity, usize)> {
        let of = |severity| self.findings.iter().filter(move |f| f.severity == severity);
        let all = [
            Severity::Error,
            Severity::Warning,
            Severity::Advice,
            Severity::Note,
        ];
        all.into_iter()
            .map(|severity| (severity, of(severity).count()))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The report with what follows from it, for JSON: an entry of `hosts` in `docs/check.md`.
    pub fn document(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(flatten)]
            report: &'a HostReport,
            worst: Option<Severity>,
            verdict: Verdict,
        }
        Document {
            report: self,
            worst: self.worst(),
            verdict: self.verdict(),
        }
    }

    /// A sentence about the probes that showed the host's name in the clear, if any did.
    pub fn name_shown(&self) -> Option<String> {
        if self.shown_by.is_empty() {
            return None;
        }
        let families: Vec<&str> = self.shown_by.iter().map(|f| f.as_str()).collect();
        Some(format!(
            "The host's name was shown in the clear by {}; --private leaves them out",
            families.join(", ")
        ))
    }
}

/// What to say of a deployment, in a few words. JSON has the names of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It could not be looked at.
    NotChecked,
    /// There is an error.
    Broken,
    /// No connection with the published key was made.
    Undecided,
    /// There is a warning.
    Faulty,
    /// There is advice.
    Improvable,
    /// There is nothing to do.
    Works,
}

impl Verdict {
    /// The words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotChecked => "could not be checked",
            Self::Broken => "ECH does not work as it should",
            Self::Undecided => "whether ECH works was not checked",
            Self::Faulty => "ECH works, with faults",
            Self::Improvable => "ECH works, and could be better",
            Self::Works => "ECH works",
        }
    }

    /// Whether that is good; `None` where nobody knows.
    pub fn is_good(self) -> Option<bool> {
        match self {
            Self::NotChecked | Self::Broken | Self::Faulty => Some(false),
            Self::Undecided => None,
            Self::Improvable | Self::Works => Some(true),
        }
    }
}

/// What the server sent up to the end of a handshake that accepted ECH. Its size shows to the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FirstFlight {
    /// How many bytes.
    pub bytes: u64,
    /// Where.
    pub at: Location,
    /// The config under which it was seen: hosts that share it ought to look alike.
    #[serde(skip)]
    pub(crate) config: Vec<u8>,
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
