//! Files of a key directory, written whole or not at all, and for their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::KeyDirectoryError;

/// Who may read private keys besides their owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyAccess {
    /// Nobody.
    #[default]
    Owner,
    /// The file's group: files are written with mode 0640.
    Group,
    /// Anybody: for file systems that have no permissions. Files are written with mode 0640.
    Any,
}

impl KeyAccess {
    #[cfg(unix)]
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group | Self::Any => 0o640,
        }
    }

    /// Refuses a private key that others can read or write, and a directory that others can write:
    /// whoever can replace a key reads what clients hide.
    #[cfg(unix)]
    pub(super) fn check(self, path: &Path) -> Result<(), KeyDirectoryError> {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path).map_err(KeyDirectoryError::read(path))?;
        let forbidden = match (self, metadata.is_dir()) {
            (Self::Any, _) => 0,
            (Self::Owner, true) => 0o022,
            (Self::Group, true) => 0o002,
            (Self::Owner, false) => 0o077,
            (Self::Group, false) => 0o027,
        };
        let mode = metadata.permissions().mode() & 0o777;
        match mode & forbidden {
            0 => Ok(()),
            _ => Err(KeyDirectoryError::Permissions {
                path: path.to_owned(),
                mode,
                wanted: mode & !forbidden,
            }),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn check(self, _: &Path) -> Result<(), KeyDirectoryError> {
        Ok(())
    }
}

/// Writes a file beside its place and renames it into it: it is there whole, or as it was.
pub(crate) fn write_whole(
    path: &Path,
    text: &[u8],
    access: KeyAccess,
    modified: Option<SystemTime>,
) -> Result<(), KeyDirectoryError> {
    let failed = |error| KeyDirectoryError::Write {
        path: path.to_owned(),
        error,
    };
    let beside = beside(path);
    let written = || -> io::Result<()> {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, access.mode());
        let mut file = options.open(&beside)?;
        file.write_all(text)?;
        if let Some(modified) = modified {
            file.set_modified(modified)?;
        }
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_parent(path)
    };
    #[cfg(not(unix))]
    let _ = access;
    written().map_err(failed)
}

/// Deletes a file that may be gone already.
pub(super) fn delete(path: &Path) -> Result<(), KeyDirectoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KeyDirectoryError::Write {
            path: path.to_owned(),
            error,
        }),
        _ => Ok(()),
    }
}

const UNFINISHED: &str = "ech-tmp";

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(UNFINISHED);
    path.with_file_name(name)
}

/// Deletes what a program that was killed left half-written.
pub(super) fn delete_unfinished(directory: &Path) -> Result<(), KeyDirectoryError> {
    for entry in fs::read_dir(directory).map_err(KeyDirectoryError::read(directory))? {
        let path = entry.map_err(KeyDirectoryError::read(directory))?.path();
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            delete(&path)?;
        }
    }
    Ok(())
}

/// Makes a rename last over a power cut.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Makes one file the newest of some, so that readers who go by time agree with the state.
pub(super) fn make_newest(path: &Path, others: &[SystemTime]) -> Result<(), KeyDirectoryError> {
    let own = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map_err(KeyDirectoryError::read(path))?;
    let Some(newest) = others.iter().max().copied().filter(|newest| *newest >= own) else {
        return Ok(());
    };
    let after = newest + Duration::from_secs(1);
    OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(after.max(SystemTime::now())))
        .map_err(|error| KeyDirectoryError::Write {
            path: path.to_owned(),
            error,
        })
}
