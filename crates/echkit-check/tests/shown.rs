//! Each finding is shown by a case of the testbed or by a test, and `docs/findings-tests.md` says by
//! which.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use echkit_check::FindingId;

mod expected;

use expected::EXPECTED;

/// The tests that declare whole sets of findings, by the name under which they are listed.
const SOURCES: [(&str, &str); 8] = [
    ("servers/tls.rs", include_str!("servers/tls.rs")),
    ("servers/zones.rs", include_str!("servers/zones.rs")),
    ("servers/pages.rs", include_str!("servers/pages.rs")),
    (
        "servers/origin_svcb.rs",
        include_str!("servers/origin_svcb.rs"),
    ),
    ("servers/sessions.rs", include_str!("servers/sessions.rs")),
    ("testbed.rs", include_str!("testbed.rs")),
    (
        "check.rs of echkit-cli",
        include_str!("../../echkit-cli/tests/check.rs"),
    ),
    (
        "probes/records.rs",
        include_str!("../src/probes/records.rs"),
    ),
];

/// How many cases and tests of one finding are listed.
const AT_MOST: usize = 3;

/// The tests in a source, by what they mention: an id, or the name of the variant.
fn tests<'a>(source: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut is_test = false;
    let mut name = None;
    for line in source.lines() {
        if line.trim_start().starts_with("#[tokio::test") || line.trim() == "#[test]" {
            (is_test, name) = (true, None);
        } else if let Some((_, rest)) = line.split_once("fn ")
            && (is_test || !line.starts_with(' '))
        {
            name = rest
                .split_once('(')
                .map(|(name, _)| name)
                .filter(|_| is_test);
            is_test = false;
        } else if let Some(name) = name
            && wanted.iter().any(|wanted| line.contains(wanted))
            && !found.contains(&name)
        {
            found.push(name);
        }
    }
    found
}

fn shown_by(id: FindingId) -> Vec<String> {
    let mut cases: Vec<String> = EXPECTED
        .iter()
        .filter(|(_, ids)| ids.contains(&id.as_str()))
        .map(|(case, _)| format!("case `{case}`"))
        .collect();
    cases.truncate(AT_MOST);
    // What follows an id is no part of a longer one.
    let (id, variant) = (format!("\"{id}\""), format!("FindingId::{id:?}"));
    let ends = [")", ",", " ", ";"].map(|end| format!("{variant}{end}"));
    let mut wanted = vec![id.as_str()];
    wanted.extend(ends.iter().map(String::as_str));
    let tests = SOURCES.iter().flat_map(|(file, source)| {
        let tests = tests(source, &wanted);
        tests
            .into_iter()
            .map(move |test| format!("{file}: `{test}`"))
    });
    cases.extend(tests.take(AT_MOST));
    cases
}

fn page() -> String {
    let mut page = String::from(
        "# Which test shows each finding\n\n\
         Made by the test `shown` of `crates/echkit-check` (`ECHKIT_WRITE=1 cargo test -p echkit-check --test shown`\n\
         writes it), which fails when a finding has no test. Cases are those of the testbed: the test `testbed` holds each\n\
         to exactly the findings that are due. The other tests do the same for scripted servers and zones. At most three of\n\
         each kind are listed.\n\n\
         | finding | shown by |\n|---|---|\n",
    );
    for id in FindingId::ALL {
        page.push_str(&format!("| {id} | {} |\n", shown_by(*id).join("; ")));
    }
    page
}

#[test]
fn each_finding_is_shown_by_a_case_or_a_test() {
    let without: Vec<_> = FindingId::ALL
        .iter()
        .filter(|id| shown_by(**id).is_empty())
        .collect();
    assert!(without.is_empty(), "{without:?}");
    let known: BTreeMap<_, _> = FindingId::ALL.iter().map(|id| (id.as_str(), ())).collect();
    let declared = EXPECTED.iter().flat_map(|(_, ids)| *ids);
    let unknown: Vec<_> = declared.filter(|id| !known.contains_key(*id)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_page_of_tests_is_made_from_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/findings-tests.md");
    let made = page();
    if std::env::var_os("ECHKIT_WRITE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page == made, "write it anew: ECHKIT_WRITE=1");
}
