//! `--pid-file`: which process to end.

use std::path::PathBuf;

use crate::failure::Failure;

/// A file with this process's id, removed at the end.
pub(super) struct PidFile {
    path: PathBuf,
    text: String,
}

impl PidFile {
    /// Fails where the file names a process that still runs: nobody would know how to end that one.
    pub(super) fn write(path: PathBuf) -> Result<Self, Failure> {
        let shown = path.display();
        if let Some(other) = std::fs::read_to_string(&path).ok().and_then(running) {
            return Err(Failure::usage(format!(
                "{shown}: process {other} still runs; end it with `kill {other}`, or remove the \
                 file where that is another program"
            )));
        }
        let text = format!("{}\n", std::process::id());
        std::fs::write(&path, &text).map_err(|error| Failure::unwritten(&path, error))?;
        Ok(Self { path, text })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Unless another process has written it since.
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The process in a file, if there is one and it runs.
#[cfg(unix)]
fn running(text: String) -> Option<i32> {
    use rustix::process::{Pid, test_kill_process};
    let id: i32 = text.trim().parse().ok().filter(|id| *id > 0)?;
    let there = match test_kill_process(Pid::from_raw(id)?) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    };
    (there && id.cast_unsigned() != std::process::id()).then_some(id)
}

#[cfg(not(unix))]
fn running(_: String) -> Option<i32> {
    None
}
