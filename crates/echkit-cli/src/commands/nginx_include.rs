//! The keys of a directory as nginx is told of them.
//!
//! nginx takes files, not a directory. All of them open hellos, and the ECHConfig of the first one
//! alone is sent to clients that it rejects.

use std::path::Path;

use echkit_server::{KeyState, KeyStatus};

use crate::failure::Failure;
use crate::private_file;

/// Writes one `ssl_ech_file` line for each key that is not gone, the published one first. The file
/// is renamed into its place, and only when it changes.
pub(super) fn write(path: &Path, directory: &Path, keys: &[KeyStatus]) -> Result<(), Failure> {
    let failed = |error| Failure::unwritten(path, error);
    // nginx reads relative paths from its own directory.
    let directory = std::fs::canonicalize(directory).map_err(failed)?;
    let text = lines(&directory, keys)?;
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    private_file::replace_readable(path, text).map_err(failed)
}

fn lines(directory: &Path, keys: &[KeyStatus]) -> Result<String, Failure> {
    let mut files: Vec<&KeyStatus> = keys
        .iter()
        .filter(|key| key.entry.state != KeyState::Gone)
        .collect();
    files.sort_by_key(|key| match key.entry.state {
        KeyState::Published => 0,
        KeyState::Made => 1,
        _ => 2,
    });
    let mut text = "# Written by `ech rotate`.\n".to_owned();
    for key in files {
        let file = directory.join(&key.entry.file);
        let quoted = quoted(&file).ok_or_else(|| {
            Failure::usage(format!(
                "--nginx-include: nginx cannot read {}: the path has a quote, a backslash or a control character",
                file.display()
            ))
        })?;
        text.push_str(&format!("ssl_ech_file {quoted};\n"));
    }
    Ok(text)
}

fn quoted(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let strange = |c: char| c == '"' || c == '\\' || c.is_control();
    (!text.contains(strange)).then(|| format!("\"{text}\""))
}
