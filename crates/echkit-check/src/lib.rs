//! Checks a deployment of Encrypted Client Hello (RFC 9849): probes in, findings out.
//!
//! [`Checker`] looks up the HTTPS records of an origin, connects to every address that they lead
//! to, and returns a [`HostReport`]: findings, what is in order, and what was not checked.
//!
//! ```no_run
//! use echkit_check::{Checker, Severity};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let checker = Checker::builder().build()?;
//! let report = checker.check(&"https://www.example".parse()?).await;
//! for finding in &report.findings {
//!     println!("{} {}: {}", finding.severity, finding.id, finding.seen);
//! }
//! if report.worst() >= Some(Severity::Warning) {
//!     println!("this deployment needs work");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Trace`] lays out what an eavesdropper saw of a connection that was recorded
//! ([`WireRecorder`](echkit::wire::WireRecorder)), and [`pcapng`] makes a capture file of it.
//!
//! # What the network sees
//!
//! Probes with ECH show the config's public_name alone. Those of the families
//! [`ProbeFamily::Grease`], [`ProbeFamily::Plain`], [`ProbeFamily::Tls12`] and [`ProbeFamily::Http`] show the host's
//! name, as every client without ECH does, and [`ProbeFamily::Authoritative`] asks the zone's servers for it in the
//! clear; [`CheckerBuilder::private`] turns them off. DNS queries show the name to the
//! network unless the resolver is an encrypted one.

// An enum or struct grows without a break, or says why it never will.
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod anonymity;
mod captured;
mod catalogue;
mod check_page;
mod checker;
mod deployment;
mod dial;
mod fetch;
mod finding;
pub mod html;
mod log;
mod origin_svcb;
mod page;
mod pcapng;
mod probe;
mod probes;
mod published;
mod report;
mod retry_group;
mod selection;
mod tickets;
mod trace;

pub use anonymity::anonymity;
pub use captured::{CaptureReadError, CapturedEch, CapturedHello, CapturedHellos, captured_hellos};
pub use catalogue::{Explanation, FindingId, ProbeFamily, Severity, UnknownFinding};
pub use check_page::check_page;
pub use checker::{CheckLimits, Checker, CheckerBuilder};
pub use finding::{Finding, Location};
pub use page::{findings_page, markdown};
pub use pcapng::{PcapngTooLarge, pcapng};
pub use report::{CheckError, FirstFlight, HostReport, Skipped, Verdict};
pub use selection::{ProbeSelection, UnknownProbe};
pub use trace::{
    ConnectionTrace, HelloField, HelloFields, HelloTrace, Paint, SeenEch, ServerAnswer, Sighting,
    Trace,
};
