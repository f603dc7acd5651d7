//! What the probes of one host have found, kept while they run: a time-out loses nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::catalogue::{FindingId, ProbeFamily};
use crate::finding::{Finding, Location};
use crate::report::Skipped;
use crate::selection::ProbeSelection;

/// Collects findings, what is in order, and what was left out.
#[derive(Debug)]
pub(crate) struct CheckLog {
    selection: ProbeSelection,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) findings: Vec<Finding>,
    pub(crate) passed: Vec<String>,
    pub(crate) skipped: Vec<Skipped>,
    /// The probes that showed the host's name in the clear.
    pub(crate) shown_by: Vec<ProbeFamily>,
    /// Where in `passed` the current probe began.
    probe: usize,
}

impl CheckLog {
    pub(crate) fn new(selection: ProbeSelection) -> Self {
        Self {
            selection,
            entries: Mutex::default(),
        }
    }

    /// A finding about the records.
    pub(crate) fn find(&self, id: FindingId, seen: impl Into<String>) {
        self.add(id, seen.into(), None);
    }

    /// A finding at a place. What was seen in the same words elsewhere is one finding.
    pub(crate) fn find_at(&self, id: FindingId, place: &Location, seen: impl Into<String>) {
        self.add(id, seen.into(), Some(place.clone()));
    }

    fn add(&self, id: FindingId, seen: String, place: Option<Location>) {
        if !self.selection.reports(id) {
            return;
        }
        let mut entries = self.lock();
        let same = |other: &&mut Finding| other.id == id && other.seen == seen;
        match entries.findings.iter_mut().find(same) {
            Some(known) => {
                let new = place.filter(|place| !known.places.contains(place));
                known.places.extend(new);
            }
            None => {
                let finding = Finding::new(id, seen, place.into_iter().collect());
                entries.findings.push(finding);
            }
        }
    }

    /// What is in order.
    pub(crate) fn pass(&self, line: impl Into<String>) {
        let line = line.into();
        let mut entries = self.lock();
        if !entries.passed.contains(&line) {
            entries.passed.push(line);
        }
    }

    /// Ends a probe. Its places were visited at the same time, and are put in order.
    pub(crate) fn end_probe(&self) {
        let mut entries = self.lock();
        let began = entries.probe;
        entries.passed[began..].sort();
        entries.probe = entries.passed.len();
    }

    /// The host's name is about to be sent in the clear.
    pub(crate) fn show(&self, family: ProbeFamily) {
        let mut entries = self.lock();
        if !entries.shown_by.contains(&family) {
            entries.shown_by.push(family);
        }
    }

    /// What was not checked, and why.
    pub(crate) fn skip(&self, probe: impl Into<String>, why: impl Into<String>) {
        let skipped = Skipped {
            probe: probe.into(),
            why: why.into(),
        };
        let mut entries = self.lock();
        if !entries.skipped.contains(&skipped) {
            entries.skipped.push(skipped);
        }
    }

    /// Everything up to now, in the order of reports.
    pub(crate) fn take(&self) -> Entries {
        let mut entries = std::mem::take(&mut *self.lock());
        for finding in &mut entries.findings {
            finding.places.sort_by_key(|place| place.address);
        }
        // Worst first, then in the order of the table.
        entries.findings.sort_by(|a, b| {
            let order = b.severity.cmp(&a.severity).then(a.id.cmp(&b.id));
            order.then_with(|| a.seen.cmp(&b.seen))
        });
        entries
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
