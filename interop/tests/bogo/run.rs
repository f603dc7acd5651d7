//! A run of BoringSSL's test runner.

use std::path::Path;
use std::process::Command;

use crate::list::List;
use crate::outcome::Outcome;

/// Which tests run, and how.
pub(crate) struct Run {
    /// The name of the run, and of its list.
    pub(crate) name: &'static str,
    /// The runner's patterns of tests.
    pub(crate) tests: &'static str,
    /// Whether the servers are backend servers of split mode.
    pub(crate) backend: bool,
    /// Whether any error will do where a connection has to fail. Alerts are compared in any case.
    pub(crate) loose_errors: bool,
    /// Groups of tests with their patterns, for the numbers.
    pub(crate) groups: &'static [(&'static str, &'static str)],
    /// Whether it takes too long for every day.
    pub(crate) is_long: bool,
}

impl Run {
    /// Carries it out, and gives the numbers.
    pub(crate) fn carry_out(&self, runner: &Path, lists: &Path) -> Result<String, String> {
        let list_file = lists.join(format!("{}.json", self.name));
        let list = List::read(&list_file)?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let results = folder.path().join("results.json");
        let declined = folder.path().join("declined-options");

        let mut command = Command::new(runner);
        command
            .env("ECHKIT_BOGO_DECLINED_OPTIONS", &declined)
            .arg("-shim-path")
            .arg(env!("CARGO_BIN_EXE_bogo-shim"))
            .arg("-shim-config")
            .arg(&list_file)
            .arg("-json-output")
            .arg(&results)
            .args(["-test", self.tests])
            // A machine that is busy is not a failure.
            .args(["-allow-unimplemented", "-pipe", "-idle-timeout", "120s"]);
        if self.backend {
            command.args(["-shim-extra-flags", "-backend-server"]);
        }
        if self.loose_errors {
            command.arg("-loose-errors");
        }
        let output = command
            .output()
            .map_err(|error| format!("cannot run {}: {error}", runner.display()))?;
        let outcome = Outcome::read(&results, &declined).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stdout);
            let complained = String::from_utf8_lossy(&output.stderr);
            format!("{error}; the runner said:\n{said}{complained}")
        })?;

        let numbers = format!("bogo {}:\n{}", self.name, outcome.numbers(self.groups));
        match outcome.unexpected(&list) {
            wrong if wrong.is_empty() => Ok(format!("{numbers}  0 unexpected")),
            wrong => Err(format!(
                "{numbers}  {} unexpected:\n{}",
                wrong.len(),
                wrong.join("\n")
            )),
        }
    }
}
