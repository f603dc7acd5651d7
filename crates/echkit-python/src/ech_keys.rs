//! The ECH keys of a server, from their files.

use std::path::PathBuf;

use echkit::server::{self, EchKeyFilesError, LoadKeysError, read_ech_key_files};
use pyo3::prelude::*;

use crate::failure::{file_error, ssl_error};
use crate::secret_file::{Digest, digest};

/// Keys that open hellos, and the configs that clients are sent who did not use any of them.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug)]
pub(crate) struct EchKeys {
    pub(crate) keys: server::EchKeys,
    digest: Digest,
}

#[pymethods]
impl EchKeys {
    /// Reads the file at `path`, or the files of the directory there.
    #[staticmethod]
    fn load(path: PathBuf) -> PyResult<Self> {
        let files = read_ech_key_files(&path).map_err(refused)?;
        let keys = files.keys().map_err(|error| refused(error.into()))?;
        let texts = files.files().iter().map(|file| file.text.as_slice());
        Ok(Self {
            keys,
            digest: digest(texts),
        })
    }

    /// What tells sets of keys apart without saying anything about them.
    #[getter]
    fn digest(&self) -> &[u8] {
        &self.digest
    }
}

fn refused(error: LoadKeysError) -> PyErr {
    match error {
        LoadKeysError::Read { path, error } => file_error(&path, &error),
        LoadKeysError::Files(error) => {
            let text = error.to_string();
            match error {
                EchKeyFilesError::File { .. } => ssl_error("PEM_LIB", &format!("PEM lib: {text}")),
                EchKeyFilesError::NoKey(_) => ssl_error("NO_ECH_KEY", &text),
                _ => ssl_error("BAD_ECHCONFIG", &text),
            }
        }
        other => ssl_error("NO_ECH_KEY", &other.to_string()),
    }
}
