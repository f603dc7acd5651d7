//! `/.well-known/origin-svcb` (draft-ietf-tls-wkech): what a zone factory should publish.

use std::time::Duration;

use echkit::server::EchKeys;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::body::{ResponseBody, plain, whole};

/// Where it is.
pub(super) const PATH: &str = "/.well-known/origin-svcb";

/// Answers for the site `name`: one endpoint, with the list that is published now. The public name
/// itself hides behind nothing, so its endpoint has no `ech`.
pub(super) fn answer<B>(
    request: &Request<B>,
    name: &str,
    keys: &EchKeys,
    every: Duration,
) -> Response<ResponseBody> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let mut params = json!({ "alpn": ["h2"] });
    if let Some(list) = keys.retry_configs().filter(|_| !keys.is_public_name(name)) {
        params["ech"] = json!(list.to_base64());
    }
    let document = json!({
        "regeninterval": every.as_secs().max(1),
        "endpoints": [{ "priority": 1, "params": params }],
    });
    let mut response = Response::new(whole(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Keys change at any time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
