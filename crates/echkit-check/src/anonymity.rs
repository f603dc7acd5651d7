//! What sets a host of one run apart from the others that share its public_name (RFC 9849 §10.1).

use std::collections::HashMap;

use crate::catalogue::FindingId;
use crate::finding::Finding;
use crate::report::{FirstFlight, HostReport};
use crate::selection::ProbeSelection;

/// By how much the first flights of one server differ for one certificate: the signature of ECDSA
/// has a length of its own each time.
const TOLERANCE: u64 = 8;

/// Compares the hosts of one run, and adds to the report of each what tells it from the others:
/// [`FindingId::AnonymitySetOfOne`] where no other host has its public_names, and
/// [`FindingId::FirstFlightTells`] where no other host under the same key has a first flight of that
/// size. Reports of fewer than two hosts say nothing, and stay as they are.
pub fn anonymity(reports: &mut [HostReport], selection: &ProbeSelection) {
    if reports.len() < 2 {
        return;
    }
    if selection.reports(FindingId::AnonymitySetOfOne) {
        compare_public_names(reports);
    }
    if selection.reports(FindingId::FirstFlightTells) {
        compare_first_flights(reports);
    }
}

fn compare_public_names(reports: &mut [HostReport]) {
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
            add(
                report,
                Finding::new(FindingId::AnonymitySetOfOne, seen, Vec::new()),
            );
        }
    }
}

fn compare_first_flights(reports: &mut [HostReport]) {
    let mut by_config: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
    for flight in reports
        .iter()
        .filter_map(|report| report.first_flight.as_ref())
    {
        let sizes = by_config.entry(flight.config.clone()).or_default();
        sizes.push(flight.bytes);
    }
    for sizes in by_config.values_mut() {
        sizes.sort_unstable();
    }
    for report in reports {
        let Some(FirstFlight { config, bytes, at }) = &report.first_flight else {
            continue;
        };
        let sizes = by_config.get(config).map_or(&[][..], Vec::as_slice);
        let alike = sizes.partition_point(|size| *size <= bytes + TOLERANCE)
            - sizes.partition_point(|size| size + TOLERANCE < *bytes);
        if let (true, 1, [least, .., most]) = (sizes.len() > 1, alike, sizes) {
            let seen = format!(
                "{bytes} bytes; the {} hosts of this key have {least} to {most}",
                sizes.len()
            );
            let place = vec![at.clone()];
            add(
                report,
                Finding::new(FindingId::FirstFlightTells, seen, place),
            );
        }
    }
}

/// Puts a finding before the first that is less bad.
fn add(report: &mut HostReport, finding: Finding) {
    let at = report
        .findings
        .partition_point(|other| other.severity >= finding.severity);
    report.findings.insert(at, finding);
}
