//! The cache as a file: JSON, for its owner alone, replaced as a whole.

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

/// The entries in a file; none when there is no file.
pub(super) fn read(path: &Path) -> Result<Vec<(Place, EchConfigList, SystemTime)>, CacheError> {
    let failed = |source| CacheError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
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
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(CacheError::Permissions {
                path: path.to_owned(),
            });
        }
    }
    let mut text = String::new();
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let document: Document =
        serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
    if document.version != VERSION {
        return Err(content(format!("its version is {}", document.version)));
    }
    // One entry that does not parse must not take the others with it.
    Ok(document.entries.into_iter().filter_map(decode).collect())
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

/// Replaces the file: whoever reads it sees the old one or the new one.
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

/// A name in the same folder that nobody else uses.
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
