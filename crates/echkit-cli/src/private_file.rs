//! Files that hold secrets: their owner alone reads them, and they are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

const PRIVATE: u32 = 0o600;

/// Writes a file, and never over another unless told to.
pub(crate) fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let shown = path.display();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists if !force => {
            Failure::write(format!("{shown} exists; give --force to replace it"))
        }
        _ => Failure::unwritten(path, error),
    };
    match force {
        true => replace(path, text),
        false => create(path, text),
    }
    .map_err(failed)
}

/// Writes a file that is not there yet.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    open_new(path, PRIVATE)?.write_all(text.as_bytes())
}

/// Replaces a file, or makes it. It is written beside the file and renamed over it: readers see the
/// old one or the new one, who could read the old one cannot read the new one, and a full disk loses
/// neither. A link stays, and what it leads to is replaced. A pipe or a device is written to.
pub(crate) fn replace(path: &Path, contents: impl AsRef<[u8]>) -> io::Result<()> {
    replace_as(path, contents, PRIVATE)
}

/// The same for what is no secret: as readable as the umask has it.
pub(crate) fn replace_readable(path: &Path, contents: impl AsRef<[u8]>) -> io::Result<()> {
    replace_as(path, contents, 0o666)
}

fn replace_as(path: &Path, contents: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
    let contents = contents.as_ref();
    let path = match fs::metadata(path) {
        Ok(there) if !there.is_file() => return fs::write(path, contents),
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_owned(),
    };
    let beside = beside(&path);
    let mut file = open_new(&beside, mode)?;
    file.write_all(contents)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, &path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

fn open_new(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_read_is_replaced_by_one_that_they_do_not() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        use super::*;

        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&path, "old and long").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&path, &link).unwrap();
        let held = File::open(&path).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Who holds the old one open reads nothing of the new one.
        assert_eq!(io::read_to_string(held).unwrap(), "old and long");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        replace(Path::new("/dev/null"), "new").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(replace(&folder.path().join("none/file"), "new").is_err());
    }
}
