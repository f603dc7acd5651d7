//! ECH key files: a private key and an ECHConfigList in PEM (RFC 9934 §3).

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::file_error::KeyFileError;
use super::{EchKey, pkcs8};
use crate::config::EchConfigList;
use crate::pem;

const PRIVATE_KEY: &str = "PRIVATE KEY";
pub(crate) const ECHCONFIG: &str = "ECHCONFIG";
/// What every PEM text has somewhere.
const BEGIN: &[u8] = b"-----BEGIN";

/// A file of RFC 9934: an ECHConfigList, and the private key of one of its configs where the file
/// is the server's own.
#[derive(Clone)]
pub struct EchKeyFile {
    list: EchConfigList,
    keys: Vec<EchKey>,
}

impl EchKeyFile {
    /// Reads the text of a file, without copies of a private key. What follows the ECHCONFIG block
    /// is ignored, as RFC 9934 asks for.
    ///
    /// # Errors
    ///
    /// When there is no ECHCONFIG block, a block is broken, the private key is encrypted or of an
    /// unknown kind, or it belongs to none of the configs.
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, KeyFileError> {
        let text = text.as_ref();
        let mut private = None;
        let mut encrypted = false;
        let mut list = None;
        for block in pem::blocks(text) {
            match block.label() {
                ECHCONFIG => {
                    list = Some(EchConfigList::parse(&bytes(&block, ECHCONFIG)?)?);
                    break;
                }
                PRIVATE_KEY if private.is_none() => private = Some(bytes(&block, PRIVATE_KEY)?),
                "ENCRYPTED PRIVATE KEY" => encrypted = true,
                _ => {}
            }
        }
        if encrypted {
            return Err(KeyFileError::Encrypted);
        }
        let list =
            list.ok_or_else(
                || match text.windows(BEGIN.len()).any(|window| window == BEGIN) {
                    true => KeyFileError::NoEchConfig,
                    false => KeyFileError::NotPem,
                },
            )?;
        let Some(der) = private else {
            return Ok(Self {
                list,
                keys: Vec::new(),
            });
        };
        let private = Arc::new(pkcs8::decode(&der)?);
        let keys: Vec<EchKey> = list
            .configs()
            .iter()
            .filter_map(|config| EchKey::pair(config, &private).ok())
            .collect();
        match keys.is_empty() {
            true => Err(KeyFileError::Mismatch),
            false => Ok(Self { list, keys }),
        }
    }

    /// Writes the file: the private key first, where there is one, then the list.
    ///
    /// # Errors
    ///
    /// When the private key cannot be written as PKCS#8.
    pub fn to_pem(&self) -> Result<String, KeyFileError> {
        let mut out = String::new();
        if let Some(key) = self.keys.first() {
            let contents = key.contents();
            let private = key
                .private_key_bytes()
                .map_err(|error| KeyFileError::PrivateKey(format!("cannot be written: {error}")))?;
            let der = pkcs8::encode(contents.kem, &private, &contents.public_key)?;
            out.push_str(&encode(PRIVATE_KEY, &der)?);
        }
        out.push_str(&encode(ECHCONFIG, &self.list.encode())?);
        Ok(out)
    }

    /// The list in the file: what is published.
    pub fn list(&self) -> &EchConfigList {
        &self.list
    }

    /// The keys: one for each config of the list that the private key belongs to. Empty for a
    /// public-only file.
    pub fn keys(&self) -> &[EchKey] {
        &self.keys
    }
}

impl From<EchKey> for EchKeyFile {
    fn from(key: EchKey) -> Self {
        Self {
            list: EchConfigList::from(key.config().clone()),
            keys: vec![key],
        }
    }
}

impl From<EchConfigList> for EchKeyFile {
    /// A public-only file.
    fn from(list: EchConfigList) -> Self {
        Self {
            list,
            keys: Vec::new(),
        }
    }
}

/// Shows the list and whether there is a key, never the key.
impl fmt::Debug for EchKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchKeyFile")
            .field("list", &self.list)
            .field("has_private_key", &!self.keys.is_empty())
            .finish()
    }
}

fn bytes(block: &pem::Block<'_>, label: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    block.decode().map_err(|_| KeyFileError::BrokenBlock(label))
}

fn encode(label: &'static str, bytes: &[u8]) -> Result<String, KeyFileError> {
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, bytes)
        .map_err(|_| KeyFileError::BrokenBlock(label))
}
