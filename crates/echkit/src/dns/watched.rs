//! A file that is read and parsed once for each time that it changes, and never on the runtime.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A file that was changed less than this before it was read is read again: two changes within one
/// tick of the file system's clock look alike.
const SETTLED: Duration = Duration::from_secs(2);

/// A file, and what is in it.
#[derive(Debug)]
pub(super) struct Watched<T> {
    path: PathBuf,
    /// A longer file counts as an empty one.
    limit: u64,
    parse: fn(&[u8]) -> T,
    kept: Mutex<Option<(Stamp, Arc<T>)>>,
    /// Held while reading, so that it is done once at a time.
    turn: tokio::sync::Mutex<()>,
}

/// What tells one state of a file from another; `None` where there is no file.
type Stamp = Option<FileStamp>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    modified: Option<SystemTime>,
    length: u64,
    identity: (u64, u64, i64, i64),
}

impl<T: Send + Sync + 'static> Watched<T> {
    pub(super) fn new(path: PathBuf, limit: u64, parse: fn(&[u8]) -> T) -> Self {
        Self {
            path,
            limit,
            parse,
            kept: Mutex::new(None),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// What is in the file now. A file that is not there is an empty one.
    pub(super) async fn current(&self) -> io::Result<Arc<T>> {
        if let Some(value) = self.known(&stamp(&self.path)?) {
            return Ok(value);
        }
        let _turn = self.turn.lock().await;
        // Before reading: what is written meanwhile is then read the next time.
        let stamp = stamp(&self.path)?;
        if let Some(value) = self.known(&stamp) {
            return Ok(value);
        }
        let (path, limit, parse) = (self.path.clone(), self.limit, self.parse);
        let parsing =
            tokio::task::spawn_blocking(move || read(&path, limit).map(|text| parse(&text)));
        let value = Arc::new(parsing.await.map_err(io::Error::other)??);
        *self.lock() = settled(&stamp).then(|| (stamp, Arc::clone(&value)));
        Ok(value)
    }

    fn known(&self, stamp: &Stamp) -> Option<Arc<T>> {
        let kept = self.lock();
        let (known, value) = kept.as_ref()?;
        (known == stamp).then(|| Arc::clone(value))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Stamp, Arc<T>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(FileStamp {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            identity: identity(&metadata),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Device, inode and the time of the last change to it, where the system has them.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

/// Whether a later change would show.
fn settled(stamp: &Stamp) -> bool {
    let Some(file) = stamp else {
        return true;
    };
    let age = |modified| SystemTime::now().duration_since(modified).ok();
    file.modified
        .and_then(age)
        .is_some_and(|age| age >= SETTLED)
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(limit + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bytes),
        Err(error) => return Err(error),
    };
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        tracing::warn!(path = %path.display(), limit, "file ignored, it is too long");
        bytes.clear();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn watched(path: &Path) -> Watched<Vec<u8>> {
        Watched::new(path.to_owned(), 10, <[u8]>::to_vec)
    }

    /// As if the file had been written a while ago.
    fn age(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60))
            .unwrap();
    }

    #[tokio::test]
    async fn a_file_is_read_once_for_each_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let watched = watched(&path);
        assert!(watched.current().await.unwrap().is_empty());
        fs::write(&path, "one").unwrap();
        assert_eq!(**watched.current().await.unwrap(), *b"one");
        age(&path);
        let first = watched.current().await.unwrap();
        assert!(Arc::ptr_eq(&first, &watched.current().await.unwrap()));
        fs::write(&path, "two").unwrap();
        assert_eq!(**watched.current().await.unwrap(), *b"two");
        // Of the same length and within the same tick.
        fs::write(&path, "six").unwrap();
        assert_eq!(**watched.current().await.unwrap(), *b"six");
        fs::remove_file(&path).unwrap();
        assert!(watched.current().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_that_is_too_long_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, [b'a'; 11]).unwrap();
        assert!(watched(&path).current().await.unwrap().is_empty());
        fs::write(&path, [b'a'; 10]).unwrap();
        assert_eq!(watched(&path).current().await.unwrap().len(), 10);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(watched(dir.path()).current().await.is_err());
    }
}
