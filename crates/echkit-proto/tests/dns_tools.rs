//! What DNS tools print for records of the testbed, word for word (`testdata/README.md`).
#![allow(clippy::unwrap_used)]

use std::path::Path;

use echkit_proto::svcb::{Record, looks_like_records, record_lines};

/// The files that tools wrote, without those in JSON, by what they were asked for.
fn outputs(asked: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/dns-tools");
    let mut outputs = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let tool = name.strip_prefix(&format!("{asked}."));
        if tool.is_some_and(|tool| !tool.ends_with("-json")) {
            outputs.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    assert!(outputs.len() >= 16, "{asked}: {}", outputs.len());
    outputs
}

fn records(text: &str) -> Vec<Record> {
    let lines = record_lines(text).unwrap();
    let mut records: Vec<Record> = lines.into_iter().map(|line| line.record).collect();
    records.sort_by_key(|record| record.priority);
    records
}

#[test]
fn the_records_are_those_of_the_zone() {
    for (asked, count) in [("several", 4), ("cname", 1)] {
        let outputs = outputs(asked);
        let zone = outputs.iter().find(|(name, _)| name.ends_with(".zone"));
        let expected = records(&zone.unwrap().1);
        assert_eq!(expected.len(), count);
        for (name, text) in &outputs {
            assert!(looks_like_records(text), "{name}");
            assert_eq!(records(text), expected, "{name}");
        }
    }
}

#[test]
fn owners_are_those_of_the_zone() {
    for (name, text) in outputs("cname") {
        let lines = record_lines(&text).unwrap();
        let owner = lines[0]
            .owner
            .as_deref()
            .map(|owner| owner.trim_end_matches('.'));
        // `+short` prints none.
        let expected = (!name.ends_with("-short")).then_some("cname-target.ech.test");
        assert_eq!(owner, expected, "{name}");
    }
}

#[test]
fn an_answer_without_records_is_one() {
    for (name, text) in outputs("no-record") {
        assert_eq!(records(&text), [], "{name}");
        assert!(text.is_empty() || looks_like_records(text.trim()), "{name}");
    }
}
