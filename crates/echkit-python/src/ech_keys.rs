//! The ECH keys of a server, from the texts of their files.

use echkit::server;
use echkit_proto::key::EchKeyFile;
use pyo3::prelude::*;

use crate::failure::ssl_error;

/// Keys that open hellos, and the configs that clients are sent who did not use any of them.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug)]
pub(crate) struct EchKeys {
    pub(crate) keys: server::EchKeys,
}

#[pymethods]
impl EchKeys {
    /// From (name, text) of files as RFC 9934 has them, the newest first. All keys open hellos;
    /// the configs of the first file that holds a key are the retry_configs. Files without a
    /// private key are passed over.
    #[new]
    fn new(files: Vec<(String, Vec<u8>)>) -> PyResult<Self> {
        let mut retry = None;
        let mut keys = Vec::new();
        for (name, text) in files {
            let file = EchKeyFile::from_pem(&String::from_utf8_lossy(&text))
                .map_err(|error| ssl_error("PEM_LIB", &format!("PEM lib: {name}: {error}")))?;
            if !file.keys().is_empty() {
                retry.get_or_insert_with(|| file.list().clone());
                keys.extend_from_slice(file.keys());
            }
        }
        if keys.is_empty() {
            return Err(ssl_error("NO_ECH_KEY", "no file with an ECH private key"));
        }
        let keys = server::EchKeys::default()
            .with_retry_configs(retry)
            .and_then(|set| set.with_retired(keys))
            .map_err(|error| ssl_error("BAD_ECHCONFIG", &error.to_string()))?;
        Ok(Self { keys })
    }
}
