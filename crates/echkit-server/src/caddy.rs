//! ECH keys as Caddy keeps them: a folder for each, below `ech/configs` in its storage.
//!
//! The folder is named after the config_id and holds the ECHConfig (`config.bin`), the private key
//! as the KEM serialises it (`key.bin`), and when the key was made (`meta.json`).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use echkit_proto::config::{ConfigListError, EchConfig};
use echkit_proto::key::{EchKey, KeyError};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::key_directory::{KeyAccess, KeyDirectoryError, write_whole};

const CONFIG: &str = "config.bin";
const KEY: &str = "key.bin";
const META: &str = "meta.json";

/// A key in Caddy's storage that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaddyKeyError {
    /// A file cannot be read.
    #[error("{}: {error}; a key of Caddy's is a folder with config.bin and key.bin", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// `config.bin` holds no ECHConfig.
    #[error("{}: not an ECHConfig: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ConfigListError,
    },
    /// `config.bin` and `key.bin` are no key.
    #[error("{}: {error}", path.display())]
    Key {
        /// The folder.
        path: PathBuf,
        /// What is wrong with them.
        error: KeyError,
    },
    /// Caddy has a key with that config_id, which names the folder.
    #[error(
        "{}: Caddy has a key with this config_id; replace it only if no record names it any longer",
        .0.display()
    )]
    Exists(PathBuf),
    /// The folder cannot be written.
    #[error("{}: cannot be written: {error}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The private key cannot be had.
    #[error(transparent)]
    Private(#[from] echkit_proto::hpke::HpkeError),
}

/// Reads a key from its folder, such as `ech/configs/77` in Caddy's storage.
///
/// # Errors
///
/// When a file of it cannot be read, or the two do not belong together.
pub fn read_caddy_key(folder: impl AsRef<Path>) -> Result<EchKey, CaddyKeyError> {
    let folder = folder.as_ref();
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| CaddyKeyError::Read { path, error })
    };
    let private = Zeroizing::new(read(KEY)?);
    let config = EchConfig::parse(&read(CONFIG)?).map_err(|error| CaddyKeyError::Config {
        path: folder.join(CONFIG),
        error,
    })?;
    EchKey::new(config, private).map_err(|error| CaddyKeyError::Key {
        path: folder.to_owned(),
        error,
    })
}

/// Writes a key into Caddy's storage, and returns its folder. Its owner alone can read it: call this
/// as the user that Caddy runs as. Caddy loads it when it starts or loads its configuration.
///
/// # Errors
///
/// When it cannot be written, or Caddy has a key with this config_id and `replace` is not set.
pub fn write_caddy_key(
    storage: impl AsRef<Path>,
    key: &EchKey,
    replace: bool,
) -> Result<PathBuf, CaddyKeyError> {
    let ech = storage.as_ref().join("ech");
    let configs = ech.join("configs");
    let folder = configs.join(key.config_id().to_string());
    let private = key.private_key_bytes()?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        |error| CaddyKeyError::Write { path, error }
    };
    if folder.exists() && !replace {
        return Err(CaddyKeyError::Exists(folder));
    }
    private_folder(&configs).map_err(failed(&configs))?;
    // Beside the configs: Caddy refuses to start if something there is not a key.
    let beside = ech.join(format!(".{}", HEXLOWER.encode(&rand::random::<[u8; 8]>())));
    let write_file = |name: &str, bytes: &[u8]| {
        write_whole(&beside.join(name), bytes, KeyAccess::Owner, None).map_err(
            |error| match error {
                KeyDirectoryError::Write { error, .. } => error,
                other => io::Error::other(other),
            },
        )
    };
    let write = || -> io::Result<()> {
        private_folder(&beside)?;
        let made = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .map_err(io::Error::other)?;
        let meta = json!({ "created": made, "publications": null }).to_string();
        write_file(CONFIG, key.config().encoded())?;
        write_file(KEY, &private)?;
        write_file(META, meta.as_bytes())?;
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::rename(&beside, &folder)?;
        File::open(&configs)?.sync_all()
    };
    write().map_err(failed(&folder)).inspect_err(|_| {
        let _ = fs::remove_dir_all(&beside);
    })?;
    Ok(folder)
}

fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use echkit_proto::key::KeyParams;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_replaced_only_when_told() {
        let storage = tempfile::tempdir().unwrap();
        let params = KeyParams::new("public.example").unwrap().with_config_id(77);
        let key = EchKey::generate(&params).unwrap();
        let folder = write_caddy_key(storage.path(), &key, false).unwrap();
        assert_eq!(folder, storage.path().join("ech/configs/77"));
        let again = read_caddy_key(&folder).unwrap();
        assert_eq!(again.config(), key.config());
        assert_eq!(
            *again.private_key_bytes().unwrap(),
            *key.private_key_bytes().unwrap()
        );

        let other = EchKey::generate(&params).unwrap();
        let refused = write_caddy_key(storage.path(), &other, false).unwrap_err();
        assert!(refused.to_string().contains("config_id"), "{refused}");
        assert_eq!(read_caddy_key(&folder).unwrap().config(), key.config());
        write_caddy_key(storage.path(), &other, true).unwrap();
        assert_eq!(read_caddy_key(&folder).unwrap().config(), other.config());
        // Nothing is left over that Caddy would take for a key.
        assert_eq!(fs::read_dir(storage.path().join("ech")).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn its_owner_alone_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let storage = tempfile::tempdir().unwrap();
        let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
        let folder = write_caddy_key(storage.path(), &key, false).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for file in [CONFIG, KEY, META] {
            assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_place() {
        let storage = tempfile::tempdir().unwrap();
        let params = KeyParams::new("public.example").unwrap();
        let [key, other] =
            [1, 2].map(|id| EchKey::generate(&params.clone().with_config_id(id)).unwrap());
        let folder = write_caddy_key(storage.path(), &key, false).unwrap();
        fs::write(folder.join(KEY), &*other.private_key_bytes().unwrap()).unwrap();
        let mismatch = read_caddy_key(&folder).unwrap_err().to_string();
        assert!(mismatch.contains("ech/configs/1"), "{mismatch}");
        fs::write(folder.join(CONFIG), b"no config").unwrap();
        let broken = read_caddy_key(&folder).unwrap_err();
        assert!(matches!(broken, CaddyKeyError::Config { .. }), "{broken}");
        fs::remove_file(folder.join(KEY)).unwrap();
        let missing = read_caddy_key(&folder).unwrap_err();
        assert!(missing.to_string().contains("key.bin"), "{missing}");
    }
}
