//! Keys of a running server follow their directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use echkit::server::{EchKeyHandle, EchKeys};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::key_directory::{KeyDirectory, KeyDirectoryError};

/// How often the directory is looked at without a word from the system: file systems of other
/// machines send none.
const LOOK: Duration = Duration::from_secs(10);

/// Changes come in groups; the directory is read when none has come for this long.
const QUIET: Duration = Duration::from_millis(100);

/// Hands the keys of a directory to a running server whenever they change, until it is dropped.
///
/// The server shares the handle: give a clone of it to `Acceptor::new` or `EchServer::new`.
/// Connections that have begun keep the keys that they began with. A directory that cannot be
/// loaded changes nothing: the keys in use stay, and the callback is told why.
///
/// ```
/// # use echkit_proto::key::KeyParams;
/// use echkit::server::EchKeyHandle;
/// use echkit_server::{KeyDirectory, KeyWatch};
///
/// # let parent = std::env::temp_dir().join(format!("echkit-watch-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&parent)?;
/// # let path = parent.join("ech");
/// # let mut locked = KeyDirectory::create(&path)?.lock()?;
/// # let file = locked.make(&KeyParams::new("public.example")?)?;
/// # locked.publish(&file)?;
/// let directory = KeyDirectory::open(&path)?;
/// let keys = EchKeyHandle::new(directory.load()?);
/// // … an acceptor has a clone of the handle.
/// let watch = KeyWatch::start(directory, keys, |loaded| match loaded {
///     Ok(keys) => eprintln!("{} ECH keys loaded", keys.keys().len()),
///     Err(error) => eprintln!("ECH keys are unchanged: {error}"),
/// })?;
/// watch.reload(); // on SIGHUP
/// # drop(watch);
/// # std::fs::remove_dir_all(&parent)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyWatch {
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Changed,
    Reload,
    Stop,
}

impl KeyWatch {
    /// Begins to watch. `loaded` is called after each attempt, from a thread of the watch; load
    /// once before, so that the server does not start without keys.
    ///
    /// # Errors
    ///
    /// When the system cannot watch the directory.
    pub fn start(
        directory: KeyDirectory,
        keys: EchKeyHandle,
        loaded: impl FnMut(Result<&EchKeys, &KeyDirectoryError>) + Send + 'static,
    ) -> Result<Self, KeyWatchError> {
        let failed = |error: notify::Error| KeyWatchError {
            path: directory.path().to_owned(),
            reason: error.to_string(),
        };
        let (commands, received) = channel();
        let changed = commands.clone();
        let mut watcher = notify::recommended_watcher(move |_| {
            // It fails when the watch has ended.
            let _ = changed.send(Command::Changed);
        })
        .map_err(failed)?;
        watcher
            .watch(directory.path(), RecursiveMode::NonRecursive)
            .map_err(failed)?;
        let task = Task {
            seen: Fingerprint::of(&directory),
            directory,
            keys,
            loaded,
            _watcher: watcher,
        };
        Ok(Self {
            commands,
            thread: Some(std::thread::spawn(move || task.run(&received))),
        })
    }

    /// Loads the directory now, whether it changed or not: what SIGHUP asks of a server.
    pub fn reload(&self) {
        // The thread runs until this is dropped.
        let _ = self.commands.send(Command::Reload);
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for KeyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWatch").finish_non_exhaustive()
    }
}

struct Task<F> {
    directory: KeyDirectory,
    keys: EchKeyHandle,
    loaded: F,
    seen: Fingerprint,
    _watcher: RecommendedWatcher,
}

impl<F: FnMut(Result<&EchKeys, &KeyDirectoryError>)> Task<F> {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let mut asked = false;
            let mut wait = LOOK;
            loop {
                match commands.recv_timeout(wait) {
                    Ok(Command::Changed) => wait = QUIET,
                    Ok(Command::Reload) => {
                        asked = true;
                        break;
                    }
                    Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => break,
                }
            }
            // Taken before the files are read: a change after it is seen next time.
            let now = Fingerprint::of(&self.directory);
            if asked || now != self.seen {
                self.seen = now;
                self.load();
            }
        }
    }

    fn load(&mut self) {
        match self.directory.load() {
            Ok(keys) => {
                self.keys.store(keys);
                (self.loaded)(Ok(&self.keys.load()));
            }
            Err(error) => (self.loaded)(Err(&error)),
        }
    }
}

/// What tells whether the files of a directory changed.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint(BTreeMap<OsString, (Option<SystemTime>, u64, u64, u32)>);

impl Fingerprint {
    fn of(directory: &KeyDirectory) -> Self {
        let Ok(entries) = fs::read_dir(directory.path()) else {
            return Self(BTreeMap::new());
        };
        let of_file = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok()?;
            let (inode, mode) = identity(&metadata);
            let value = (metadata.modified().ok(), metadata.len(), inode, mode);
            Some((entry.file_name(), value))
        };
        Self(entries.flatten().filter_map(of_file).collect())
    }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u32) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ino(), metadata.mode())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u32) {
    (0, 0)
}

/// A directory that cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: cannot be watched: {reason}; load it again by hand after changes", path.display())]
pub struct KeyWatchError {
    path: std::path::PathBuf,
    reason: String,
}
