//! `ech testbed --detach`: the testbed in a process of its own, which goes on when the command ends.
//!
//! The command starts itself once more, with `--detached`, and prints what that process prints until it
//! serves. Errors until then are those of the command: they are on its stderr, and its exit code is that
//! of the process. A NUL byte says that everything serves.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::output;

/// After the text, and in no text.
const SERVES: u8 = 0;

/// Starts the process, and gives the exit code of the command.
pub(crate) fn detach(program: Vec<OsString>, args: &[OsString]) -> Result<u8, Failure> {
    let failed = |error| Failure::system(format!("cannot start the testbed's process: {error}"));
    let mut program = program.into_iter();
    let mut command = Command::new(program.next().unwrap_or_else(|| "ech".into()));
    let args = args.iter().skip(1).map(|arg| match arg == "--detach" {
        true => OsStr::new("--detached"),
        false => arg,
    });
    let mut process = command
        .args(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut text = Vec::new();
    if let Some(stdout) = process.stdout.take() {
        BufReader::new(stdout)
            .read_until(SERVES, &mut text)
            .map_err(failed)?;
    }
    let serves = text.pop_if(|last| *last == SERVES).is_some();
    let printed = output::stdout(&text);
    if serves {
        // Without the text nobody would know which process to end.
        if printed.is_err() {
            let _ = process.kill();
            let _ = process.wait();
        }
        return printed.map(|()| 0);
    }
    // It has said why, on the same stderr.
    let status = process.wait().map_err(failed)?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) if code != 0 => Ok(code),
        _ => Err(Failure::system(format!(
            "the testbed's process ended before it served: {status}"
        ))),
    }
}

/// Leaves the terminal, so that neither Ctrl-C there nor its end reaches this process.
#[cfg(unix)]
pub(super) fn leave_terminal() -> Result<(), Failure> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::system(format!(
            "cannot leave the terminal: {error}"
        ))),
    }
}

/// Prints the text for the command that waits, and closes the streams that it shares with it: a shell that
/// reads them to their end does not wait for the testbed.
#[cfg(unix)]
pub(super) fn serves(text: &[u8]) -> Result<(), Failure> {
    let failed = |error| Failure::system(format!("cannot open /dev/null: {error}"));
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null");
    let null = null.map_err(failed)?;
    rustix::stdio::dup2_stderr(&null).map_err(|error| failed(error.into()))?;
    output::stdout(&[text, &[SERVES]].concat())?;
    rustix::stdio::dup2_stdout(&null).map_err(|error| failed(error.into()))
}

#[cfg(not(unix))]
pub(super) fn leave_terminal() -> Result<(), Failure> {
    Err(Failure::usage("--detach is for Unix alone"))
}

#[cfg(not(unix))]
pub(super) fn serves(text: &[u8]) -> Result<(), Failure> {
    output::stdout(text)
}
