//! Words for what became of ECH: the same in the access log, the metrics and the status page.

use echkit::server::{EchOutcome, RejectReason};

/// What became of an offer, in one word.
pub(super) fn outcome_word(outcome: &EchOutcome) -> &'static str {
    match outcome {
        EchOutcome::NotOffered => "not_offered",
        EchOutcome::Accepted { .. } => "accepted",
        EchOutcome::Rejected { .. } => "rejected",
        EchOutcome::Backend { .. } => "backend",
        _ => "other",
    }
}

/// Why an offer was not opened, in one word. GREASE has a random config_id, and so do keys that
/// are gone: an unknown one is either.
pub(super) fn reason_word(reason: &RejectReason) -> &'static str {
    match reason {
        RejectReason::NoKeys => "no_keys",
        RejectReason::UnknownConfigId => "grease_or_stale",
        RejectReason::SuiteNotOffered => "unlisted_suite",
        RejectReason::NotOpened => "not_opened",
        RejectReason::OfferedLate => "offered_late",
        _ => "other",
    }
}
