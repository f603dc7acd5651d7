//! Files that may hold private keys: read without leaving copies, and told apart without keeping
//! what is in them.

use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use echkit::server::read_secret_file;
use pyo3::prelude::*;
use zeroize::Zeroizing;

use crate::failure::file_error;

/// The bytes of a file, overwritten when they are dropped.
pub(crate) fn read(path: &Path) -> PyResult<Zeroizing<Vec<u8>>> {
    read_secret_file(path).map_err(|error| file_error(path, &error))
}

/// A digest that identifies a secret where secrets are compared: useless without this process' own
/// random key.
pub(crate) type Digest = [u8; 32];

/// The digest of several secrets.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        hmac::Key::new(hmac::HMAC_SHA256, &*key)
    });
    let mut context = hmac::Context::with_key(&KEY);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    // A whole block of padding, which takes the place of the last bytes in the hash's buffer.
    context.update(&[0; 64]);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}
