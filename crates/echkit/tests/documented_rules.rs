//! `docs/discovery.md` names the test that holds each rule; each of them must be there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all tests in the Rust sources below a folder.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let function = line
                    .strip_prefix("async fn ")
                    .or_else(|| line.strip_prefix("fn "));
                match function {
                    Some(rest) if is_test => {
                        names.extend(rest.split('(').next().map(ToOwned::to_owned));
                        is_test = false;
                    }
                    Some(_) => is_test = false,
                    None => {
                        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test")
                    }
                }
            }
        }
    }
}

#[test]
fn every_rule_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tests = BTreeSet::new();
    tests_below(&root.join("crates"), &mut tests);
    let page = fs::read_to_string(root.join("docs/discovery.md")).unwrap();
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 3, "{row}");
        if cells[0].trim() == "Rule" {
            continue;
        }
        // Cases of the testbed are named there as well, and have no underscores.
        let names = cells[2].split('`').filter(|name| name.contains('_'));
        let before = named;
        for name in names {
            assert!(tests.contains(name), "no test is called {name:?}:\n{row}");
            named += 1;
        }
        assert!(named > before, "no test holds:\n{row}");
    }
    assert!(named > 50, "{named}");
}
