//! Cookies (RFC 6265): kept from responses, and sent back to where they belong.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cookie_store::{CookieStore, RawCookie};
use http::HeaderMap;
use http::header::SET_COOKIE;
use url::Url;

mod netscape;

/// Cookies that are kept, at most; a server cannot fill the memory with more.
const MAX_COOKIES: usize = 3000;

/// The longest name and value together (RFC 6265 §6.1).
const MAX_LENGTH: usize = 4096;

/// The cookies of a client. Clones share them.
///
/// A cookie goes to the host that set it, and to hosts below its `Domain` where that is not a public
/// suffix such as `co.uk` (RFC 6265 §5.3). One that is `Secure` goes over TLS only, and is taken over
/// TLS only. No report, error or debug output has a cookie in it.
///
/// ```
/// use echkit::Client;
/// use echkit::http::CookieJar;
///
/// # fn example() -> Result<(), echkit::Error> {
/// let file = ".site.test\tTRUE\t/\tTRUE\t0\tid\t17\n";
/// let jar = CookieJar::from_netscape(file)?;
/// let client = Client::builder().cookies(jar.clone()).build()?;
/// // Later: what servers have set by then.
/// let file = jar.to_netscape();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct CookieJar(Arc<Mutex<CookieStore>>);

impl CookieJar {
    /// No cookies yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Forgets those that end with the session: all without `Expires` and `Max-Age`.
    pub fn clear_session(&self) {
        let mut store = self.lock();
        let kept: Vec<_> = store
            .iter_unexpired()
            .filter(|cookie| cookie.is_persistent())
            .cloned()
            .map(Ok::<_, std::convert::Infallible>)
            .collect();
        let Ok(kept) = CookieStore::from_cookies(kept, false);
        *store = kept;
    }

    /// What to send to `url`: the value of `Cookie` (RFC 6265 §5.4).
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let store = self.lock();
        let pairs = store.get_request_values(url);
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Keeps what a response from `url` sets; what is malformed or not its own is passed over.
    pub(super) fn store(&self, headers: &HeaderMap, url: &Url) {
        let mut store = self.lock();
        let texts = headers.get_all(SET_COOKIE).iter();
        for text in texts.filter_map(|value| value.to_str().ok()) {
            if let Ok(cookie) = RawCookie::parse(text) {
                insert(&mut store, cookie.into_owned(), url);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, CookieStore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(store: &mut CookieStore, mut cookie: RawCookie<'static>, url: &Url) {
    let secure = cookie.secure() == Some(true);
    let safe = url.scheme() == "https";
    let (name, value) = cookie.name_value();
    // RFC 6265bis §5.7: prefixes promise what the cookie has to have.
    let host_only = cookie.domain().is_none() && cookie.path() == Some("/");
    let keeps_promise = (!has_prefix(name, "__Secure-") || secure)
        && (!has_prefix(name, "__Host-") || (secure && host_only));
    if name.len() + value.len() > MAX_LENGTH || (secure && !safe) || !keeps_promise {
        return;
    }
    if let Some(domain) = cookie.domain().map(|text| text.trim_start_matches('.')) {
        let domain = domain.to_ascii_lowercase();
        if is_public_suffix(&domain) {
            // RFC 6265 §5.3, step 5.
            if url.host_str() != Some(&domain) {
                return;
            }
            cookie.unset_domain();
        }
    }
    if store.iter_any().count() < MAX_COOKIES {
        // What is refused is not for this host, or has expired.
        let _ = store.insert_raw(&cookie, url);
    }
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_public_suffix(domain: &str) -> bool {
    psl::suffix_str(domain).is_none_or(|suffix| suffix == domain)
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieJar({} cookies)", self.lock().iter_any().count())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn jar(from: &str, cookies: &[&str]) -> CookieJar {
        let jar = CookieJar::new();
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, cookie.parse().unwrap());
        }
        jar.store(&headers, &Url::parse(from).unwrap());
        jar
    }

    fn sent(jar: &CookieJar, url: &str) -> Option<String> {
        jar.header(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_cookie_goes_to_its_own_host_path_and_scheme_alone() {
        let jar = jar(
            "https://www.site.test/a/b",
            &["host=1", "wide=2; Domain=site.test; Path=/"],
        );
        let all = sent(&jar, "https://www.site.test/a/c").unwrap();
        assert!(all.contains("host=1") && all.contains("wide=2"), "{all}");
        assert_eq!(sent(&jar, "https://www.site.test/x").unwrap(), "wide=2");
        assert_eq!(sent(&jar, "https://site.test/a/").unwrap(), "wide=2");
        for other in [
            "https://other.test/",
            "https://notsite.test/",
            "https://test/",
        ] {
            assert_eq!(sent(&jar, other), None, "{other}");
        }
        let jar = self::jar("https://site.test/", &["a=1; Secure"]);
        assert_eq!(sent(&jar, "http://site.test/"), None);
        assert_eq!(sent(&jar, "https://site.test/").unwrap(), "a=1");
    }

    #[test]
    fn cookies_for_other_hosts_public_suffixes_and_broken_promises_are_not_kept() {
        for (from, cookie) in [
            ("https://a.co.uk/", "a=1; Domain=co.uk"),
            ("https://a.co.uk/", "a=1; Domain=.UK"),
            ("https://me.github.io/", "a=1; Domain=github.io"),
            ("https://a.test/", "a=1; Domain=b.test"),
            ("https://a.test/", "a=1; Domain=x.a.test"),
            ("https://a.test/", "__Secure-a=1"),
            ("https://a.test/", "__Host-a=1; Secure"),
            (
                "https://x.a.test/",
                "__host-a=1; Secure; Path=/; Domain=a.test",
            ),
            ("http://a.test/", "a=1; Secure"),
            ("https://a.test/", "a=1; Max-Age=0"),
            ("https://a.test/", ";"),
        ] {
            let jar = jar(from, &[cookie]);
            assert_eq!(
                format!("{jar:?}"),
                "CookieJar(0 cookies)",
                "{from} {cookie}"
            );
        }
        let long = format!("a={}", "x".repeat(MAX_LENGTH));
        assert_eq!(
            sent(&jar("https://a.test/", &[&long]), "https://a.test/"),
            None
        );
        let own = jar("https://github.io/", &["a=1; Domain=github.io"]);
        assert_eq!(sent(&own, "https://github.io/").unwrap(), "a=1");
        assert_eq!(sent(&own, "https://me.github.io/"), None);
    }

    #[test]
    fn a_server_cannot_fill_the_memory_and_can_take_its_cookies_back() {
        let many: Vec<_> = (0..MAX_COOKIES + 10).map(|i| format!("c{i}=1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let full = jar("https://a.test/", &many);
        assert_eq!(
            format!("{full:?}"),
            format!("CookieJar({MAX_COOKIES} cookies)")
        );
        let jar = jar("https://a.test/", &["a=1", "a=2", "b=3", "b=; Max-Age=0"]);
        assert_eq!(sent(&jar, "https://a.test/").unwrap(), "a=2");
    }
}
