//! What a key directory knows of its keys: the file `ech-keys.json`.

use serde::{Deserialize, Serialize};

use super::clock::DirectoryClock;

/// The form of the file that this version writes, and the only one that it reads.
const VERSION: u32 = 1;

/// How many keys that are gone stay listed.
const MAX_GONE: usize = 32;

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeyState {
    /// It opens hellos, and nobody knows its config: every server can load it before clients use
    /// it.
    Made,
    /// Its config is in DNS and in the retry_configs.
    Published,
    /// Another key is published; it opens the hellos of clients that have an old answer.
    Retiring,
    /// It was deleted.
    Gone,
}

impl KeyState {
    /// The state as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Published => "published",
            Self::Retiring => "retiring",
            Self::Gone => "gone",
        }
    }
}

/// One key of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyEntry {
    /// The name of its file in the directory.
    pub file: String,
    /// The config_id that clients name it by.
    pub config_id: u8,
    /// Where it is in its life.
    pub state: KeyState,
    /// The age of the directory, in milliseconds, when it came into this state.
    pub(super) since_ms: u64,
    /// When that was by the wall clock, for people: seconds since 1970. Nothing is decided by it.
    pub since_unix: u64,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DirectoryState {
    version: u32,
    pub(super) clock: DirectoryClock,
    /// The number of the next key's file.
    pub(super) next: u64,
    pub(super) keys: Vec<KeyEntry>,
}

impl Default for DirectoryState {
    fn default() -> Self {
        Self {
            version: VERSION,
            clock: DirectoryClock::default(),
            next: 1,
            keys: Vec::new(),
        }
    }
}

impl DirectoryState {
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if state.version != VERSION {
            return Err(format!("it has version {}, not {VERSION}", state.version));
        }
        let plain = |name: &str| !name.is_empty() && !name.contains(['/', '\\', '\0']);
        if let Some(key) = state.keys.iter().find(|key| !plain(&key.file)) {
            return Err(format!("{:?} is not the name of a file", key.file));
        }
        let published = state
            .keys
            .iter()
            .filter(|key| key.state == KeyState::Published);
        match published.count() {
            0 | 1 => Ok(state),
            several => Err(format!("{several} keys are published")),
        }
    }

    pub(super) fn to_text(&self) -> String {
        // Maps of strings and numbers: nothing in them that JSON cannot hold.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    pub(super) fn find(&self, file: &str) -> Option<&KeyEntry> {
        self.keys.iter().find(|key| key.file == file)
    }

    /// The keys in this state, oldest first.
    pub(super) fn in_state(&self, state: KeyState) -> impl Iterator<Item = &KeyEntry> {
        self.keys.iter().filter(move |key| key.state == state)
    }

    pub(super) fn published(&self) -> Option<&KeyEntry> {
        self.in_state(KeyState::Published).next()
    }

    pub(super) fn add(&mut self, file: String, config_id: u8, state: KeyState, unix: u64) {
        self.keys.push(KeyEntry {
            file,
            config_id,
            state,
            since_ms: self.clock.age_ms,
            since_unix: unix,
        });
    }

    /// Brings a key into another state.
    pub(super) fn enter(&mut self, file: &str, state: KeyState, unix: u64) {
        let age = self.clock.age_ms;
        if let Some(key) = self.keys.iter_mut().find(|key| key.file == file) {
            key.state = state;
            key.since_ms = age;
            key.since_unix = unix;
        }
        let gone = self.in_state(KeyState::Gone).count();
        let mut surplus = gone.saturating_sub(MAX_GONE);
        self.keys.retain(|key| {
            let forget = surplus > 0 && key.state == KeyState::Gone;
            surplus -= usize::from(forget);
            !forget
        });
    }

    /// Brings a key into use, and the one that was published before out of it.
    pub(super) fn publish(&mut self, file: &str, unix: u64) {
        if let Some(before) = self.published().map(|key| key.file.clone()) {
            self.enter(&before, KeyState::Retiring, unix);
        }
        self.enter(file, KeyState::Published, unix);
    }

    /// How long a key has been in its state, as far as is certain.
    pub(super) fn time_in_state(&self, key: &KeyEntry) -> u64 {
        self.clock.age_ms.saturating_sub(key.since_ms)
    }
}
