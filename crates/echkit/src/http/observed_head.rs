//! Heads of requests and responses, passed to an observer.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Version};

use crate::report::Report;

/// The head of a request or response as it goes over a connection: redirects, and requests that are
/// sent once more, included.
///
/// Values that hold credentials or cookies are [sensitive](http::HeaderValue::is_sensitive).
///
/// ```
/// use echkit::Client;
/// use echkit::http::ObservedHead;
///
/// let client = Client::builder().observe(|head| match head {
///     ObservedHead::Request { method, authority, target, report, .. } => {
///         println!("{method} {target} at {authority}, ECH {}", report.ech.status);
///     }
///     ObservedHead::Response { status, .. } => println!("{status}"),
///     _ => {}
/// });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ObservedHead<'a> {
    /// A request, just before it is sent.
    #[non_exhaustive]
    Request {
        /// The method.
        method: &'a Method,
        /// Path and query.
        target: &'a str,
        /// `Host`, or `:authority` over HTTP/2.
        authority: &'a str,
        /// The version of HTTP.
        version: Version,
        /// The other header fields.
        headers: &'a HeaderMap,
        /// The report about the connection that it is sent over.
        report: &'a Report,
    },
    /// A response, when its head is there.
    #[non_exhaustive]
    Response {
        /// The status code.
        status: StatusCode,
        /// The version of HTTP.
        version: Version,
        /// The header fields.
        headers: &'a HeaderMap,
    },
}

/// Who wants to see them.
#[derive(Clone)]
pub(super) struct Observer(Arc<dyn Fn(ObservedHead<'_>) + Send + Sync>);

impl Observer {
    pub(super) fn new(observe: impl Fn(ObservedHead<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(super) fn show(&self, head: ObservedHead<'_>) {
        (self.0)(head);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
