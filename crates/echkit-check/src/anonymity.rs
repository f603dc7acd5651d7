//! How many hosts of one run share a public_name (RFC 9849 §10.1).

use std::collections::HashMap;

use crate::catalogue::FindingId;
use crate::finding::Finding;
use crate::report::HostReport;
use crate::selection::ProbeSelection;

/// Adds [`FindingId::AnonymitySetOfOne`] to the report of each host whose public_names no other host
/// has. Reports of fewer than two hosts say nothing, and stay as they are.
pub fn anonymity(reports: &mut [HostReport], selection: &ProbeSelection) {
    if reports.len() < 2 || !selection.reports(FindingId::AnonymitySetOfOne) {
        return;
    }
    let mut hosts: HashMap<String, usize> = HashMap::new();
    for report in &*reports {
        for name in &report.public_names {
            *hosts.entry(name.clone()).or_default() += 1;
        }
    }
    for report in reports {
        let alone = |name: &&String| hosts.get(*name) == Some(&1);
        let mut names = report.public_names.iter();
        if let Some(first) = names.next()
            && alone(&first)
            && names.all(|name| alone(&name))
        {
            let seen = format!("{first}, among the hosts of this run");
            let finding = Finding::new(FindingId::AnonymitySetOfOne, seen, Vec::new());
            // Before the first that is less bad.
            let at = report
                .findings
                .partition_point(|other| other.severity >= finding.severity);
            report.findings.insert(at, finding);
        }
    }
}
