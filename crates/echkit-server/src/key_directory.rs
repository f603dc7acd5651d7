//! A directory of ECH keys that rotate: each key's state is kept beside the key files.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use echkit::server::{EchKeyFiles, EchKeys, read_ech_key_files};
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, EchKeyFile, KeyParams};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use clock::ClockReading;
use state::DirectoryState;

mod clock;
mod error;
mod files;
mod rotation;
mod state;

pub use error::KeyDirectoryError;
pub use files::KeyAccess;
pub(crate) use files::write_whole;
pub use rotation::{Rotation, RotationError, RotationStep};
pub use state::{KeyEntry, KeyState};

const STATE: &str = "ech-keys.json";
const LOCK: &str = ".ech-keys.lock";

/// How much the wall clock of a machine that has not seen a directory since its last start may
/// add to the directory's age.
const CATCH_UP: Duration = Duration::from_secs(3600);

/// How often reading starts again when keys change meanwhile.
const READINGS: usize = 5;

/// A directory of ECH keys.
///
/// Keys go through [`KeyState`]s, which the file `ech-keys.json` holds: a restarted program, and
/// another machine that shares the directory or has a copy, see the same. [`load`](Self::load)
/// gives what a server needs, and takes no lock; [`lock`](Self::lock) is for the one program that
/// changes keys.
///
/// A directory without that file is read as [`load_ech_keys`](echkit::server::load_ech_keys) reads
/// it, and taken over when it is first locked: the newest key counts as published.
///
/// ```
/// use std::time::Duration;
///
/// use echkit_proto::key::KeyParams;
/// use echkit_server::{KeyDirectory, Rotation, RotationStep};
///
/// # let parent = std::env::temp_dir().join(format!("echkit-server-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&parent)?;
/// # let path = parent.join("ech");
/// let directory = KeyDirectory::create(&path)?;
/// let rotation = Rotation::new(Duration::from_secs(3600), Duration::from_secs(300))?;
/// let mut locked = directory.lock()?;
/// while let Some(step) = locked.next_step(&rotation) {
///     match step {
///         RotationStep::Make => {
///             locked.make(&KeyParams::new("public.example")?)?;
///         }
///         RotationStep::Publish(file) => {
///             let list = locked.list(&file)?; // put it into DNS here
///             locked.publish(&file)?;
///         }
///         RotationStep::Delete(file) => locked.delete(&file)?,
///         _ => break,
///     }
/// }
/// let keys = directory.load()?;
/// assert_eq!(keys.keys().len(), 2, "one is published, the next one is made");
/// # std::fs::remove_dir_all(&parent)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    path: PathBuf,
    access: KeyAccess,
}

impl KeyDirectory {
    /// The directory at `path`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyDirectoryError> {
        let path = path.into();
        let metadata = fs::metadata(&path).map_err(KeyDirectoryError::read(&path))?;
        match metadata.is_dir() {
            true => Ok(Self {
                path,
                access: KeyAccess::Owner,
            }),
            false => Err(KeyDirectoryError::NotADirectory(path)),
        }
    }

    /// The same, where the directory is made if it is not there, for its owner alone.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, KeyDirectoryError> {
        let path = path.into();
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(KeyDirectoryError::Write { path, error })
            }
            _ => Self::open(path),
        }
    }

    /// The same, where others than the owner may read private keys.
    #[must_use]
    pub fn with_access(mut self, access: KeyAccess) -> Self {
        self.access = access;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys for a server: all that are not gone open hellos, and the one that is published is
    /// what rejected clients are sent. Blocks while it reads.
    ///
    /// Files that the state does not know, put there by hand, open hellos too.
    ///
    /// # Errors
    ///
    /// When others can read a private key ([`KeyAccess`]), a file is broken or unreadable, or no
    /// key is published. Nothing is loaded then: keep the keys that are in use.
    pub fn load(&self) -> Result<EchKeys, KeyDirectoryError> {
        // A key may be deleted between the reading of the state and that of its file.
        for _ in 1..READINGS {
            if let Ok(keys) = self.load_once() {
                return Ok(keys);
            }
        }
        self.load_once()
    }

    fn load_once(&self) -> Result<EchKeys, KeyDirectoryError> {
        let state = self.read_state()?;
        let files = self.key_files()?;
        let Some(state) = state else {
            return Ok(files.keys().map_err(echkit::server::LoadKeysError::from)?);
        };
        let published = state
            .published()
            .ok_or_else(|| KeyDirectoryError::NoKey(self.path.clone()))?;
        let mut list = None;
        let mut keys = Vec::new();
        for file in files.files() {
            let name = file.path.file_name().and_then(|name| name.to_str());
            let entry = name.and_then(|name| state.find(name));
            if entry.is_some_and(|entry| entry.state == KeyState::Gone) {
                continue;
            }
            let parsed = parse(&file.path, &file.text)?;
            if entry == Some(published) {
                list = Some(parsed.list().clone());
                // First, as the one that most hellos name.
                keys.splice(0..0, parsed.keys().iter().cloned());
            } else {
                keys.extend_from_slice(parsed.keys());
            }
        }
        let list = list
            .ok_or_else(|| KeyDirectoryError::PublishedMissing(self.path.join(&published.file)))?;
        EchKeys::default()
            .with_retry_configs(Some(list))
            .and_then(|set| set.with_retired(keys))
            .map_err(|error| KeyDirectoryError::Keys {
                path: self.path.clone(),
                error,
            })
    }

    /// The keys and their states, oldest first. Takes no lock, and changes nothing. Keys of other
    /// programs have the states that they will have once the directory is taken over: until then
    /// it counts no time, and each has been in its state for none.
    ///
    /// # Errors
    ///
    /// When the state cannot be read, or there is none yet and a key file cannot be read.
    pub fn status(&self) -> Result<Vec<KeyStatus>, KeyDirectoryError> {
        let now = ClockReading::now();
        let mut state = self.read_state()?.unwrap_or_default();
        state.clock.advance(&now, millis(CATCH_UP));
        if state.keys.is_empty() {
            take_over(&mut state, &self.key_files()?, now.wall_ms / 1000)?;
        }
        Ok(status(&state))
    }

    /// The file of the key that `list` publishes, unless the key is gone.
    ///
    /// # Errors
    ///
    /// When the state or a key file cannot be read.
    pub fn file_of(&self, list: &EchConfigList) -> Result<Option<String>, KeyDirectoryError> {
        let state = self.read_state()?.unwrap_or_default();
        for file in self.key_files()?.files() {
            let name = file.path.file_name().and_then(|name| name.to_str());
            let Some(name) = name else { continue };
            let gone = |entry: &KeyEntry| entry.state == KeyState::Gone;
            if state.find(name).is_some_and(gone) {
                continue;
            }
            if parse(&file.path, &file.text)?.list() == list {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// What `rotation` would do now, in order. Takes no lock, and changes nothing.
    ///
    /// # Errors
    ///
    /// When the state or a key file cannot be read.
    pub fn due(&self, rotation: &Rotation) -> Result<Vec<RotationStep>, KeyDirectoryError> {
        let mut state = self.read_state()?.unwrap_or_default();
        state.clock.advance(&ClockReading::now(), millis(CATCH_UP));
        take_over(&mut state, &self.key_files()?, 0)?;
        Ok(rotation.all(state))
    }

    /// Takes the directory for changes. What a killed program left is put in order first.
    ///
    /// # Errors
    ///
    /// When another program has it, or something cannot be read or written.
    pub fn lock(&self) -> Result<LockedKeyDirectory, KeyDirectoryError> {
        self.lock_at(&ClockReading::now())
    }

    fn lock_at(&self, now: &ClockReading) -> Result<LockedKeyDirectory, KeyDirectoryError> {
        self.access.check(&self.path)?;
        let path = self.path.join(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) => return Err(KeyDirectoryError::Write { path, error }),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(KeyDirectoryError::Busy(self.path.clone())),
            Err(error) => {
                let error = error.into();
                return Err(KeyDirectoryError::Write { path, error });
            }
        }
        let mut state = self.read_state()?.unwrap_or_default();
        state.clock.advance(now, millis(CATCH_UP));
        let mut locked = LockedKeyDirectory {
            directory: self.clone(),
            state,
            unix: now.wall_ms / 1000,
            _lock: file,
        };
        locked.put_in_order()?;
        Ok(locked)
    }

    fn read_state(&self) -> Result<Option<DirectoryState>, KeyDirectoryError> {
        let path = self.path.join(STATE);
        match fs::read(&path) {
            Ok(text) => match DirectoryState::parse(&text) {
                Ok(state) => Ok(Some(state)),
                Err(reason) => Err(KeyDirectoryError::State { path, reason }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(KeyDirectoryError::Read { path, error }),
        }
    }

    /// The files that count, newest first, when nobody else can read them.
    fn key_files(&self) -> Result<EchKeyFiles, KeyDirectoryError> {
        self.access.check(&self.path)?;
        let files = read_ech_key_files(&self.path)?;
        for file in files.files() {
            self.access.check(&file.path)?;
        }
        Ok(files)
    }
}

/// A key directory that only its holder changes. The lock ends with the value, and with the
/// process.
#[derive(Debug)]
pub struct LockedKeyDirectory {
    directory: KeyDirectory,
    state: DirectoryState,
    unix: u64,
    _lock: File,
}

impl LockedKeyDirectory {
    /// What `rotation` wants done now, if anything. Ask again after each step.
    pub fn next_step(&self, rotation: &Rotation) -> Option<RotationStep> {
        rotation.next(&self.state)
    }

    /// The keys and their states, oldest first.
    pub fn status(&self) -> Vec<KeyStatus> {
        status(&self.state)
    }

    /// Makes a key that servers can load, and that nobody is told of; returns its file. The
    /// config_id is one that no other key here has, whatever `params` say.
    ///
    /// # Errors
    ///
    /// When the key cannot be made or written.
    pub fn make(&mut self, params: &KeyParams) -> Result<String, KeyDirectoryError> {
        let files = self.directory.key_files()?;
        let mut taken = HashSet::new();
        for file in files.files() {
            let parsed = parse(&file.path, &file.text)?;
            let configs = parsed.list().configs().iter();
            taken.extend(configs.filter_map(|config| config.config_id()));
        }
        let free: Vec<u8> = (0..=u8::MAX).filter(|id| !taken.contains(id)).collect();
        if free.is_empty() {
            return Err(KeyDirectoryError::NoConfigId(self.directory.path.clone()));
        }
        let id = free[rand::random_range(0..free.len())];
        let key = EchKey::generate(&params.clone().with_config_id(id))?;
        let name = format!("{:06}-{id:02x}.ech", self.state.next);
        let path = self.directory.path.join(&name);
        let pem =
            zeroize::Zeroizing::new(key.to_pem().map_err(|error| KeyDirectoryError::File {
                path: path.clone(),
                error,
            })?);
        // Older than the published one, for readers who take the newest for that.
        let oldest = files.files().iter().map(|file| file.modified).min();
        let modified = oldest.map(|oldest| oldest.min(SystemTime::now()) - Duration::from_secs(1));
        files::write_whole(&path, pem.as_bytes(), self.directory.access, modified)?;
        self.state.next += 1;
        self.state.add(name.clone(), id, KeyState::Made, self.unix);
        self.save()?;
        Ok(name)
    }

    /// The ECHConfigList of the key in `file`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn list(&self, file: &str) -> Result<EchConfigList, KeyDirectoryError> {
        let path = self.directory.path.join(file);
        let text =
            echkit::server::read_secret_file(&path).map_err(KeyDirectoryError::read(&path))?;
        Ok(parse(&path, &text)?.list().clone())
    }

    /// Counts the key in `file`, which was made, as published, and the one before as retiring. Do
    /// it when DNS has the new key, so that a failure there leaves the old one in place.
    ///
    /// # Errors
    ///
    /// When the key is not one that was made, or the state cannot be written.
    pub fn publish(&mut self, file: &str) -> Result<(), KeyDirectoryError> {
        self.expect(
            file,
            KeyState::Made,
            "only a key that was made can be published",
        )?;
        self.state.publish(file, self.unix);
        self.save()?;
        self.published_is_newest()
    }

    /// Counts the key in `file`, which is retiring, as published again, and the one that took its
    /// place as retiring. Do it when DNS has the old key again.
    ///
    /// # Errors
    ///
    /// When the key is not retiring, or the state cannot be written.
    pub fn publish_again(&mut self, file: &str) -> Result<(), KeyDirectoryError> {
        self.expect(
            file,
            KeyState::Retiring,
            "only a key that is retiring can be published again",
        )?;
        self.state.publish(file, self.unix);
        self.save()?;
        self.published_is_newest()
    }

    /// Deletes the key in `file`, which must be retiring. [`next_step`](Self::next_step) says when
    /// no client needs it.
    ///
    /// # Errors
    ///
    /// When the key is in another state, or the files cannot be written.
    pub fn delete(&mut self, file: &str) -> Result<(), KeyDirectoryError> {
        self.expect(
            file,
            KeyState::Retiring,
            "only a key that is retiring can be deleted",
        )?;
        // The state first: it never names a key that is not there.
        self.state.enter(file, KeyState::Gone, self.unix);
        self.save()?;
        files::delete(&self.directory.path.join(file))
    }

    fn expect(
        &self,
        file: &str,
        wanted: KeyState,
        rule: &'static str,
    ) -> Result<(), KeyDirectoryError> {
        let state = self
            .state
            .find(file)
            .map_or("unknown", |key| key.state.as_str());
        match state == wanted.as_str() {
            true => Ok(()),
            false => Err(KeyDirectoryError::WrongState {
                path: self.directory.path.join(file),
                state,
                wanted: rule,
            }),
        }
    }

    fn save(&self) -> Result<(), KeyDirectoryError> {
        let path = self.directory.path.join(STATE);
        let text = self.state.to_text();
        files::write_whole(&path, text.as_bytes(), self.directory.access, None)
    }

    /// Finishes what a killed program began, and takes over keys that are new to the state.
    fn put_in_order(&mut self) -> Result<(), KeyDirectoryError> {
        files::delete_unfinished(&self.directory.path)?;
        let present = self.directory.key_files()?;
        for deleted in take_over(&mut self.state, &present, self.unix)? {
            files::delete(&deleted)?;
        }
        self.save()?;
        self.published_is_newest()
    }

    /// Programs that know nothing of the state publish the newest file.
    fn published_is_newest(&self) -> Result<(), KeyDirectoryError> {
        let Some(published) = self.state.published() else {
            return Ok(());
        };
        let path = self.directory.path.join(&published.file);
        let files = self.directory.key_files()?;
        let others = files.files().iter().filter(|file| file.path != path);
        let others: Vec<SystemTime> = others.map(|file| file.modified).collect();
        files::make_newest(&path, &others)
    }
}

/// Brings the state in line with the files that are there; returns those that are to be deleted.
fn take_over(
    state: &mut DirectoryState,
    present: &EchKeyFiles,
    unix: u64,
) -> Result<Vec<PathBuf>, KeyDirectoryError> {
    let all = state.keys.is_empty();
    let mut names = HashSet::new();
    let mut deleted = Vec::new();
    // Oldest first.
    for file in present.files().iter().rev() {
        let Some(name) = file.path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        names.insert(name.to_owned());
        if let Some(entry) = state.find(name) {
            if entry.state == KeyState::Gone {
                deleted.push(file.path.clone());
            }
            continue;
        }
        let own = number(name).filter(|number| *number >= state.next);
        if own.is_none() && !all {
            continue;
        }
        let parsed = parse(&file.path, &file.text)?;
        let Some(key) = parsed.keys().first() else {
            continue;
        };
        // The second: written by a program that was killed before it could say so.
        let entered = if all {
            KeyState::Retiring
        } else {
            KeyState::Made
        };
        state.add(name.to_owned(), key.config_id(), entered, unix);
        state.next = state.next.max(own.map_or(0, |number| number + 1));
    }
    if all && let Some(newest) = state.keys.last().map(|key| key.file.clone()) {
        state.enter(&newest, KeyState::Published, unix);
    }
    let missing = |key: &&KeyEntry| key.state != KeyState::Gone && !names.contains(&key.file);
    let missing = state.keys.iter().filter(missing);
    for file in missing.map(|key| key.file.clone()).collect::<Vec<_>>() {
        state.enter(&file, KeyState::Gone, unix);
    }
    Ok(deleted)
}

/// One key of a directory, and how long it has been in its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key.
    pub entry: KeyEntry,
    /// For how long it has been in its state, as far as is certain: the directory counts time
    /// itself, and clocks that jump change nothing.
    pub in_state: Duration,
}

fn status(state: &DirectoryState) -> Vec<KeyStatus> {
    let status = |entry: &KeyEntry| KeyStatus {
        entry: entry.clone(),
        in_state: Duration::from_millis(state.time_in_state(entry)),
    };
    state.keys.iter().map(status).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn parse(path: &Path, text: &[u8]) -> Result<EchKeyFile, KeyDirectoryError> {
    EchKeyFile::from_pem(text).map_err(|error| KeyDirectoryError::File {
        path: path.to_owned(),
        error,
    })
}

/// The number in the name of a file that a directory wrote itself.
fn number(name: &str) -> Option<u64> {
    let (number, id) = name.strip_suffix(".ech")?.split_once('-')?;
    let plain = number.len() >= 6 && id.len() == 2 && id.bytes().all(|b| b.is_ascii_hexdigit());
    number.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests;
