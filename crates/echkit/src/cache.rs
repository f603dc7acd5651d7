//! Retry configs that serve later connections (RFC 9849 §6.1.6).
//!
//! A server that has new keys sends them with its rejection. They are tied to what led to them: the
//! origin, and the ECHConfigList in its record. When the record has another list, they are not
//! looked at; when its lifetime has ended, and after a day at the latest, they are gone. A later
//! connection treats them as it would the record's own: a rejection is handled as fresh.
//!
//! A server could tell clients apart by the configs that it gave them. They reach no further than
//! session tickets, by which it could do the same.

mod cache_error;
mod file;
mod place;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use echkit_proto::config::EchConfigList;

pub use cache_error::CacheError;
pub(crate) use place::Place;

use crate::clock::{Clock, Moment};

/// Nothing is kept for longer.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// More are not kept; what ends first goes first.
const MAX_ENTRIES: usize = 1024;

/// Retry configs, in memory and, where asked for, in a file. Clones share them.
///
/// ```no_run
/// use echkit::cache::ConfigCache;
/// use echkit::connect::Connector;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = ConfigCache::open("retry-configs.json")?;
/// let connector = Connector::builder().cache(cache.clone()).build()?;
/// // After connections to servers that had changed their key:
/// for kept in cache.entries() {
///     println!("{}:{} for {:?}", kept.host, kept.port, kept.left);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct ConfigCache {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    clock: Clock,
    file: Option<PathBuf>,
    kept: Mutex<HashMap<Place, Kept>>,
}

struct Kept {
    configs: EchConfigList,
    since: Moment,
    lifetime: Duration,
}

/// Configs that are kept for an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedConfigs {
    /// The origin's host.
    pub host: String,
    /// The origin's port.
    pub port: u16,
    /// The ECHConfigList in the record that led to them, encoded; `None` where there was none.
    pub published: Option<Vec<u8>>,
    /// The configs.
    pub configs: EchConfigList,
    /// For how long they may still be used.
    pub left: Duration,
}

impl ConfigCache {
    /// A cache that ends with the program.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A cache whose entries age by this clock. For tests.
    #[doc(hidden)]
    pub fn with_clock(clock: Clock) -> Self {
        Self::new(clock, None)
    }

    /// A cache that is kept in a file, which only its owner can read, for it tells which origins
    /// were visited. It is made when there is something to keep.
    ///
    /// A program that runs at the same time may replace what this one wrote, and the other way
    /// round. That costs a retry and nothing else.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read, belongs to another user, can be read or written
    /// by others, or is not a cache of retry configs; when the folder that it would be made in is
    /// not there. An empty file is an empty cache.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CacheError> {
        Self::open_with_clock(path, Clock::default())
    }

    /// As [`open`](Self::open), with the time by this clock. For tests.
    ///
    /// # Errors
    ///
    /// As those of [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_with_clock(path: impl AsRef<Path>, clock: Clock) -> Result<Self, CacheError> {
        let path = path.as_ref();
        let cache = Self::new(clock, Some(path.to_owned()));
        let now = cache.shared.clock.now();
        {
            let mut kept = cache.lock();
            for (place, configs, until) in file::read(path)? {
                let left = until.duration_since(now.wall()).unwrap_or_default();
                let entry = Kept {
                    configs,
                    since: now,
                    lifetime: left.min(MAX_LIFETIME),
                };
                kept.insert(place, entry);
            }
            prune(&mut kept, now);
        }
        Ok(cache)
    }

    fn new(clock: Clock, file: Option<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                file,
                kept: Mutex::default(),
            }),
        }
    }

    /// What is kept, by host and port.
    pub fn entries(&self) -> Vec<CachedConfigs> {
        let now = self.shared.clock.now();
        let mut kept = self.lock();
        prune(&mut kept, now);
        let mut entries: Vec<_> = kept
            .iter()
            .map(|(place, entry)| CachedConfigs {
                host: place.host.clone(),
                port: place.port,
                published: place.published.clone(),
                configs: entry.configs.clone(),
                left: entry.left(now),
            })
            .collect();
        entries.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
        entries
    }

    /// Forgets everything, in the file too.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn clear(&self) -> Result<(), CacheError> {
        let mut kept = self.lock();
        kept.clear();
        self.write(&kept)
    }

    /// The configs for a place, while they hold.
    pub(crate) fn find(&self, place: &Place) -> Option<EchConfigList> {
        let now = self.shared.clock.now();
        let kept = self.lock();
        let entry = kept.get(place)?;
        (!entry.left(now).is_zero()).then(|| entry.configs.clone())
    }

    /// Keeps configs for as long as what led to them lives.
    pub(crate) fn keep(&self, place: Place, configs: EchConfigList, lifetime: Duration) {
        let since = self.shared.clock.now();
        let entry = Kept {
            configs,
            since,
            lifetime: lifetime.min(MAX_LIFETIME),
        };
        let mut kept = self.lock();
        kept.insert(place, entry);
        prune(&mut kept, since);
        self.write_or_warn(&kept);
    }

    /// Forgets the configs for a place.
    pub(crate) fn forget(&self, place: &Place) {
        let mut kept = self.lock();
        if kept.remove(place).is_some() {
            self.write_or_warn(&kept);
        }
    }

    fn write_or_warn(&self, kept: &HashMap<Place, Kept>) {
        // A connection does not fail because nothing was kept of it.
        if let Err(error) = self.write(kept) {
            tracing::warn!(%error, "retry configs are not kept");
        }
    }

    fn write(&self, kept: &HashMap<Place, Kept>) -> Result<(), CacheError> {
        let Some(path) = &self.shared.file else {
            return Ok(());
        };
        let now = self.shared.clock.now();
        let entries = kept.iter().filter_map(|(place, entry)| {
            let until: SystemTime = now.wall().checked_add(entry.left(now))?;
            Some((place, &entry.configs, until))
        });
        file::write(path, entries)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Kept>> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ConfigCache {
    /// Without names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigCache")
            .field("file", &self.shared.file)
            .field("entries", &self.lock().len())
            .finish()
    }
}

impl Kept {
    fn left(&self, now: Moment) -> Duration {
        self.lifetime.saturating_sub(now.since(self.since))
    }
}

/// Drops what has ended, and the next to end where there are too many.
fn prune(kept: &mut HashMap<Place, Kept>, now: Moment) {
    kept.retain(|_, entry| !entry.left(now).is_zero());
    while kept.len() > MAX_ENTRIES
        && let Some(place) = kept
            .iter()
            .min_by_key(|(_, entry)| entry.left(now))
            .map(|(place, _)| place.clone())
    {
        kept.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use echkit_proto::key::{EchKey, KeyParams};

    fn configs() -> EchConfigList {
        let key = EchKey::generate(&KeyParams::new("public.test").unwrap()).unwrap();
        EchConfigList::from(key.config().clone())
    }

    fn place(host: &str, published: Option<&[u8]>) -> Place {
        Place {
            host: host.to_owned(),
            port: 443,
            published: published.map(<[u8]>::to_vec),
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn configs_hold_for_the_record_that_led_to_them_alone() {
        let cache = ConfigCache::in_memory();
        let (one, two) = (configs(), configs());
        cache.keep(place("a.test", Some(b"old")), one.clone(), HOUR);
        cache.keep(place("a.test", None), two.clone(), HOUR);
        assert_eq!(cache.find(&place("a.test", Some(b"old"))), Some(one));
        assert_eq!(cache.find(&place("a.test", None)), Some(two));
        assert_eq!(cache.find(&place("a.test", Some(b"new"))), None);
        assert_eq!(cache.find(&place("b.test", Some(b"old"))), None);
        let mut other_port = place("a.test", None);
        other_port.port = 8443;
        assert_eq!(cache.find(&other_port), None);
        cache.forget(&place("a.test", None));
        assert_eq!(cache.entries().len(), 1);
        cache.clear().unwrap();
        assert!(cache.entries().is_empty());
    }

    #[test]
    fn nothing_outlives_its_record_or_a_day() {
        let clock = Clock::by_hand();
        let cache = ConfigCache::with_clock(clock.clone());
        cache.keep(place("hour.test", None), configs(), HOUR);
        cache.keep(place("long.test", None), configs(), 1000 * HOUR);
        cache.keep(place("never.test", None), configs(), Duration::ZERO);
        assert_eq!(cache.entries().len(), 2);
        clock.advance(HOUR);
        assert_eq!(cache.find(&place("hour.test", None)), None);
        assert!(cache.find(&place("long.test", None)).is_some());
        clock.advance(23 * HOUR);
        assert!(cache.entries().is_empty());
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let cache = ConfigCache::in_memory();
        let configs = configs();
        for number in 0..MAX_ENTRIES + 10 {
            let lifetime = HOUR + Duration::from_secs(number as u64);
            let place = place(&format!("{number}.test"), None);
            cache.keep(place, configs.clone(), lifetime);
        }
        assert_eq!(cache.entries().len(), MAX_ENTRIES);
        assert_eq!(cache.find(&place("0.test", None)), None);
        let last = format!("{}.test", MAX_ENTRIES + 9);
        assert!(cache.find(&place(&last, None)).is_some());
    }

    #[test]
    fn a_file_keeps_what_still_holds_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.json");
        let clock = Clock::by_hand();
        let open = || ConfigCache::open_with_clock(&path, clock.clone());
        let list = configs();
        let first = open().unwrap();
        assert!(!path.exists());
        first.keep(place("a.test", Some(b"old")), list.clone(), 2 * HOUR);
        first.keep(place("b.test", None), list.clone(), HOUR / 2);
        clock.advance(HOUR);
        let second = open().unwrap();
        let [entry] = &second.entries()[..] else {
            panic!("{second:?}");
        };
        assert_eq!((entry.host.as_str(), entry.port), ("a.test", 443));
        assert_eq!(entry.published.as_deref(), Some(&b"old"[..]));
        assert_eq!(entry.configs, list);
        // The file counts in whole seconds.
        assert!(HOUR - entry.left <= Duration::from_secs(1));
        second.clear().unwrap();
        assert!(open().unwrap().entries().is_empty());
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
    }

    #[test]
    fn an_empty_file_is_an_empty_cache_and_a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        for content in ["", "\n"] {
            std::fs::write(file.path(), content).unwrap();
            let cache = ConfigCache::open(file.path()).unwrap();
            assert!(cache.entries().is_empty());
            cache.keep(place("a.test", None), configs(), HOUR);
            assert_eq!(ConfigCache::open(file.path()).unwrap().entries().len(), 1);
        }
        let error = ConfigCache::open(dir.path().join("none/cache.json")).unwrap_err();
        assert!(matches!(error, CacheError::NoFolder { .. }), "{error}");
        let folder = dir.path().join("none").display().to_string();
        assert!(error.to_string().contains(&folder), "{error}");
        assert!(ConfigCache::open("cache-of-this-test-that-is-never-made.json").is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn files_that_others_can_read_or_that_are_no_cache_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.json");
        let cache = ConfigCache::open(&path).unwrap();
        cache.keep(place("a.test", None), configs(), HOUR);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        for open in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(open)).unwrap();
            let error = ConfigCache::open(&path).unwrap_err();
            assert!(matches!(error, CacheError::Permissions { .. }), "{error}");
        }
        // Writing replaces the file, and its permissions with it.
        cache.keep(place("b.test", None), configs(), HOUR);
        assert_eq!(mode(), 0o600);
        for content in ["[]", "{\"version\":2,\"entries\":[]}", "{\"version\":1}"] {
            std::fs::write(&path, content).unwrap();
            let error = ConfigCache::open(&path).unwrap_err();
            assert!(matches!(error, CacheError::Content { .. }), "{content}");
        }
        let error = ConfigCache::open(dir.path()).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
