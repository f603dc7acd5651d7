//! What happens to a server as a whole.

use std::fmt;

use super::problem::{ServeProblem, ServeProblems};

/// What happened. The text is a line for the operator; it names no site.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeEvent {
    /// The configuration, or a certificate that changed, is in use.
    Reloaded,
    /// The configuration, or a file that changed, is wrong: everything stays as it was.
    ReloadFailed(ServeProblems),
    /// The keys of the directory changed, and are in use.
    KeysLoaded {
        /// How many open hellos.
        keys: usize,
    },
    /// The keys of the directory changed, and cannot be loaded: those in use stay.
    KeysUnchanged(String),
    /// It goes on, and something should be mended.
    Warning(ServeProblem),
    /// No more connections are taken.
    Draining {
        /// How many connections are open.
        connections: usize,
    },
    /// The server has ended.
    Stopped {
        /// How many connections had not finished in time, and were cut.
        cut: usize,
    },
}

impl fmt::Display for ServeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reloaded => f.write_str("configuration and certificates are loaded"),
            Self::ReloadFailed(problems) => {
                let mut lines = problems.as_slice().iter();
                if let Some(problem) = lines.next() {
                    write!(f, "{problem}")?;
                }
                for problem in lines {
                    write!(f, "\n{problem}")?;
                }
                f.write_str("\nnothing was reloaded: the configuration in use stays")
            }
            Self::KeysLoaded { keys: 1 } => f.write_str("1 ECH key is loaded"),
            Self::KeysLoaded { keys } => write!(f, "{keys} ECH keys are loaded"),
            Self::KeysUnchanged(why) => write!(f, "{why}; the ECH keys in use stay"),
            Self::Warning(problem) => problem.fmt(f),
            Self::Draining { connections } => {
                write!(f, "ending: {connections} connections are open")
            }
            Self::Stopped { cut: 0 } => f.write_str("ended"),
            Self::Stopped { cut } => write!(
                f,
                "ended: {cut} connections had not finished in time and were closed"
            ),
        }
    }
}
