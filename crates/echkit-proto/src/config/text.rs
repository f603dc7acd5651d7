//! An ECHConfigList as people pass it around: base64, hexadecimal, or PEM (RFC 9934).

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

use super::{ConfigListError, EchConfigList};
use crate::key::{EchKeyFile, KeyFileError};

impl EchConfigList {
    /// Reads a list from base64 (as in zone files), hexadecimal, or PEM with an ECHCONFIG block.
    /// White space is ignored.
    ///
    /// # Errors
    ///
    /// When the text is none of these, or what it holds is not an ECHConfigList.
    pub fn from_text(text: &str) -> Result<Self, ConfigTextError> {
        if text.contains("-----BEGIN") {
            return Ok(EchKeyFile::from_pem(text)?.list().clone());
        }
        let packed: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        // Hexadecimal digits are base64 characters too; a list begins with its length, whose first
        // hexadecimal digit is 0 in all but giant lists, so try the narrower alphabet first.
        let bytes = match HEXLOWER_PERMISSIVE.decode(&packed) {
            Ok(bytes) if Self::parse(&bytes).is_ok() => bytes,
            _ => BASE64
                .decode(&packed)
                .or_else(|_| HEXLOWER_PERMISSIVE.decode(&packed))
                .map_err(|_| ConfigTextError::NeitherBase64NorHex)?,
        };
        Ok(Self::parse(&bytes)?)
    }

    /// The list in base64, as it stands in an `ech` SvcParam of a zone file (RFC 9848 §4).
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.encode())
    }
}

/// A text holds no ECHConfigList.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigTextError {
    /// No encoding fits.
    #[error("neither base64, hexadecimal nor PEM")]
    NeitherBase64NorHex,
    /// The bytes are not a list.
    #[error(transparent)]
    List(#[from] ConfigListError),
    /// The PEM file is broken.
    #[error(transparent)]
    Pem(#[from] KeyFileError),
}
