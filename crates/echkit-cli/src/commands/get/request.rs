//! From flags to a request.

use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::cli::GetArgs;
use crate::failure::Failure;
use crate::input;

/// What is sent.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn from_args(args: &GetArgs) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        for text in &args.header {
            let (name, value) = header(text)?;
            headers.append(name, value);
        }
        let (body, content_type) = body(args)?;
        if let Some(kind) = content_type
            && !headers.contains_key(CONTENT_TYPE)
        {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if args.compressed && !headers.contains_key(ACCEPT_ENCODING) {
            headers.insert(
                ACCEPT_ENCODING,
                HeaderValue::from_static("gzip, br, zstd, deflate"),
            );
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
            body,
        })
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let bad = || Failure::usage(format!("-H {text:?} is no header: write \"Name: value\""));
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
    Ok((name, value))
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
