//! Files that logs are added to.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a log to add to it, or makes it, for its owner to write and its group to read: what
/// visitors ask for is for the operator.
///
/// # Errors
///
/// When the system refuses.
pub fn open_log_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}
