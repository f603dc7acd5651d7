//! From flags to a request.

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue,
    RANGE, REFERER, USER_AGENT,
};
use http::{HeaderMap, Method};

use super::destination::Destination;
use super::upload::Upload;
use super::{cookies, form};
use crate::cli::GetArgs;
use crate::commands::network::with_scheme;
use crate::failure::Failure;
use crate::input;

/// What is sent.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    /// What is sent unless `headers` has it, redirects included.
    pub(super) defaults: HeaderMap,
    pub(super) upload: Upload,
}

impl Request {
    pub(super) fn from_args(args: &GetArgs, to: &Destination) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        let mut removed = Vec::new();
        for text in &args.header {
            match header(text)? {
                (name, Some(value)) => {
                    headers.append(name, value);
                }
                (name, None) if name == HOST => {
                    return Err(Failure::usage("-H \"Host:\": HTTP requires this header"));
                }
                (name, None) => removed.push(name),
            }
        }
        let mut url = with_scheme(&args.url);
        let (mut upload, mut content_type) = body(args)?;
        if args.curl.get {
            url = with_query(&url, &std::mem::take(&mut upload).into_text()?);
            content_type = None;
        }
        let mut defaults = HeaderMap::new();
        let own_agent = concat!("echkit/", env!("CARGO_PKG_VERSION"));
        let agent = args.curl.user_agent.as_deref().unwrap_or(own_agent);
        for (flag, name, value) in [
            ("", ACCEPT, Some("*/*")),
            (
                "-A",
                USER_AGENT,
                Some(agent).filter(|agent| !agent.is_empty()),
            ),
            ("-e", REFERER, args.curl.referer.as_deref()),
        ] {
            if let Some(text) = value
                && !removed.contains(&name)
            {
                defaults.insert(name, value_of(flag, text)?);
            }
        }
        if let Some(user) = &args.curl.user
            && !headers.contains_key(AUTHORIZATION)
            && !removed.contains(&AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, basic(user)?);
        }
        if let Some(given) = cookies::given(&args.curl) {
            let mut value = value_of("-b", &given)?;
            value.set_sensitive(true);
            headers.insert(COOKIE, value);
        }
        if to.offset > 0 {
            headers.insert(RANGE, value_of("-C", &format!("bytes={}-", to.offset))?);
        }
        let length = upload.length();
        if content_type.is_some() && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        // Not a default: it goes when a redirect takes the body away.
        let posts = content_type.is_some();
        if let Some(kind) = content_type
            && !headers.contains_key(CONTENT_TYPE)
            && !removed.contains(&CONTENT_TYPE)
        {
            headers.insert(CONTENT_TYPE, value_of("-F", &kind)?);
        }
        let method = match &args.request {
            Some(name) => Method::from_bytes(name.as_bytes())
                .map_err(|_| Failure::usage(format!("-X {name:?} is not an HTTP method")))?,
            None if args.head => Method::HEAD,
            None if posts => Method::POST,
            None => Method::GET,
        };
        Ok(Self {
            method,
            url,
            headers,
            defaults,
            upload,
        })
    }
}

/// As curl reads it: `Name: value`, `Name;` for an empty value, and `Name:` for no such header.
fn header(text: &str) -> Result<(HeaderName, Option<HeaderValue>), Failure> {
    let bad = || {
        // What follows the name may be a secret.
        let end = text.find(|end: char| end == ':' || end.is_whitespace());
        let shown = match end {
            Some(end) => format!("{:?}", format!("{}...", &text[..end])),
            None => format!("{text:?}"),
        };
        Failure::usage(format!("-H {shown} is not a header: write \"Name: value\""))
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
fn body(args: &GetArgs) -> Result<(Upload, Option<String>), Failure> {
    if let Some(json) = &args.json_body {
        let upload = Upload::bytes(input::text_or_file(json)?);
        return Ok((upload, Some("application/json".to_owned())));
    }
    if !args.curl.form.is_empty() || !args.curl.form_string.is_empty() {
        let (upload, kind) = form::form(&args.curl)?;
        return Ok((upload, Some(kind)));
    }
    if args.curl.posted.is_empty() {
        return Ok((Upload::default(), None));
    }
    let upload = Upload::data(&args.curl.posted)?;
    Ok((upload, Some("application/x-www-form-urlencoded".to_owned())))
}

fn with_query(url: &str, data: &str) -> String {
    let (url, fragment) = match url.split_once('#') {
        Some((url, fragment)) => (url, format!("#{fragment}")),
        None => (url, String::new()),
    };
    match (data, url.split_once('?')) {
        ("", _) => format!("{url}{fragment}"),
        (_, None) => format!("{url}?{data}{fragment}"),
        (_, Some((_, ""))) => format!("{url}{data}{fragment}"),
        (_, Some(_)) => format!("{url}&{data}{fragment}"),
    }
}

/// The text is not shown: it may be a secret.
fn value_of(flag: &str, text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text)
        .or_else(|_| HeaderValue::from_bytes(text.as_bytes()))
        .map_err(|_| Failure::usage(format!("{flag}: the value is not allowed in HTTP")))
}

/// Basic (RFC 7617).
fn basic(user: &str) -> Result<HeaderValue, Failure> {
    if !user.contains(':') {
        return Err(Failure::usage(
            "-u: write USER:PASSWORD; there is no password prompt",
        ));
    }
    let coded = data_encoding::BASE64.encode(user.as_bytes());
    let mut value = value_of("-u", &format!("Basic {coded}"))?;
    value.set_sensitive(true);
    Ok(value)
}
