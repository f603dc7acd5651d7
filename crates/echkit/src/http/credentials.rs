//! Credentials in URLs (RFC 3986 §3.2.1): sent as Basic (RFC 7617), and shown nowhere.

use http::HeaderValue;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::Cause;

/// Takes user and password out of `url`: the value of `Authorization`, if there are any.
pub(super) fn take(url: &mut Url) -> Result<Option<HeaderValue>, Cause> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user: Vec<u8> = percent_decode_str(url.username()).collect();
    let password = url
        .password()
        .map(|text| percent_decode_str(text).collect());
    // Neither can fail: a URL with credentials has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    basic(&user, password).map(Some)
}

/// The value of `Authorization` for the scheme Basic (RFC 7617 §2). Debug output hides it, and
/// HPACK does not index it.
pub(super) fn basic(user: &[u8], password: Option<Vec<u8>>) -> Result<HeaderValue, Cause> {
    if user.contains(&b':') {
        return Err(Cause::Setting {
            setting: "credentials",
            reason: "a user name with a colon cannot be sent as Basic (RFC 7617 §2)".to_owned(),
        });
    }
    let pair = [user, b":", password.as_deref().unwrap_or_default()].concat();
    sensitive(&format!("Basic {}", data_encoding::BASE64.encode(&pair)))
}

/// A value of `Authorization` that debug output hides.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, Cause> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Cause::Setting {
        setting: "credentials",
        reason: "these characters are not allowed in an HTTP header".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Text that may be a URL, as errors show it: whatever could be credentials is left out.
pub(super) fn redacted(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.has_host() => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.into()
        }
        _ => crate::origin::without_credentials(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn user_and_password_become_basic_and_leave_the_url() {
        for (text, left, sent) in [
            (
                "https://u:p@a.example/x",
                "https://a.example/x",
                Some("u:p"),
            ),
            ("https://u@a.example/", "https://a.example/", Some("u:")),
            ("https://:p@a.example/", "https://a.example/", Some(":p")),
            (
                "https://u%40b:p%3A%2f@a.example/",
                "https://a.example/",
                Some("u@b:p:/"),
            ),
            ("https://a.example/@x", "https://a.example/@x", None),
        ] {
            let mut url = Url::parse(text).unwrap();
            let value = take(&mut url).unwrap();
            assert_eq!(url.as_str(), left);
            let expected =
                sent.map(|sent| format!("Basic {}", data_encoding::BASE64.encode(sent.as_bytes())));
            let value = value.map(|value| {
                assert!(value.is_sensitive());
                value.to_str().unwrap().to_owned()
            });
            assert_eq!(value, expected, "{text}");
        }
    }

    #[test]
    fn a_user_name_with_a_colon_is_refused() {
        let mut url = Url::parse("https://a%3Ab:p@a.example/").unwrap();
        let error = take(&mut url).unwrap_err().to_string();
        assert!(error.contains("colon"), "{error}");
    }

    #[test]
    fn text_for_errors_has_no_credentials() {
        for (text, shown) in [
            ("https://u:s3cret@a.example/x", "https://a.example/x"),
            ("https://a.example/x@y", "https://a.example/x@y"),
            ("https://u:s3/cret@a.example:x", "https://a.example:x"),
            ("u:s3cret@a.example", "a.example"),
            ("//u:s3cret@a.example", "a.example"),
            ("/next", "/next"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
