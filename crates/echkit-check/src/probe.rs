//! What a probe is.

use futures_util::future::BoxFuture;

use crate::catalogue::ProbeFamily;
use crate::deployment::Deployment;
use crate::log::CheckLog;

/// Looks at one side of a deployment, and logs what it finds.
pub(crate) trait Probe: Send + Sync {
    /// The family of its findings, by which it is chosen.
    fn family(&self) -> ProbeFamily;

    /// Looks.
    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()>;
}
