//! The files that a server's ECH keys are in: which of a directory count, and what each is for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::keys::{EchKeys, EchKeysError};
use crate::key::{ECHCONFIG, EchKeyFile, KeyFileError};
use crate::pem;

/// One file as it was read.
pub struct KeyFileText {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// When it was last written.
    pub modified: SystemTime,
    /// What is in it, which may be a private key.
    pub text: Zeroizing<Vec<u8>>,
}

/// Shows nothing of the text.
impl fmt::Debug for KeyFileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFileText")
            .field("path", &self.path)
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

/// The key files of a server, newest first: all of a directory, or a single one.
///
/// A directory serves rotation. Every private key in it opens hellos, and the ECHConfigList of the
/// newest file with a private key is what rejected clients are sent (RFC 9849 §7.1). Of files
/// written in the same instant, the one with the greater name is the newer one.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use echkit_proto::key::{EchKey, KeyParams};
/// use echkit_proto::server::{EchKeyFiles, KeyFileText};
///
/// let file = |path: &str, age: u64| -> Result<_, Box<dyn std::error::Error>> {
///     let key = EchKey::generate(&KeyParams::new("public.example")?)?;
///     let file = KeyFileText {
///         path: path.into(),
///         modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - age),
///         text: key.to_pem()?.into_bytes().into(),
///     };
///     Ok((key, file))
/// };
/// let ((_, old), (new_key, new)) = (file("keys/march.ech", 60)?, file("keys/april.ech", 0)?);
/// let keys = EchKeyFiles::of_directory("keys", vec![old, new]).keys()?;
/// assert_eq!(keys.keys().len(), 2);
/// let published = keys.retry_configs().ok_or("nothing is published")?;
/// assert_eq!(published.configs(), [new_key.config().clone()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EchKeyFiles {
    path: PathBuf,
    files: Vec<KeyFileText>,
}

impl EchKeyFiles {
    /// Whether a file of a directory is read at all: `*.ech` and `*.pem`.
    pub fn may_count(path: &Path) -> bool {
        ending(path).is_some()
    }

    /// The files of the directory at `path`. Those count that are named `*.ech`, and those named
    /// `*.pem` that have an `ECHCONFIG` block: others of that name hold certificates.
    pub fn of_directory(path: impl Into<PathBuf>, mut files: Vec<KeyFileText>) -> Self {
        files.retain(|file| match ending(&file.path) {
            Some(Ending::Ech) => true,
            Some(Ending::Pem) => pem::blocks(&file.text).any(|block| block.label() == ECHCONFIG),
            None => false,
        });
        files.sort_by(|a, b| (b.modified, &b.path).cmp(&(a.modified, &a.path)));
        Self {
            path: path.into(),
            files,
        }
    }

    /// One file, whatever its name.
    pub fn single(file: KeyFileText) -> Self {
        Self {
            path: file.path.clone(),
            files: vec![file],
        }
    }

    /// The files that count, newest first.
    pub fn files(&self) -> &[KeyFileText] {
        &self.files
    }

    /// The keys in the files, and what is sent to clients whose offers they do not open. Files
    /// without a private key are passed over.
    ///
    /// # Errors
    ///
    /// When a file is broken, no file has a private key, or the keys cannot be used together: one
    /// broken file refuses all, so that no key is missed without a word.
    pub fn keys(&self) -> Result<EchKeys, EchKeyFilesError> {
        let mut published = None;
        let mut keys = Vec::new();
        for KeyFileText { path, text, .. } in &self.files {
            let file = EchKeyFile::from_pem(text).map_err(|error| EchKeyFilesError::File {
                path: path.clone(),
                error,
            })?;
            if !file.keys().is_empty() {
                published.get_or_insert_with(|| file.list().clone());
                keys.extend_from_slice(file.keys());
            }
        }
        if keys.is_empty() {
            return Err(EchKeyFilesError::NoKey(self.path.clone()));
        }
        EchKeys::default()
            .with_retry_configs(published)
            .and_then(|set| set.with_retired(keys))
            .map_err(|error| EchKeyFilesError::Keys {
                path: self.path.clone(),
                error,
            })
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Ech,
    Pem,
}

fn ending(path: &Path) -> Option<Ending> {
    match path.extension()?.to_str()? {
        "ech" => Some(Ending::Ech),
        "pem" => Some(Ending::Pem),
        _ => None,
    }
}

/// Files that a server cannot take its ECH keys from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EchKeyFilesError {
    /// A file is broken.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyFileError,
    },
    /// There is no file, or none has a private key.
    #[error(
        "{}: no file with an ECH private key (*.ech, or *.pem with an ECHCONFIG block); make one with `ech keygen`",
        .0.display()
    )]
    NoKey(PathBuf),
    /// The keys cannot be used together.
    #[error("{}: {error}", path.display())]
    Keys {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with them.
        error: EchKeysError,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::config::EchConfigList;
    use crate::key::{EchKey, KeyParams};

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAQI=\n-----END CERTIFICATE-----\n";

    fn key(id: u8) -> EchKey {
        let mut params = KeyParams::new("public.example").unwrap();
        params.config_id = Some(id);
        EchKey::generate(&params).unwrap()
    }

    fn file(name: &str, written: u64, text: &str) -> KeyFileText {
        KeyFileText {
            path: Path::new("keys").join(name),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(written),
            text: text.as_bytes().to_vec().into(),
        }
    }

    /// The config_ids that open, and those that are published.
    fn ids(files: Vec<KeyFileText>) -> (Vec<u8>, Vec<u8>) {
        let keys = EchKeyFiles::of_directory("keys", files).keys().unwrap();
        let published = keys.retry_configs().unwrap().configs();
        (
            keys.keys().iter().map(|key| key.config_id()).collect(),
            published
                .iter()
                .map(|config| config.contents().unwrap().config_id)
                .collect(),
        )
    }

    fn refusal(files: Vec<KeyFileText>) -> EchKeyFilesError {
        EchKeyFiles::of_directory("keys", files).keys().unwrap_err()
    }

    #[test]
    fn every_key_opens_and_the_newest_file_is_published() {
        let [a, b, c] = [1, 2, 3].map(|id| key(id).to_pem().unwrap());
        let files = vec![
            file("a.ech", 20, &a),
            file("b.pem", 30, &b),
            file("c.ech", 10, &c),
        ];
        assert_eq!(ids(files), (vec![2, 1, 3], vec![2]));
    }

    #[test]
    fn of_equal_age_the_greater_name_is_newer() {
        let [a, b] = [1, 2].map(|id| key(id).to_pem().unwrap());
        let files = |first, second| vec![file(first, 5, &a), file(second, 5, &b)];
        assert_eq!(ids(files("a.ech", "b.ech")).1, [2]);
        assert_eq!(ids(files("b.ech", "a.ech")).1, [1]);
    }

    #[test]
    fn certificates_other_endings_and_files_without_a_private_key_are_passed_over() {
        let public = EchKeyFile::from(EchConfigList::from(key(9).config().clone()));
        let files = vec![
            file("site.pem", 50, CERTIFICATE),
            file("broken.txt", 50, "-----BEGIN ECHCONFIG-----"),
            file("ech", 50, "-----BEGIN ECHCONFIG-----"),
            file("public.ech", 50, &public.to_pem().unwrap()),
            file("key.ech", 10, &key(7).to_pem().unwrap()),
        ];
        assert_eq!(ids(files), (vec![7], vec![7]));
        let counts = |name: &str| EchKeyFiles::may_count(Path::new(name));
        assert!(counts("a.ech") && counts("keys.d/a.b.pem"));
        assert!(!counts("a.txt") && !counts("pem") && !counts("a.ech.bak") && !counts("a.PEM"));
    }

    #[test]
    fn one_broken_file_refuses_all_and_is_named() {
        let good = key(1).to_pem().unwrap();
        for (name, text) in [
            ("bad.ech", "nothing"),
            ("bad.ech", CERTIFICATE),
            ("bad.pem", "-----BEGIN ECHCONFIG-----\nAQI=\n"),
            (
                "bad.ech",
                "-----BEGIN ECHCONFIG-----\n\u{fffd}\n-----END ECHCONFIG-----",
            ),
        ] {
            let error = refusal(vec![file("good.ech", 20, &good), file(name, 10, text)]);
            assert!(matches!(error, EchKeyFilesError::File { .. }), "{error:?}");
            let named = format!("keys{}{name}: ", std::path::MAIN_SEPARATOR);
            assert!(error.to_string().starts_with(&named), "{error}");
        }
    }

    #[test]
    fn a_directory_without_a_private_key_is_refused() {
        let public = EchKeyFile::from(EchConfigList::from(key(9).config().clone()));
        let public = file("public.ech", 1, &public.to_pem().unwrap());
        for files in [vec![], vec![public]] {
            let error = refusal(files);
            assert_eq!(error, EchKeyFilesError::NoKey("keys".into()));
            assert!(error.to_string().contains("ech keygen"), "{error}");
        }
    }

    #[test]
    fn too_many_keys_of_one_config_id_are_refused_with_the_directory() {
        let files = (0..5).map(|n| file(&format!("{n}.ech"), n, &key(4).to_pem().unwrap()));
        let error = refusal(files.collect());
        assert!(
            error.to_string().starts_with("keys: more than 4"),
            "{error}"
        );
    }

    #[test]
    fn a_single_file_counts_whatever_its_name() {
        let file = file("server.key", 1, &key(3).to_pem().unwrap());
        assert!(!format!("{file:?}").contains("PRIVATE"));
        let keys = EchKeyFiles::single(file).keys().unwrap();
        assert_eq!(keys.keys()[0].config_id(), 3);
    }
}
