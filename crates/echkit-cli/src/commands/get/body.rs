//! The body: to stdout, to a file or into memory.

use std::io::IsTerminal;

use bytes::Bytes;
use echkit::ErrorKind;
use echkit::http::{DEFAULT_BODY_LIMIT, ResponseBody};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::destination::Destination;
use crate::failure::Failure;

/// How much of a body is looked at to tell whether it is text, as curl does.
const LOOKED_AT: usize = 2000;

/// The body as it arrives.
pub(super) struct Reader<'a> {
    body: &'a mut ResponseBody,
    /// Whether a progress bar may be shown.
    progress: bool,
    /// How long it is, where that is known.
    length: Option<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a mut ResponseBody, progress: bool) -> Self {
        let length = http_body::Body::size_hint(body).exact();
        Self {
            body,
            progress,
            length,
        }
    }

    /// The whole body. One longer than [`DEFAULT_BODY_LIMIT`] is refused.
    pub(super) async fn collect(self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(part) = self.body.chunk().await? {
            if part.len() > DEFAULT_BODY_LIMIT - bytes.len() {
                return Err(Failure::of_kind(
                    ErrorKind::BodyTooLarge,
                    format!(
                        "the body is longer than the {DEFAULT_BODY_LIMIT} bytes that --json holds; \
                         write it to a file with -o"
                    ),
                ));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// To where it goes; `written` counts. A file is not touched before the response is there.
    pub(super) async fn write(self, to: &Destination, written: &mut u64) -> Result<(), Failure> {
        let Some(path) = &to.path else {
            let guard = std::io::stdout().is_terminal() && !to.named_stdout;
            let bar = ProgressBar::hidden();
            return copy(self.body, &mut stdout()?, "stdout", guard, &bar, written).await;
        };
        let shown = path.display().to_string();
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true);
        match to.offset {
            0 => options.write(true).truncate(true),
            _ => options.append(true),
        };
        let mut file = options
            .open(path)
            .await
            .map_err(|error| Failure::unwritten(path, error))?;
        let bar = self.bar(to.offset);
        let copied = copy(self.body, &mut file, &shown, false, &bar, written).await;
        bar.finish_and_clear();
        copied
    }

    /// On a terminal alone, which indicatif finds out.
    fn bar(&self, offset: u64) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let length = self.length.map(|length| length + offset);
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        let template = match length {
            Some(_) => "{bytes}/{total_bytes} {wide_bar} {bytes_per_sec} {eta}",
            None => "{bytes} {spinner} {bytes_per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(offset);
        bar
    }
}

/// `guard` refuses what a terminal cannot show.
async fn copy<W>(
    body: &mut ResponseBody,
    to: &mut W,
    name: &str,
    guard: bool,
    bar: &ProgressBar,
    written: &mut u64,
) -> Result<(), Failure>
where
    W: AsyncWrite + Unpin,
{
    let unwritten = |error| Failure::write(format!("cannot write the body to {name}: {error}"));
    loop {
        let part = match body.chunk().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(error) => {
                // A file takes what it is given in the background: what has come is not to be lost.
                to.shutdown().await.map_err(unwritten)?;
                return Err(error.into());
            }
        };
        if guard && *written == 0 && is_binary(&part) {
            return Err(Failure::write(
                "the body is binary and was not written to the terminal: -o - does so all the same, \
                 -o FILE writes it to a file",
            ));
        }
        to.write_all(&part).await.map_err(unwritten)?;
        *written += part.len() as u64;
        bar.inc(part.len() as u64);
    }
    to.shutdown().await.map_err(unwritten)
}

fn is_binary(start: &Bytes) -> bool {
    start.iter().take(LOOKED_AT).any(|byte| *byte == 0)
}

/// Stdout as a file: big bodies are written without a copy in between.
fn stdout() -> Result<tokio::fs::File, Failure> {
    use std::os::fd::AsFd;
    let file = std::io::stdout().as_fd().try_clone_to_owned();
    let file = file.map_err(|error| Failure::write(format!("cannot write to stdout: {error}")))?;
    Ok(tokio::fs::File::from_std(file.into()))
}
