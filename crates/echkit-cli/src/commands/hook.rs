//! Commands of the user's that `ech rotate` and `ech publish` run.

use std::process::{Command, Stdio};

/// A command whose output does not mix with that of `ech`.
pub(super) fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", text])
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    command
}

/// Runs it, and says why it failed if it did.
pub(super) fn run(mut command: Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
