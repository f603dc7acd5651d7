//! Cookies (RFC 6265): kept from responses, and sent back to where they belong.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cookie_store::RawCookie;
use http::HeaderMap;
use http::header::SET_COOKIE;
use url::Url;

mod cookie_table;
mod netscape;

use cookie_table::CookieTable;

/// The cookies of a client. Clones share them.
///
/// A cookie goes to the host that set it, and to hosts below its `Domain` where that is not a public
/// suffix such as `co.uk` (RFC 6265 §5.3). One that is `Secure` goes over TLS only, and is set,
/// replaced and deleted over TLS only. A full jar forgets those that were used least recently, of
/// sites with many first. No report, error or debug output has a cookie in it.
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
pub struct CookieJar(Arc<Mutex<CookieTable>>);

impl CookieJar {
    /// No cookies yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.lock().retain(|_| false);
    }

    /// Forgets those that end with the session: all without `Expires` and `Max-Age`.
    pub fn clear_session(&self) {
        self.lock().retain(|cookie| cookie.is_persistent());
    }

    /// What to send to `url`: the value of `Cookie` (RFC 6265 §5.4).
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let pairs = self.lock().take_for(url);
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Keeps what a response from `url` sets; what is malformed or not its own is passed over.
    pub(super) fn store(&self, headers: &HeaderMap, url: &Url) {
        let mut table = self.lock();
        let texts = headers.get_all(SET_COOKIE).iter();
        for text in texts.filter_map(|value| value.to_str().ok()) {
            if let Ok(cookie) = RawCookie::parse(text) {
                table.insert(cookie.into_owned(), url);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, CookieTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieJar({} cookies)", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::cookie_table::{MAX_COOKIES, MAX_LENGTH, SPARED_PER_SITE};
    use super::*;

    fn jar(from: &str, cookies: &[&str]) -> CookieJar {
        let jar = CookieJar::new();
        set(&jar, from, cookies);
        jar
    }

    fn set(jar: &CookieJar, from: &str, cookies: &[&str]) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, cookie.parse().unwrap());
        }
        jar.store(&headers, &Url::parse(from).unwrap());
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
            ("https://a.test/", "a=1\t2"),
            ("https://a.test/", "a\tb=1"),
            ("https://a.test/", "a=1; Path=/\tx"),
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

    #[test]
    fn a_secure_cookie_is_replaced_and_deleted_over_tls_alone() {
        for old in [
            "a=old; Secure; Path=/",
            "a=old; Secure; Path=/; Domain=site.test",
        ] {
            let jar = jar("https://site.test/", &[old]);
            for new in [
                "a=new",
                "a=new; Path=/x",
                "a=new; Domain=site.test",
                "a=; Max-Age=0; Path=/",
            ] {
                set(&jar, "http://site.test/", &[new]);
                let kept = sent(&jar, "https://site.test/x");
                assert_eq!(kept.unwrap(), "a=old", "{old} {new}");
            }
            set(&jar, "https://site.test/", &[&old.replace("old", "new")]);
            assert_eq!(sent(&jar, "https://site.test/").unwrap(), "a=new");
        }
        // From hosts above and below it.
        let wide = "a=old; Secure; Path=/; Domain=site.test";
        let jar = jar("https://www.site.test/", &[wide]);
        set(&jar, "http://www.site.test/", &["a=new"]);
        assert_eq!(sent(&jar, "https://www.site.test/").unwrap(), "a=old");
        let jar = self::jar("https://www.site.test/", &["a=old; Secure; Path=/"]);
        set(
            &jar,
            "http://site.test/",
            &["a=new; Domain=site.test; Path=/"],
        );
        assert_eq!(sent(&jar, "https://www.site.test/").unwrap(), "a=old");
        // Others are none of its business.
        let jar = self::jar("https://site.test/", &["a=old; Secure; Path=/x"]);
        set(
            &jar,
            "http://site.test/",
            &["a=root; Path=/", "b=2; Path=/x"],
        );
        set(&jar, "http://notsite.test/", &["a=3"]);
        assert_eq!(sent(&jar, "http://site.test/").unwrap(), "a=root");
        assert_eq!(
            sent(&jar, "http://site.test/x").unwrap().len(),
            "a=root; b=2".len()
        );
        assert_eq!(sent(&jar, "http://notsite.test/").unwrap(), "a=3");
    }

    #[test]
    fn a_site_that_fills_the_jar_keeps_no_other_from_setting_changing_and_deleting() {
        let own: Vec<_> = (0..SPARED_PER_SITE).map(|i| format!("own{i}=1")).collect();
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        let jar = jar("https://mine.example/", &own);
        // Hosts below one name are one site.
        for host in 0..MAX_COOKIES / 40 + 10 {
            let many: Vec<_> = (0..40).map(|i| format!("c{i}=1")).collect();
            let many: Vec<_> = many.iter().map(String::as_str).collect();
            set(&jar, &format!("https://h{host}.greedy.example/"), &many);
        }
        assert_eq!(
            format!("{jar:?}"),
            format!("CookieJar({MAX_COOKIES} cookies)")
        );
        let held = sent(&jar, "https://mine.example/").unwrap();
        assert_eq!(held.split("; ").count(), SPARED_PER_SITE);
        set(
            &jar,
            "https://mine.example/",
            &["own0=2", "own1=; Max-Age=0"],
        );
        set(&jar, "https://third.example/", &["new=1"]);
        let held = sent(&jar, "https://mine.example/").unwrap();
        assert!(held.contains("own0=2") && !held.contains("own1="), "{held}");
        assert_eq!(sent(&jar, "https://third.example/").unwrap(), "new=1");
        // The greedy one's own oldest went.
        assert_eq!(sent(&jar, "https://h0.greedy.example/"), None);
    }

    #[test]
    fn what_has_expired_goes_first_and_then_what_was_used_least_recently() {
        let jar = jar("https://a0.example/", &["old=1"]);
        set(&jar, "https://b.example/", &["gone=1; Max-Age=1"]);
        for site in 1..MAX_COOKIES - 1 {
            set(&jar, &format!("https://a{site}.example/"), &["c=1"]);
        }
        assert!(sent(&jar, "https://a0.example/").is_some());
        while sent(&jar, "https://b.example/").is_some() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        set(&jar, "https://new.example/", &["c=1"]);
        assert!(jar.to_netscape().contains("a1.example"));
        set(&jar, "https://newer.example/", &["c=1"]);
        assert!(!jar.to_netscape().contains("a1.example"));
        assert!(sent(&jar, "https://a0.example/").is_some());
    }
}
