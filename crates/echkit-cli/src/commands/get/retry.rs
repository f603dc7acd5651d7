//! `--retry`: what passes is tried again.

use std::time::Duration;

use echkit::ErrorKind;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::cli::curl_flags::CurlArgs;
use crate::output;

/// The first pause, which doubles each time.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause; one that a server asks for is longer only within `--retry-max-time`.
const LONGEST: Duration = Duration::from_secs(600);

/// The tries that are left.
pub(super) struct Retry {
    left: u32,
    pause: Duration,
    fixed: Option<Duration>,
    until: Option<Instant>,
    silent: bool,
}

impl Retry {
    pub(super) fn new(args: &CurlArgs, silent: bool) -> Self {
        let until = args.retry_max_time;
        Self {
            left: args.retry,
            pause: FIRST,
            fixed: args.retry_delay,
            until: until.and_then(|time| Instant::now().checked_add(time)),
            silent,
        }
    }

    /// Whether there is another try after this error of the library.
    pub(super) fn after_error(&mut self, kind: ErrorKind) -> Option<Duration> {
        match kind {
            ErrorKind::Timeout | ErrorKind::Name => self.next(kind.as_str(), None),
            _ => None,
        }
    }

    /// Whether there is another try after this status.
    pub(super) fn after_status(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Duration> {
        if !matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
            return None;
        }
        let wanted = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let wanted = wanted.and_then(|text| text.trim().parse().ok());
        let wanted = wanted.map(Duration::from_secs);
        let too_long = wanted.filter(|pause| *pause > LONGEST && self.until.is_none());
        if let Some(pause) = too_long.filter(|_| self.left > 0) {
            if !self.silent {
                output::note(&format!(
                    "ech: warning: HTTP status {}; not trying again, since Retry-After is {} s: \
                        --retry-max-time allows a pause of more than {} s",
                    status.as_u16(),
                    pause.as_secs(),
                    LONGEST.as_secs()
                ));
            }
            return None;
        }
        self.next(&format!("HTTP status {}", status.as_u16()), wanted)
    }

    fn next(&mut self, problem: &str, wanted: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = wanted.or(self.fixed).unwrap_or(self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
        let begins = Instant::now().checked_add(pause)?;
        if self.until.is_some_and(|until| begins >= until) {
            return None;
        }
        if !self.silent {
            output::note(&format!(
                "ech: warning: {problem}; trying again in {:.1} s, tries left: {}",
                pause.as_secs_f64(),
                self.left
            ));
        }
        Some(pause)
    }
}
