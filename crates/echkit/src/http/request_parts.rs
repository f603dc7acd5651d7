//! A request that is complete.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::body::Body;
use crate::policy::Timeouts;

/// A request that is complete.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// What the client's jar has for where this goes.
    pub(super) cookies: Option<String>,
    /// From the URL, for requests without an `Authorization` of their own.
    pub(super) credentials: Option<HeaderValue>,
    /// The limit for all of it, in place of the client's.
    pub(super) timeout: Option<Duration>,
    /// The limits of its steps, in place of the client's.
    pub(super) timeouts: Option<Timeouts>,
    /// How many redirects to follow, in place of what the client does.
    pub(super) redirects: Option<Option<usize>>,
}
