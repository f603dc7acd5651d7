//! The list of what is expected of a run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// A list, which is also the runner's configuration: it reads the keys that it knows.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct List {
    /// How many tests there are. Fewer would mean that some were lost.
    pub(crate) tests: usize,
    /// Tests that are expected not to pass, with the reason. A `*` at the end stands for anything.
    pub(crate) not_passing: BTreeMap<String, String>,
    /// Options that the shim does not have, with the reason.
    pub(crate) declined_options: BTreeMap<String, String>,
}

impl List {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The entry that says that a test is expected not to pass.
    pub(crate) fn entry(&self, test: &str) -> Option<&str> {
        let mut entries = self.not_passing.keys();
        entries
            .find(|entry| matches(entry, test))
            .map(String::as_str)
    }
}

/// Whether a pattern with at most one `*`, at its beginning or end, is that of a test.
pub(crate) fn matches(pattern: &str, test: &str) -> bool {
    if let Some(end) = pattern.strip_prefix('*') {
        test.ends_with(end)
    } else if let Some(start) = pattern.strip_suffix('*') {
        test.starts_with(start)
    } else {
        pattern == test
    }
}
