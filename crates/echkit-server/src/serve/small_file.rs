//! Small files: found, checked and read in one go.
//!
//! A server of many small pages spends its time between threads: each step of finding, opening and
//! reading a file is a task of its own for `ServeDir`, and head and body leave apart.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use hyper::Response;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LAST_MODIFIED};

use super::body::{ResponseBody, whole};

/// Up to how many bytes a file is small.
const SMALL: u64 = 64 * 1024;

/// What a path leads to.
pub(super) enum Found {
    /// A small file that is wanted whole.
    Small(SmallFile),
    /// Something below the root.
    Inside,
}

/// A file that was read.
pub(super) struct SmallFile {
    bytes: Vec<u8>,
    content_type: HeaderValue,
    modified: Option<SystemTime>,
}

/// Finds what `relative` is below the root, by its real path, and reads it if it is small and
/// `wanted`. It blocks.
///
/// # Errors
///
/// When it is not there, cannot be read, or is elsewhere by its real path.
pub(super) fn find(root: &Path, relative: &Path, wanted: bool) -> io::Result<Found> {
    let real_root = root.canonicalize()?;
    let real = root.join(relative).canonicalize()?;
    if !real.starts_with(real_root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if !wanted {
        return Ok(Found::Inside);
    }
    let known = std::fs::metadata(&real)?;
    if !known.is_file() || known.len() > SMALL {
        return Ok(Found::Inside);
    }
    // The real path, so that no link leads elsewhere meanwhile.
    let file = File::open(&real)?;
    let mut bytes = Vec::with_capacity(usize::try_from(known.len()).unwrap_or_default() + 1);
    file.take(SMALL + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SMALL {
        return Ok(Found::Inside); // it has grown
    }
    let guessed = mime_guess::from_path(relative).first_raw();
    let content_type = guessed.unwrap_or("application/octet-stream");
    Ok(Found::Small(SmallFile {
        bytes,
        content_type: HeaderValue::from_static(content_type),
        modified: known.modified().ok(),
    }))
}

impl SmallFile {
    /// The same response that `ServeDir` gives.
    pub(super) fn response(self) -> Response<ResponseBody> {
        let length = HeaderValue::from(self.bytes.len());
        let mut response = Response::new(whole(self.bytes));
        let fields = response.headers_mut();
        // That of an empty file too.
        fields.insert(CONTENT_LENGTH, length);
        fields.insert(CONTENT_TYPE, self.content_type);
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let modified = self.modified.map(httpdate::fmt_http_date);
        if let Some(Ok(modified)) = modified.map(HeaderValue::try_from) {
            fields.insert(LAST_MODIFIED, modified);
        }
        response
    }
}
