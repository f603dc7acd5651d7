//! What is wrong with a configuration, or prevents a start.

use std::fmt;

/// One thing that is wrong, as a line that says what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeProblem {
    /// What kind it is.
    pub kind: ServeProblemKind,
    /// The line.
    pub message: String,
}

/// Kinds of [`ServeProblem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeProblemKind {
    /// The configuration is not valid.
    Config,
    /// A file or directory cannot be read.
    Unreadable,
    /// A certificate, a private key or an ECH key does not fit.
    Content,
    /// An address cannot be listened on.
    Address,
    /// The system refuses something basic.
    System,
}

impl ServeProblem {
    pub(super) fn new(kind: ServeProblemKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl fmt::Display for ServeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message.replace('\n', " "))
    }
}

/// All that is wrong, a line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeProblems(Vec<ServeProblem>);

impl ServeProblems {
    /// `done`, if nothing is wrong.
    pub(super) fn none_or<T>(problems: Vec<ServeProblem>, done: Option<T>) -> Result<T, Self> {
        match done {
            Some(done) if problems.is_empty() => Ok(done),
            _ => Err(Self(problems)),
        }
    }

    /// Each of them.
    pub fn as_slice(&self) -> &[ServeProblem] {
        &self.0
    }
}

impl From<ServeProblem> for ServeProblems {
    fn from(problem: ServeProblem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for ServeProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ServeProblems {}
