//! The cache as a file: JSON, for its owner only, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use echkit_proto::config::EchConfigList;
use serde::{Deserialize, Serialize};

use super::cache_error::CacheError;
use super::place::Place;

/// A file of more than this is none of ours.
const MAX_FILE: u64 = 64 << 20;
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
struct Document {
    version: u32,
    entries: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    host: String,
    port: u16,
    /// In base64.
    published: Option<String>,
    configs: String,
    /// Seconds since 1970.
    until: u64,
}

/// The entries in a file; none when there is no file, or an empty one.
pub(super) fn read(path: &Path) -> Result<Vec<(Place, EchConfigList, SystemTime)>, CacheError> {
    let failed = |source| CacheError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return has_folder(path).map(|()| Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let content = |reason: String| CacheError::Content {
        path: path.to_owned(),
        reason,
    };
    if !metadata.is_file() {
        return Err(content("it is no file".to_owned()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let user = rustix::process::geteuid().as_raw();
        check_access(path, metadata.uid(), metadata.mode(), user)?;
    }
    let mut text = String::new();
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    // As `mktemp` makes them.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document: Document =
        serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
    if document.version != VERSION {
        return Err(content(format!("its version is {}", document.version)));
    }
    // One entry that does not parse must not take the others with it.
    Ok(document.entries.into_iter().filter_map(decode).collect())
}

/// The file is this user's, and no other user may read or write it. The user is the effective one,
/// so that a program that runs as root does not believe a file of somebody else's in a shared
/// folder.
#[cfg(unix)]
fn check_access(path: &Path, owner: u32, mode: u32, user: u32) -> Result<(), CacheError> {
    let path = path.to_owned();
    match owner == user {
        false => Err(CacheError::Owner { path, owner }),
        true if mode & 0o077 != 0 => Err(CacheError::Permissions { path }),
        true => Ok(()),
    }
}

/// A file that is not there can be made later only where its folder is.
fn has_folder(path: &Path) -> Result<(), CacheError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(CacheError::NoFolder {
            path: path.to_owned(),
            folder: folder.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn decode(entry: Entry) -> Option<(Place, EchConfigList, SystemTime)> {
    let published = match entry.published {
        Some(text) => Some(BASE64.decode(text.as_bytes()).ok()?),
        None => None,
    };
    let configs = BASE64.decode(entry.configs.as_bytes()).ok()?;
    let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.until))?;
    let place = Place {
        host: entry.host,
        port: entry.port,
        published,
    };
    Some((place, EchConfigList::parse(&configs).ok()?, until))
}

/// Replaces the file atomically: a reader sees the old one or the new one.
pub(super) fn write<'a>(
    path: &Path,
    entries: impl Iterator<Item = (&'a Place, &'a EchConfigList, SystemTime)>,
) -> Result<(), CacheError> {
    let entries = entries
        .map(|(place, configs, until)| Entry {
            host: place.host.clone(),
            port: place.port,
            published: place.published.as_deref().map(|list| BASE64.encode(list)),
            configs: BASE64.encode(&configs.encode()),
            until: until
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        })
        .collect();
    let document = Document {
        version: VERSION,
        entries,
    };
    let beside = beside(path);
    let write = || {
        let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other)?;
        let mut file = create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&beside);
        CacheError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        }
    })
}

/// An unused name in the same folder.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}", rand::random::<u64>()));
    path.with_file_name(name)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_taken_from_its_owner_alone_and_never_where_others_may_read_or_write_it() {
        const ROOT: u32 = 0;
        let path = Path::new("cache.json");
        let check =
            |owner: u32, mode: u32, user: u32| check_access(path, owner, 0o100_000 | mode, user);
        for user in [ROOT, 1000] {
            for mode in [0o600, 0o400, 0o700] {
                check(user, mode, user).unwrap();
            }
            for mode in [0o640, 0o620, 0o604, 0o602, 0o610, 0o601, 0o666] {
                let error = check(user, mode, user).unwrap_err();
                assert!(matches!(error, CacheError::Permissions { .. }), "{mode:o}");
            }
        }
        for (owner, user) in [(1000, ROOT), (ROOT, 1000), (1001, 1000)] {
            for mode in [0o600, 0o644] {
                let error = check(owner, mode, user).unwrap_err();
                assert!(matches!(error, CacheError::Owner { .. }), "{mode:o}");
                let text = error.to_string();
                assert!(text.contains(&format!("uid {owner}")), "{text}");
            }
        }
    }

    /// Only root can give a file away; for others the rule is tested above.
    #[test]
    fn a_strangers_file_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.json");
        write(&path, std::iter::empty()).unwrap();
        assert!(read(&path).unwrap().is_empty());
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_err() {
            assert!(!rustix::process::geteuid().is_root());
            return;
        }
        let before = fs::read(&path).unwrap();
        let error = read(&path).unwrap_err();
        let CacheError::Owner { owner, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(owner, 12_345);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
