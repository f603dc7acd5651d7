//! `-v`: what happened, with the heads of requests and responses as they go by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use echkit::http::ObservedHead;
use http::HeaderMap;
use http::header::SET_COOKIE;

use super::report;
use crate::output::{self, Style};

/// Whether the connection's story was told already.
#[derive(Clone, Debug, Default)]
pub(super) struct Story(Arc<AtomicBool>);

impl Story {
    pub(super) fn was_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells of one head.
    pub(super) fn tell(&self, head: ObservedHead<'_>) {
        match head {
            ObservedHead::Request {
                method,
                target,
                authority,
                version,
                headers,
                report,
                ..
            } => {
                self.0.store(true, Ordering::Relaxed);
                match report.reused {
                    true => output::note("* over the same connection"),
                    false => {
                        for line in report::connection_lines(report, Style::stderr()) {
                            output::note(&line);
                        }
                    }
                }
                output::note(&format!("> {method} {target} {version:?}"));
                output::note(&format!("> host: {authority}"));
                lines('>', headers);
            }
            ObservedHead::Response {
                status,
                version,
                headers,
                ..
            } => {
                output::note(&format!("< {version:?} {status}"));
                lines('<', headers);
            }
            _ => {}
        }
    }
}

/// Credentials and cookies are left out: such output is pasted into reports of faults.
fn lines(mark: char, headers: &HeaderMap) {
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| *name != http::header::HOST)
    {
        match value.is_sensitive() || name == SET_COOKIE {
            true => output::note(&format!("{mark} {name}: (not shown)")),
            false => {
                let value = String::from_utf8_lossy(value.as_bytes());
                output::note(&format!("{mark} {name}: {value}"));
            }
        }
    }
    output::note(&mark.to_string());
}
