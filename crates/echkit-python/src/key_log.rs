//! A file of session secrets, in the format of `SSLKEYLOGFILE`.

use std::fs::{File, OpenOptions, metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::KeyLog;
use zeroize::Zeroizing;

/// Appends each secret with one call to the system, which keeps lines whole without a lock: a lock
/// that another thread holds would stay locked in a forked child.
#[derive(Debug)]
pub(crate) struct KeyLogTo(File);

/// The files that are open, so that contexts with one key log share a descriptor. Locked with the
/// interpreter's lock held and never while waiting: when a process forks, nobody is inside.
static OPEN: Mutex<Vec<Weak<KeyLogTo>>> = Mutex::new(Vec::new());

impl KeyLogTo {
    /// The log at `path`: as long as that is the file which is open, there is one.
    pub(crate) fn open(path: PathBuf) -> io::Result<Arc<Self>> {
        let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        if let Ok(found) = metadata(&path) {
            let same = |log: &Arc<Self>| {
                log.0
                    .metadata()
                    .is_ok_and(|open| (open.dev(), open.ino()) == (found.dev(), found.ino()))
            };
            if let Some(log) = all.iter().filter_map(Weak::upgrade).find(same) {
                return Ok(log);
            }
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let log = Arc::new(Self(file));
        all.push(Arc::downgrade(&log));
        Ok(log)
    }
}

impl KeyLog for KeyLogTo {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| Zeroizing::new(data_encoding::HEXLOWER.encode(bytes));
        let line = Zeroizing::new(format!(
            "{label} {} {}\n",
            *hex(client_random),
            *hex(secret)
        ));
        // A log that cannot be written must not end connections.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}
