//! What users hand in: a text, `@file`, or standard input.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use echkit_proto::config::EchConfigList;

use crate::failure::Failure;

/// Files larger than this are not what any command here reads.
const MAX_FILE: u64 = 16 << 20;

/// Reads a file.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let failed = |error: io::Error| Failure::read(format!("cannot read {shown}: {error}"));
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(Failure::read(format!(
            "{shown} is larger than {} MiB",
            MAX_FILE >> 20
        ))),
        false => Ok(bytes),
    }
}

/// Reads standard input to its end.
pub(crate) fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::read(format!("cannot read standard input: {error}")))?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(Failure::read(format!(
            "standard input is longer than {} MiB",
            MAX_FILE >> 20
        ))),
        false => Ok(bytes),
    }
}

/// `@FILE` is the file's contents, `-` and `@-` standard input, anything else itself.
pub(crate) fn text_or_file(argument: &str) -> Result<Vec<u8>, Failure> {
    match argument.strip_prefix('@') {
        Some("-") => stdin(),
        Some(path) => file(Path::new(path)),
        None if argument == "-" => stdin(),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

/// The list given by hand with `--ech-config`.
pub(crate) fn ech_config(argument: &str) -> Result<EchConfigList, Failure> {
    let bytes = text_or_file(argument)?;
    EchConfigList::from_bytes_or_text(bytes)
        .map_err(|error| Failure::usage(format!("--ech-config is not an ECHConfigList: {error}")))
}
