//! How attempts tell the race of their progress.

use echkit_proto::race::AttemptId;
use tokio::sync::mpsc;

/// Tells the race how far an attempt has come.
#[derive(Clone, Debug)]
pub(super) struct AttemptProgress {
    pub(super) attempt: AttemptId,
    pub(super) to: mpsc::UnboundedSender<ProgressNote>,
}

pub(super) type ProgressNote = (AttemptId, ProgressStep);

#[derive(Clone, Copy, Debug)]
pub(super) enum ProgressStep {
    Connected,
    Restarted,
}

impl AttemptProgress {
    /// There is a connection over TCP.
    pub(super) fn connected(&self) {
        self.tell(ProgressStep::Connected);
    }

    /// There will be another connection.
    pub(super) fn restarted(&self) {
        self.tell(ProgressStep::Restarted);
    }

    fn tell(&self, progressed: ProgressStep) {
        // The receiver is gone when the race is over.
        let _ = self.to.send((self.attempt, progressed));
    }
}
