//! The URI template of a DNS over HTTPS server (RFC 8484 §4.1), and its requests.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request};
use url::Url;

use super::doh_message::MEDIA_TYPE;

/// What a template expands to the query string of (RFC 6570 §3.2.8, §3.2.9).
const NEW_QUERY: &str = "{?dns}";
const MORE_QUERY: &str = "{&dns}";

/// Where queries go, and by which method: GET where the template has the variable `dns`, else POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DohTarget {
    /// Without the variable.
    url: String,
    /// `?` or `&`, which comes before the variable.
    variable: Option<char>,
}

impl DohTarget {
    /// Splits the variable off what follows the scheme, the addresses after `#` aside.
    pub(super) fn split(template: &str) -> Result<(String, Option<char>), String> {
        let (before, addresses) = match template.split_once('#') {
            Some((before, addresses)) => (before, Some(addresses)),
            None => (template, None),
        };
        let (plain, variable) = match (
            before.strip_suffix(NEW_QUERY),
            before.strip_suffix(MORE_QUERY),
        ) {
            (Some(plain), _) => (plain, Some('?')),
            (_, Some(plain)) => (plain, Some('&')),
            _ => (before, None),
        };
        if let Some(start) = plain.find(['{', '}']) {
            let end = plain[start..]
                .find('}')
                .map_or(plain.len(), |end| start + end + 1);
            return Err(format!(
                "{:?} is no part of a template that is understood here: it may end in {NEW_QUERY}, or \
                 in {MORE_QUERY} after a query",
                &plain[start..end]
            ));
        }
        match variable {
            Some('?') if plain.contains('?') => Err(format!(
                "{NEW_QUERY} follows a query; write {MORE_QUERY} there"
            )),
            Some('&') if !plain.contains('?') => Err(format!(
                "{MORE_QUERY} follows no query; write {NEW_QUERY} there"
            )),
            _ => Ok((
                match addresses {
                    Some(addresses) => format!("{plain}#{addresses}"),
                    None => plain.to_owned(),
                },
                variable,
            )),
        }
    }

    pub(super) fn new(url: &Url, variable: Option<char>) -> Self {
        Self {
            url: url.to_string(),
            variable,
        }
    }

    /// The head of a request, and its body.
    pub(super) fn request(&self, query: Vec<u8>) -> Result<(Request<()>, Bytes), http::Error> {
        let request = Request::builder().header(ACCEPT, MEDIA_TYPE);
        match self.variable {
            Some(separator) => {
                let Self { url, .. } = self;
                // RFC 8484 §6: without padding characters.
                let dns = BASE64URL_NOPAD.encode(&query);
                let uri = format!("{url}{separator}dns={dns}");
                let request = request.method(Method::GET).uri(uri).body(())?;
                Ok((request, Bytes::new()))
            }
            None => {
                let request = request
                    .method(Method::POST)
                    .uri(&self.url)
                    .header(CONTENT_TYPE, MEDIA_TYPE)
                    .header(CONTENT_LENGTH, query.len())
                    .body(())?;
                Ok((request, query.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_template_ends_in_its_variable() {
        for (template, plain, variable) in [
            ("a.test/dns-query", "a.test/dns-query", None),
            ("a.test", "a.test", None),
            ("a.test/dns-query{?dns}", "a.test/dns-query", Some('?')),
            ("a.test:443{?dns}", "a.test:443", Some('?')),
            ("a.test/{?dns}#::1", "a.test/#::1", Some('?')),
            ("a.test/q?key=1{&dns}", "a.test/q?key=1", Some('&')),
        ] {
            let split = DohTarget::split(template).unwrap();
            assert_eq!(split, (plain.to_owned(), variable), "{template}");
        }
    }

    #[test]
    fn what_is_no_such_template_is_refused_by_name() {
        for (template, named) in [
            ("a.test/dns-query{?dns,ct}", "{?dns,ct}"),
            ("a.test/dns-query{?dns*}", "{?dns*}"),
            ("a.test/{path}{?dns}", "{path}"),
            ("a.test/dns-query/{dns}", "{dns}"),
            ("a.test/dns-query{?query}", "{?query}"),
            ("a.test/dns-query{?dns}x", "{?dns}"),
            ("a.test/dns-query{?dns}{?dns}", "{?dns}"),
            ("a.test/dns-query{?dns", "{?dns"),
            ("a.test/dns-query}", "}"),
            ("a.test/dns-query?key=1{?dns}", "write {&dns}"),
            ("a.test/dns-query{&dns}", "write {?dns}"),
        ] {
            let error = DohTarget::split(template).unwrap_err();
            assert!(error.contains(named), "{template}: {error}");
        }
    }

    #[test]
    fn the_method_is_get_with_the_variable_and_post_without() {
        let url = Url::parse("https://a.test/q?key=1").unwrap();
        let get = DohTarget::new(&url, Some('&'));
        let (request, body) = get.request(vec![0, 0xff, 0xfe, 1]).unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "https://a.test/q?key=1&dns=AP_-AQ");
        assert!(body.is_empty() && !request.headers().contains_key(CONTENT_TYPE));
        let post = DohTarget::new(&url, None);
        let (request, body) = post.request(vec![1]).unwrap();
        assert_eq!((request.method(), &body[..]), (&Method::POST, &[1][..]));
        assert_eq!(request.uri(), "https://a.test/q?key=1");
        assert_eq!(request.headers()[CONTENT_TYPE], MEDIA_TYPE);
    }
}
