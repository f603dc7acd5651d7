//! ECH keys from disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use echkit_tls::server::{EchKeyFiles, EchKeyFilesError, EchKeys, KeyFileText};
use zeroize::Zeroizing;

/// Reads the ECH keys of a server: from a file of RFC 9934, as `ech keygen` and `openssl ech`
/// write it, or from a directory of such files.
///
/// Of a directory, `*.ech` and those `*.pem` with an `ECHCONFIG` block count. All their keys open
/// hellos; the configs of the newest file are what rejected clients are sent. To rotate, write a
/// new file, publish its configs in DNS, and load again:
///
/// ```
/// # use echkit_proto::key::{EchKey, KeyFileError, KeyParams};
/// use echkit::server::{EchKeyHandle, load_ech_keys};
///
/// # let directory = std::env::temp_dir().join(format!("echkit-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let write = |name: &str, id| -> Result<(), Box<dyn std::error::Error>> {
/// #     let mut params = KeyParams::new("public.example")?;
/// #     params.config_id = Some(id);
/// #     std::fs::write(directory.join(name), EchKey::generate(&params)?.to_pem()?)?;
/// #     Ok(())
/// # };
/// # write("1-march.ech", 1)?;
/// let keys = EchKeyHandle::new(load_ech_keys(&directory)?);
/// // … an acceptor has a clone of the handle. Later there is a newer file:
/// # write("2-april.ech", 2)?;
/// keys.store(load_ech_keys(&directory)?);
/// assert_eq!(keys.load().keys().len(), 2);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// This blocks while it reads: on a runtime of tokio, call it by `spawn_blocking`. Memory that held
/// a private key is overwritten.
///
/// # Errors
///
/// When a file or the directory cannot be read, a file is broken, or there is no private key.
/// Nothing is loaded then: keep the keys that are in use.
pub fn load_ech_keys(path: impl AsRef<Path>) -> Result<EchKeys, LoadKeysError> {
    Ok(read_ech_key_files(path)?.keys()?)
}

/// Reads the files that [`load_ech_keys`] takes keys from, for callers that look at them first.
///
/// # Errors
///
/// When one of them or the directory cannot be read.
pub fn read_ech_key_files(path: impl AsRef<Path>) -> Result<EchKeyFiles, LoadKeysError> {
    let path = path.as_ref();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| LoadKeysError::Read { path, error }
    };
    if !path.is_dir() {
        return read(path).map(EchKeyFiles::single).map_err(failed(path));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed(path))? {
        let file = entry.map_err(failed(path))?.path();
        if EchKeyFiles::may_count(&file) && file.is_file() {
            files.push(read(&file).map_err(failed(&file))?);
        }
    }
    Ok(EchKeyFiles::of_directory(path, files))
}

fn read(path: &Path) -> io::Result<KeyFileText> {
    Ok(KeyFileText {
        path: path.to_owned(),
        modified: fs::metadata(path)?.modified()?,
        text: read_secret_file(path)?,
    })
}

/// Reads a file that may hold a private key, such as that of a certificate. The memory is
/// overwritten when it is dropped, and no other copy is left behind.
///
/// # Errors
///
/// When the file cannot be read.
pub fn read_secret_file(path: impl AsRef<Path>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    // One more than there is, so that the end shows without another buffer.
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut buffer = Zeroizing::new(vec![0; expected.saturating_add(1).max(1024)]);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            // A pipe, or a file that grows. A `Vec` that grows by itself leaves its old memory as
            // it was.
            let mut larger = Zeroizing::new(vec![0; 2 * filled]);
            larger[..filled].copy_from_slice(&buffer);
            buffer = larger;
        }
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// ECH keys that could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadKeysError {
    /// A file or directory cannot be read.
    #[error("{}: {error}; the path must exist and be readable", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The files do not make a server's keys.
    #[error(transparent)]
    Files(#[from] EchKeyFilesError),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, SystemTime};

    use echkit_proto::key::{EchKey, KeyFileError, KeyParams};
    use echkit_tls::server::EchKeyHandle;
    use tempfile::TempDir;

    use super::*;

    fn key(id: u8) -> String {
        let mut params = KeyParams::new("public.example").unwrap();
        params.config_id = Some(id);
        EchKey::generate(&params).unwrap().to_pem().unwrap()
    }

    /// Writes a file of that age in seconds.
    fn write(directory: &TempDir, name: &str, age: u64, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let modified = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(modified).unwrap();
        path
    }

    fn published(keys: &EchKeys) -> u8 {
        let configs = keys.retry_configs().unwrap().configs();
        configs[0].contents().unwrap().config_id
    }

    #[test]
    fn a_directory_is_loaded_again_after_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory, "b.ech", 100, &key(1));
        write(&directory, "a.pem", 50, &key(2));
        fs::create_dir(directory.path().join("old.ech")).unwrap();
        let handle = EchKeyHandle::new(load_ech_keys(&directory).unwrap());
        assert_eq!(
            (handle.load().keys().len(), published(&handle.load())),
            (2, 2)
        );

        write(&directory, "0.ech", 10, &key(3));
        handle.store(load_ech_keys(&directory).unwrap());
        assert_eq!(
            (handle.load().keys().len(), published(&handle.load())),
            (3, 3)
        );
    }

    #[test]
    fn a_file_is_loaded_whatever_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(&directory, "server.key", 0, &key(4));
        assert_eq!(published(&load_ech_keys(path).unwrap()), 4);
    }

    #[test]
    fn one_broken_file_loads_nothing_and_is_named() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory, "good.ech", 0, &key(5));
        let bad = write(&directory, "bad.ech", 100, "nothing");
        let error = load_ech_keys(&directory).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: {}", bad.display(), KeyFileError::NotPem)
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.ech");
        let error = load_ech_keys(&missing).unwrap_err();
        assert!(matches!(&error, LoadKeysError::Read { path, .. } if *path == missing));
        let named = format!("{}: ", missing.display());
        assert!(error.to_string().starts_with(&named), "{error}");
        let error = load_ech_keys(&directory).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no file with an ECH private key")
        );
    }

    #[test]
    fn a_secret_file_is_read_to_its_end_however_long_it_is() {
        let directory = tempfile::tempdir().unwrap();
        for len in [0, 1, 1023, 1024, 1025, 70_000] {
            let path = directory.path().join("file");
            fs::write(&path, vec![7; len]).unwrap();
            assert_eq!(*read_secret_file(&path).unwrap(), vec![7; len]);
        }
    }
}
