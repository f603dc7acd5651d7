//! From flags to a request.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use http::{HeaderMap, Method};

use crate::cli::GetArgs;
use crate::failure::Failure;
use crate::input;

/// What is sent.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// What is sent unless `headers` has it, redirects included.
    pub(super) defaults: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn from_args(args: &GetArgs) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        let mut removed = Vec::new();
        for text in &args.header {
            match header(text)? {
                (name, Some(value)) => {
                    headers.append(name, value);
                }
                (name, None) if name == HOST => {
                    return Err(Failure::usage(format!(
                        "-H {text:?}: HTTP cannot do without it"
                    )));
                }
                (name, None) => removed.push(name),
            }
        }
        let (body, content_type) = body(args)?;
        let mut defaults = HeaderMap::new();
        let agent = concat!("echkit/", env!("CARGO_PKG_VERSION"));
        let codings = args.compressed.then_some("gzip, br, zstd, deflate");
        for (name, value) in [
            (ACCEPT, Some("*/*")),
            (USER_AGENT, Some(agent)),
            (ACCEPT_ENCODING, codings),
        ] {
            if let Some(value) = value
                && !removed.contains(&name)
            {
                defaults.insert(name, HeaderValue::from_static(value));
            }
        }
        // Not a default: it goes when a redirect takes the body away.
        if let Some(kind) = content_type
            && !headers.contains_key(CONTENT_TYPE)
            && !removed.contains(&CONTENT_TYPE)
        {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let method = match &args.request {
            Some(name) => Method::from_bytes(name.as_bytes())
                .map_err(|_| Failure::usage(format!("-X {name:?} is no HTTP method")))?,
            None if args.head => Method::HEAD,
            None if content_type.is_some() => Method::POST,
            None => Method::GET,
        };
        Ok(Self {
            method,
            headers,
            defaults,
            body,
        })
    }
}

/// As curl reads it: `Name: value`, `Name;` for an empty value, and `Name:` for no such header.
fn header(text: &str) -> Result<(HeaderName, Option<HeaderValue>), Failure> {
    let bad = || {
        Failure::usage(format!(
            "-H {text:?} is not a header: write \"Name: value\""
        ))
    };
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim()).filter(|value| !value.is_empty())),
        None => (text.trim_end().strip_suffix(';').ok_or_else(bad)?, Some("")),
    };
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad())?;
    let value = value.map(HeaderValue::from_str).transpose();
    Ok((name, value.map_err(|_| bad())?))
}

/// The body, and its type where there is one.
fn body(args: &GetArgs) -> Result<(Vec<u8>, Option<&'static str>), Failure> {
    if let Some(json) = &args.json_body {
        return Ok((input::text_or_file(json)?, Some("application/json")));
    }
    if args.data.is_empty() {
        return Ok((Vec::new(), None));
    }
    let parts = args.data.iter().map(|data| input::text_or_file(data));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    Ok((parts.join(&b'&'), Some("application/x-www-form-urlencoded")))
}
