//! How a test ends when it does not end well.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Names a file to which options that the shim does not have are appended, one a line: the runner
/// keeps no record of them.
const DECLINED_OPTIONS_FILE: &str = "ECHKIT_BOGO_DECLINED_OPTIONS";

/// Why a process ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The shim does not have an option.
    Declined(String),
    /// The connection ended well and is not as the test expects.
    Unmet(String),
    /// The connection failed, or could not be made.
    Failed(String),
}

impl Failure {
    /// A connection that failed for this reason.
    pub(crate) fn failed(reason: impl Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// Says why, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (code, reason) = match self {
            Self::Declined(option) => {
                if let Err(error) = note_declined(&option) {
                    eprintln!("cannot append to the file in {DECLINED_OPTIONS_FILE}: {error}");
                }
                (89, format!("this shim does not have {option}"))
            }
            Self::Unmet(reason) => (90, format!("unmet expectation: {reason}")),
            Self::Failed(reason) => (1, reason),
        };
        eprintln!("{reason}");
        ExitCode::from(code)
    }
}

fn note_declined(option: &str) -> std::io::Result<()> {
    let Some(path) = std::env::var_os(DECLINED_OPTIONS_FILE) else {
        return Ok(());
    };
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)?;
    // One write: other processes append as well.
    file.write_all(format!("{option}\n").as_bytes())
}
