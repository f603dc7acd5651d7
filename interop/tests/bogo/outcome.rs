//! What came of a run, and whether that is what its list says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use crate::list::{List, matches};

/// The runner's file of results.
#[derive(Deserialize)]
struct Results {
    tests: BTreeMap<String, TestResult>,
}

#[derive(Deserialize)]
struct TestResult {
    actual: Status,
    /// What was wrong.
    #[serde(default)]
    error: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Pass,
    Fail,
    /// The shim does not have one of the test's options.
    Skip,
}

/// What came of a run.
pub(crate) struct Outcome {
    tests: BTreeMap<String, TestResult>,
    declined_options: BTreeSet<String>,
}

impl Outcome {
    /// Reads the runner's results, and the options that the shim has declined.
    pub(crate) fn read(results: &Path, declined: &Path) -> Result<Self, String> {
        let text = std::fs::read(results).map_err(|error| format!("no results: {error}"))?;
        let results: Results =
            serde_json::from_slice(&text).map_err(|error| format!("results: {error}"))?;
        let declined = match std::fs::read_to_string(declined) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("declined options: {error}")),
        };
        Ok(Self {
            tests: results.tests,
            declined_options: declined.lines().map(str::to_owned).collect(),
        })
    }

    /// The numbers, group by group: a test counts in the first group that it belongs to.
    pub(crate) fn numbers(&self, groups: &[(&str, &str)]) -> String {
        let mut left: Vec<_> = self.tests.iter().collect();
        let mut text = String::new();
        for (group, pattern) in groups {
            let (here, others) = left
                .into_iter()
                .partition(|(name, _)| matches(pattern, name));
            left = others;
            let here: Vec<(&String, &TestResult)> = here;
            let count = |status| {
                let statuses = here.iter().map(|(_, result)| result.actual);
                statuses.filter(|actual| *actual == status).count()
            };
            let _ = writeln!(
                text,
                "  {group}: {} passed, {} did not pass, {} need options that the shim declines",
                count(Status::Pass),
                count(Status::Fail),
                count(Status::Skip),
            );
        }
        text
    }

    /// Everything that is not as the list says; nothing when all is.
    pub(crate) fn unexpected(&self, list: &List) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.tests.len() != list.tests {
            wrong.push(format!(
                "{} tests were run, and the list says {}",
                self.tests.len(),
                list.tests
            ));
        }
        for (name, result) in &self.tests {
            match (result.actual, list.entry(name)) {
                (Status::Fail, None) => {
                    wrong.push(format!("{name} does not pass:\n{}", result.error));
                }
                (Status::Pass, Some(entry)) => {
                    wrong.push(format!(
                        "{name} passes, and is listed as not passing: {entry}"
                    ));
                }
                (Status::Skip, Some(entry)) => wrong.push(format!(
                    "{name} is listed as not passing ({entry}), and needs an option that the shim \
                     does not have"
                )),
                _ => {}
            }
        }
        for entry in list.not_passing.keys() {
            if !self.tests.keys().any(|name| matches(entry, name)) {
                wrong.push(format!("no test is called {entry}"));
            }
        }
        for option in &self.declined_options {
            if !list.declined_options.contains_key(option) {
                wrong.push(format!(
                    "the shim does not have {option}, which is not listed"
                ));
            }
        }
        for option in list.declined_options.keys() {
            if !self.declined_options.contains(option) {
                wrong.push(format!(
                    "no test needs {option}, which is listed as declined"
                ));
            }
        }
        wrong
    }
}
