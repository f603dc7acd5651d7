//! Where a redirect leads and what of the request goes there (RFC 9110 §15.4).

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST,
    LOCATION, ORIGIN, PROXY_AUTHORIZATION, REFERER,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::body::Body;
use super::credentials;
use super::request_parts::Request;
use crate::error::Cause;
use crate::origin::Origin;
use crate::policy::EchMode;

/// Where the response redirects to; `None` if it does not.
pub(super) fn location(status: StatusCode, headers: &HeaderMap) -> Option<&str> {
    match status {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => headers.get(LOCATION)?.to_str().ok(),
        _ => None,
    }
}

/// Turns `request` into the one that a redirect asks for.
///
/// # Errors
///
/// When it leads to where it must not be followed: out of `https` in [`EchMode::Require`], or to
/// something that is not a web page.
pub(super) fn follow(
    request: &mut Request,
    status: StatusCode,
    location: &str,
    mode: EchMode,
) -> Result<(), Cause> {
    let refused = |request: &Request, to: &str, reason: String| Cause::Redirect {
        from: request.url.to_string(),
        to: credentials::redacted(to),
        reason,
    };
    let mut to = request
        .url
        .join(location)
        .map_err(|error| refused(request, location, error.to_string()))?;
    let given = credentials::take(&mut to)?;
    if to.fragment().is_none() {
        to.set_fragment(request.url.fragment());
    }
    let origin =
        Origin::from_url(&to).map_err(|error| refused(request, to.as_str(), error.to_string()))?;
    if mode == EchMode::Require && to.scheme() == "http" {
        return Err(Cause::EchRequired {
            origin: origin.to_string(),
            reason: format!("{} redirects to {to}, out of TLS", request.url),
        });
    }
    if Origin::from_url(&request.url).ok() != Some(origin) {
        // Credentials were meant for the origin that they were given for.
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HOST] {
            request.headers.remove(name);
        }
        shorten_referer(&mut request.headers);
    }
    if request.url.scheme() == "https" && to.scheme() == "http" {
        // RFC 9110 §10.1.3: what was read over TLS is not told in the clear.
        for name in [REFERER, ORIGIN] {
            request.headers.remove(name);
        }
    }
    if let Some(given) = given {
        // The redirect names credentials for where it leads.
        request.headers.insert(AUTHORIZATION, given);
    }
    let becomes_get = match status {
        StatusCode::SEE_OTHER => request.method != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body = Body::empty();
        for name in [
            CONTENT_TYPE,
            CONTENT_LENGTH,
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
        ] {
            request.headers.remove(name);
        }
    }
    request.url = to;
    Ok(())
}

/// Another origin is told where a request comes from, but not which page (RFC 9110 §10.1.3).
fn shorten_referer(headers: &mut HeaderMap) {
    let Some(referer) = headers.remove(REFERER) else {
        return;
    };
    let url = referer.to_str().ok().and_then(|text| Url::parse(text).ok());
    let origin = url.map(|url| url.origin()).filter(url::Origin::is_tuple);
    let origin = origin.map(|origin| format!("{}/", origin.ascii_serialization()));
    if let Some(value) = origin.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(REFERER, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::ErrorKind;

    fn request(method: Method, url: &str) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Basic eA==".parse().unwrap());
        headers.insert(COOKIE, "a=b".parse().unwrap());
        headers.insert("x-other", "kept".parse().unwrap());
        headers.insert(CONTENT_TYPE, "text/plain".parse().unwrap());
        Request {
            method,
            url: Url::parse(url).unwrap(),
            headers,
            body: Body::from("body"),
            cookies: None,
            credentials: None,
            timeout: None,
            timeouts: None,
            redirects: None,
        }
    }

    #[test]
    fn credentials_stay_within_the_origin() {
        for (to, kept) in [
            ("/next", true),
            ("https://a.example/other", true),
            ("https://b.example/", false),
            ("https://a.example:8443/", false),
            ("http://a.example/", false),
        ] {
            let mut request = request(Method::GET, "https://a.example/start");
            follow(&mut request, StatusCode::FOUND, to, EchMode::Prefer).unwrap();
            assert_eq!(request.headers.contains_key(AUTHORIZATION), kept, "{to}");
            assert_eq!(request.headers.contains_key(COOKIE), kept, "{to}");
            assert!(request.headers.contains_key("x-other"));
        }
    }

    #[test]
    fn other_origins_are_not_told_the_page_and_plain_http_nothing() {
        let page = "https://u:s3cret@a.example/private?token=1";
        for (to, referer, origin) in [
            ("/next", Some(page), true),
            ("https://b.example/", Some("https://a.example/"), true),
            ("https://a.example:8443/", Some("https://a.example/"), true),
            ("http://a.example/", None, false),
            ("http://b.example/", None, false),
        ] {
            let mut request = request(Method::GET, "https://a.example/start");
            request.headers.insert(REFERER, page.parse().unwrap());
            let own = "https://a.example".parse().unwrap();
            request.headers.insert(ORIGIN, own);
            follow(&mut request, StatusCode::FOUND, to, EchMode::Prefer).unwrap();
            let sent = request.headers.get(REFERER);
            assert_eq!(sent.map(|value| value.to_str().unwrap()), referer, "{to}");
            assert_eq!(request.headers.contains_key(ORIGIN), origin, "{to}");
        }
        let mut request = request(Method::GET, "https://a.example/");
        request.headers.insert(REFERER, "/private".parse().unwrap());
        let to = "https://b.example/";
        follow(&mut request, StatusCode::FOUND, to, EchMode::Prefer).unwrap();
        assert!(!request.headers.contains_key(REFERER));
    }

    #[test]
    fn credentials_in_a_location_are_sent_there_and_shown_nowhere() {
        let mut request = request(Method::GET, "https://a.example/");
        let to = "https://u:s3cret@b.example/";
        follow(&mut request, StatusCode::FOUND, to, EchMode::Prefer).unwrap();
        assert_eq!(request.url.as_str(), "https://b.example/");
        assert_eq!(request.headers[AUTHORIZATION], "Basic dTpzM2NyZXQ=");
        assert!(!format!("{request:?}").contains("s3cret"));
        assert!(!format!("{request:?}").contains("dTpzM2NyZXQ"));
        for to in [
            "http://u:s3cret@a.example/",
            "ftp://u:s3cret@a.example/",
            "https://u:s3cret@a..b/",
            "https://u:s3cret@a.example:x/",
        ] {
            let refused = follow(&mut request, StatusCode::FOUND, to, EchMode::Require);
            let error = refused.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn post_becomes_get_where_the_standard_says_so() {
        for (status, method, becomes) in [
            (301, Method::POST, Method::GET),
            (302, Method::POST, Method::GET),
            (302, Method::PUT, Method::PUT),
            (303, Method::PUT, Method::GET),
            (303, Method::HEAD, Method::HEAD),
            (307, Method::POST, Method::POST),
            (308, Method::POST, Method::POST),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let mut request = request(method, "https://a.example/");
            follow(&mut request, status, "/x", EchMode::Prefer).unwrap();
            assert_eq!(request.method, becomes, "{status}");
            let has_body = request.body.len() != Some(0);
            assert_eq!(has_body, becomes != Method::GET, "{status}");
            assert_eq!(request.headers.contains_key(CONTENT_TYPE), has_body);
        }
    }

    #[test]
    fn require_does_not_follow_out_of_tls() {
        let mut request = request(Method::GET, "https://a.example/");
        for (to, kind) in [
            ("http://a.example/", ErrorKind::EchRequired),
            ("ftp://a.example/", ErrorKind::Redirect),
        ] {
            let error = follow(&mut request, StatusCode::FOUND, to, EchMode::Require).unwrap_err();
            assert_eq!(error.kind(), kind);
        }
    }
}
