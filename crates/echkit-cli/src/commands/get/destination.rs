//! Where the body goes: stdout or a file, from its start or from where it ended.

use std::path::{Path, PathBuf};

use echkit::http::Response;
use http::StatusCode;
use http::header::CONTENT_RANGE;
use url::Url;

use crate::cli::GetArgs;
use crate::commands::network::with_scheme;
use crate::failure::Failure;

/// Where the body goes.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// `None` is stdout.
    pub(super) path: Option<PathBuf>,
    /// Stdout was named, so that binary bodies are meant for it.
    pub(super) named_stdout: bool,
    /// How much of it is there already (`-C`).
    pub(super) offset: u64,
}

impl Destination {
    pub(super) fn from_args(args: &GetArgs) -> Result<Self, Failure> {
        let named_stdout = args.output.as_deref() == Some(Path::new("-"));
        let path = match (&args.output, args.remote_name) {
            _ if named_stdout => None,
            (Some(path), _) => Some(path.clone()),
            (None, true) => Some(remote_name(&args.url)?),
            (None, false) => None,
        };
        let offset = match (args.curl.continue_at.as_deref(), &path) {
            (None, _) => 0,
            (Some("-"), Some(path)) => match std::fs::metadata(path) {
                Ok(found) => found.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                Err(error) => {
                    let shown = path.display();
                    return Err(Failure::read(format!("cannot read {shown}: {error}")));
                }
            },
            (Some("-"), None) => return Err(Failure::usage("-C - needs -o FILE or -O")),
            (Some(text), _) => text.parse().map_err(|_| {
                Failure::usage(format!("-C {text:?}: write a number of bytes, or -"))
            })?,
        };
        Ok(Self {
            path,
            named_stdout,
            offset,
        })
    }

    /// Whether the response continues from the offset; false where all of it is there already.
    pub(super) fn goes_on(&self, response: &Response) -> Result<bool, Failure> {
        if self.offset == 0 {
            return Ok(true);
        }
        let range = response.headers().get(CONTENT_RANGE);
        let range = range
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let range = range.strip_prefix("bytes ").unwrap_or(range);
        let offset = self.offset;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let start = range
                    .split('-')
                    .next()
                    .and_then(|text| text.trim().parse().ok());
                match start == Some(offset) {
                    true => Ok(true),
                    false => Err(Failure::range(format!(
                        "-C: the server sent a different range than the one from byte {offset}"
                    ))),
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = range.strip_prefix("*/").map(str::parse::<u64>);
                match total {
                    Some(Ok(total)) if total != offset => Err(Failure::range(format!(
                        "-C: the file already has {offset} bytes, and the server's has {total}"
                    ))),
                    _ => Ok(false),
                }
            }
            status => Err(Failure::range(format!(
                "-C: the server cannot resume from byte {offset}: it answered with status {status}"
            ))),
        }
    }
}

/// The last part of the path, as curl's -O takes it: of the URL that was given, so that no redirect
/// names the file.
fn remote_name(url: &str) -> Result<PathBuf, Failure> {
    let url = Url::parse(&with_scheme(url)).ok();
    let name = url.as_ref().and_then(|url| url.path().rsplit('/').next());
    match name.unwrap_or_default() {
        "" | "." | ".." => Err(Failure::usage(
            "-O: the URL has no file name at its end; name the file with -o",
        )),
        name => Ok(PathBuf::from(name)),
    }
}
