//! Files that may hold private keys: read without leaving copies, and told apart without keeping
//! what is in them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use zeroize::Zeroizing;

/// The bytes of a file, overwritten when they are dropped.
pub(crate) fn read(path: &Path) -> PyResult<Zeroizing<Vec<u8>>> {
    read_all(path).map_err(|error| match error.raw_os_error() {
        Some(number) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            PyOSError::new_err((number, text.to_owned(), path.as_os_str().to_owned()))
        }
        None => PyOSError::new_err(format!("{}: {error}", path.display())),
    })
}

fn read_all(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
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

/// What stands for secrets where they are compared: of no use to anyone without this process' own
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
