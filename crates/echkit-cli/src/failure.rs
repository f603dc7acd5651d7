//! How a command ends when it does not succeed: one line, one exit code, one JSON document.

use std::path::Path;

use echkit::error::ErrorKind;
use serde_json::{Value, json};

use crate::exit_code::exit_code;

/// What went wrong, as the user is told.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: &'static str,
    message: String,
    code: u8,
    /// What is printed with `--json` beside the error.
    document: Option<Value>,
    /// Only the exit code tells.
    quiet: bool,
}

/// Exit codes that are not those of a client error. They are curl's, where curl has one.
mod code {
    /// It ran, and what it checked is not as it should be.
    pub(super) const CHECK: u8 = 1;
    /// The command line makes no sense.
    pub(super) const USAGE: u8 = 2;
    /// Output cannot be written (CURLE_WRITE_ERROR).
    pub(super) const WRITE: u8 = 23;
    /// An address cannot be listened on (CURLE_INTERFACE_FAILED).
    pub(super) const ADDRESS: u8 = 45;
    /// The server cannot continue from the middle (CURLE_RANGE_ERROR).
    pub(super) const RANGE: u8 = 33;
    /// Input cannot be read (CURLE_READ_ERROR).
    pub(super) const READ: u8 = 26;
    /// Input is not what it should be (CURLE_BAD_CONTENT_ENCODING is the nearest that curl has).
    pub(super) const CONTENT: u8 = 61;
    /// The system refuses something basic.
    pub(super) const SYSTEM: u8 = 70;
    /// Ended by Ctrl-C: 128 and the number of SIGINT, as shells have it.
    pub(super) const INTERRUPTED: u8 = 130;
}

impl Failure {
    fn new(kind: &'static str, code: u8, message: String) -> Self {
        Self {
            kind,
            message,
            code,
            document: None,
            quiet: false,
        }
    }

    /// No line: only the exit code tells.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// This file cannot be written.
    pub(crate) fn unwritten(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::write(format!("cannot write {}: {error}", path.display()))
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", code::USAGE, message.into())
    }

    /// Input cannot be read.
    pub(crate) fn read(message: impl Into<String>) -> Self {
        Self::new("read", code::READ, message.into())
    }

    /// Output cannot be written.
    pub(crate) fn write(message: impl Into<String>) -> Self {
        Self::new("write", code::WRITE, message.into())
    }

    /// The server cannot continue from the middle of a body.
    pub(crate) fn range(message: impl Into<String>) -> Self {
        Self::new("range", code::RANGE, message.into())
    }

    /// Input was read and is not what it should be.
    pub(crate) fn content(message: impl Into<String>) -> Self {
        Self::new("content", code::CONTENT, message.into())
    }

    /// Something is not as it should be, which the command was asked to find out.
    pub(crate) fn check(message: impl Into<String>) -> Self {
        Self::new("check", code::CHECK, message.into())
    }

    /// An address cannot be listened on.
    pub(crate) fn address(message: impl Into<String>) -> Self {
        Self::new("address", code::ADDRESS, message.into())
    }

    /// The system refuses something basic.
    pub(crate) fn system(message: impl Into<String>) -> Self {
        Self::new("system", code::SYSTEM, message.into())
    }

    /// Ended by Ctrl-C; what was done until then is printed.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self::new("interrupted", code::INTERRUPTED, message.into())
    }

    /// What the library calls by this kind, with its exit code.
    pub(crate) fn of_kind(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::new(kind.as_str(), exit_code(kind), message.into())
    }

    /// Prints `document`, with the error in it, when JSON was asked for.
    pub(crate) fn with_document(mut self, document: Value) -> Self {
        self.document = Some(document);
        self
    }
}

impl Failure {
    /// The kind, as in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The line for the user; `None` where only the exit code tells.
    pub(crate) fn line(&self) -> Option<String> {
        (!self.quiet).then(|| self.one_line())
    }

    /// The document for `--json`, with the error in it.
    pub(crate) fn into_document(mut self) -> Value {
        let mut document = self.document.take().unwrap_or_else(|| json!({}));
        document["error"] = json!({
            "kind": self.kind,
            "message": self.one_line(),
            "exit_code": self.code,
        });
        document
    }

    fn one_line(&self) -> String {
        self.message.replace('\n', " ")
    }
}

impl From<echkit::Error> for Failure {
    fn from(error: echkit::Error) -> Self {
        Self::of_kind(error.kind(), error.to_string())
    }
}

impl From<echkit::tls::ClientSetupError> for Failure {
    fn from(error: echkit::tls::ClientSetupError) -> Self {
        echkit::Error::from(error).into()
    }
}
