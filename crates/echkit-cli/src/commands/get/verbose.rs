//! `-v`: what happened, with the heads of requests and responses as they go by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use echkit::http::ObservedHead;
use http::HeaderMap;
use http::header::{CONTENT_LOCATION, LOCATION, REFERER, SET_COOKIE};
use url::Url;

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
                let value = match [LOCATION, CONTENT_LOCATION, REFERER].contains(name) {
                    true => without_credentials(&value),
                    false => value.into_owned(),
                };
                output::note(&format!("{mark} {name}: {value}"));
            }
        }
    }
    output::note(&mark.to_string());
}

/// A URL, or a part of one, without the user and password in it.
fn without_credentials(text: &str) -> String {
    let base = Url::parse("https://base.invalid/");
    match base.and_then(|base| base.join(text)) {
        Ok(url) if url.username().is_empty() && url.password().is_none() => text.to_owned(),
        Ok(mut url) => {
            // Neither can fail: a URL with credentials has a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.into()
        }
        // No URL, but a password could still be in it.
        Err(_) => match text.rsplit_once('@') {
            Some((_, rest)) => rest.to_owned(),
            None => text.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_credentials() {
        for (text, shown) in [
            ("http://u:s3cret@a.test/x?y@z", "http://a.test/x?y@z"),
            ("//u:s3cret@a.test/", "https://a.test/"),
            ("http:u:s3cret@a.test", "http://a.test/"),
            ("http://u:s3/cret@a.test:x", "a.test:x"),
            ("/x@y", "/x@y"),
            ("x?to=mail@a.test", "x?to=mail@a.test"),
            ("https://a.test", "https://a.test"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
