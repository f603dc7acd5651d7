//! Whether the certificates of a configuration have changed since they were read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::config::ServeConfig;

/// The certificate files of a configuration, as they were.
#[derive(Debug)]
pub(super) struct FileChanges(Vec<(PathBuf, Option<FileLook>)>);

/// What tells a file from another, through links: ACME clients put a link in place of another.
#[derive(Debug, PartialEq, Eq)]
struct FileLook {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl FileChanges {
    pub(super) fn of(config: &ServeConfig) -> Self {
        let sites = config.sites.iter();
        let files = sites.flat_map(|site| [&site.certificate, &site.key]);
        Self(files.map(|path| (path.clone(), look(path))).collect())
    }

    /// Whether one has changed since the last look.
    pub(super) fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = look(path);
            changed |= now != *before;
            *before = now;
        }
        changed
    }
}

fn look(path: &Path) -> Option<FileLook> {
    let metadata = fs::metadata(path).ok()?;
    Some(FileLook {
        modified: metadata.modified().ok(),
        len: metadata.len(),
        inode: inode(&metadata),
    })
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}
