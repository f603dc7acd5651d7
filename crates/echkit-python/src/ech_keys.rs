//! The ECH keys of a server, from their files.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use echkit_proto::key::EchKeyFile;
use echkit_tls::server;
use pyo3::prelude::*;
use zeroize::Zeroizing;

use crate::failure::ssl_error;
use crate::secret_file::{Digest, digest, read};

/// Keys that open hellos, and the configs that clients are sent who did not use any of them.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug)]
pub(crate) struct EchKeys {
    pub(crate) keys: server::EchKeys,
    digest: Digest,
}

#[pymethods]
impl EchKeys {
    /// Reads the file at `path`, or the files of the folder there, as RFC 9934 has them.
    #[staticmethod]
    fn load(path: PathBuf) -> PyResult<Self> {
        let files = match path.is_dir() {
            true => folder(&path)?,
            false => vec![(path.display().to_string(), read(&path)?)],
        };
        let keys = keys(&files)?;
        let parts = files.iter().map(|(_, text)| text.as_slice());
        Ok(Self {
            keys,
            digest: digest(parts),
        })
    }

    /// What tells sets of keys apart without saying anything about them.
    #[getter]
    fn digest(&self) -> &[u8] {
        &self.digest
    }
}

/// A file's name and text.
type KeyText = (String, Zeroizing<Vec<u8>>);

/// The files of a folder that hold ECH keys, the newest first: `*.ech`, and those `*.pem` with an
/// ECHCONFIG block.
fn folder(path: &Path) -> PyResult<Vec<KeyText>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        if !matches!(ending, Some("ech" | "pem")) || !file.is_file() {
            continue;
        }
        let text = read(&file)?;
        let labelled = || echkit_proto::pem::blocks(&text).any(|b| b.label() == "ECHCONFIG");
        if ending == Some("ech") || labelled() {
            let modified: SystemTime = file.metadata()?.modified()?;
            found.push((modified, file, text));
        }
    }
    found.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
    Ok(found
        .into_iter()
        .map(|(_, file, text)| (file.display().to_string(), text))
        .collect())
}

/// All keys open hellos; the configs of the first file that holds a key are the retry_configs.
/// Files without a private key are passed over.
fn keys(files: &[KeyText]) -> PyResult<server::EchKeys> {
    let mut retry = None;
    let mut keys = Vec::new();
    for (name, text) in files {
        let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
        let file = EchKeyFile::from_pem(&text)
            .map_err(|error| ssl_error("PEM_LIB", &format!("PEM lib: {name}: {error}")))?;
        if !file.keys().is_empty() {
            retry.get_or_insert_with(|| file.list().clone());
            keys.extend_from_slice(file.keys());
        }
    }
    if keys.is_empty() {
        return Err(ssl_error("NO_ECH_KEY", "no file with an ECH private key"));
    }
    server::EchKeys::default()
        .with_retry_configs(retry)
        .and_then(|set| set.with_retired(keys))
        .map_err(|error| ssl_error("BAD_ECHCONFIG", &error.to_string()))
}
