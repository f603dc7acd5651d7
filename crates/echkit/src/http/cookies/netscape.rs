//! The file that curl, wget and others keep cookies in: one a line, seven fields with tabs between.

use std::sync::TryLockError;

use cookie_store::{Cookie, CookieDomain, CookieExpiration, RawCookie};
use time::OffsetDateTime;
use url::Url;

use super::CookieJar;
use super::cookie_table::CookieTable;
use crate::error::{Cause, Error};

const HTTP_ONLY: &str = "#HttpOnly_";

impl CookieJar {
    /// Reads the file that curl writes with `-c`: domain, whether hosts below it count, path,
    /// whether it is for TLS alone, when it ends (seconds since 1970, 0 with the session), name and
    /// value.
    ///
    /// # Errors
    ///
    /// When a line is none of these; the error names the line and does not show it.
    pub fn from_netscape(text: &str) -> Result<Self, Error> {
        let jar = Self::new();
        jar.add_netscape(text)?;
        Ok(jar)
    }

    /// Adds the cookies of such a file; those before a line that is none are kept.
    ///
    /// # Errors
    ///
    /// As [`CookieJar::from_netscape`].
    pub fn add_netscape(&self, text: &str) -> Result<(), Error> {
        for (number, line) in (1..).zip(text.lines()) {
            let (http_only, line) = match line.strip_prefix(HTTP_ONLY) {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            if !http_only && (line.starts_with('#') || line.trim().is_empty()) {
                continue;
            }
            let (url, mut cookie) = read(line).ok_or_else(|| Cause::Setting {
                setting: "cookies",
                reason: format!(
                    "line {number} is not a cookie: expected seven fields separated by tabs"
                ),
            })?;
            cookie.set_http_only(http_only);
            self.lock().insert(cookie, &url);
        }
        Ok(())
    }

    /// The file as curl reads it with `-b`. It holds what opens the user's accounts: keep it from
    /// others.
    pub fn to_netscape(&self) -> String {
        netscape(&self.lock())
    }

    /// [`to_netscape`](Self::to_netscape), or `None` where a thread has the jar in its hands: in a
    /// process that was forked meanwhile it has it forever.
    pub fn try_to_netscape(&self) -> Option<String> {
        match self.0.try_lock() {
            Ok(table) => Some(netscape(&table)),
            Err(TryLockError::Poisoned(poisoned)) => Some(netscape(&poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn netscape(table: &CookieTable) -> String {
    let mut lines: Vec<String> = table.iter().filter_map(write).collect();
    lines.sort();
    format!("# Netscape HTTP Cookie File\n\n{}", lines.concat())
}

fn read(line: &str) -> Option<(Url, RawCookie<'static>)> {
    let fields: Vec<&str> = line.split('\t').collect();
    if fields.iter().any(|field| field.contains(char::is_control)) {
        return None;
    }
    let (domain, below, path, secure, ends, name, value) = match fields[..] {
        [domain, below, path, secure, ends, name, value] => {
            (domain, below, path, secure, ends, name, value)
        }
        // An empty value, whose tab an editor has dropped.
        [domain, below, path, secure, ends, name] => (domain, below, path, secure, ends, name, ""),
        _ => return None,
    };
    let flag = |text: &str| match text.to_ascii_uppercase().as_str() {
        "TRUE" => Some(true),
        "FALSE" => Some(false),
        _ => None,
    };
    let host = domain.trim_start_matches('.').to_owned();
    let url = Url::parse(&format!("https://{host}/")).ok()?;
    let mut cookie = RawCookie::new(name.to_owned(), value.to_owned());
    cookie.set_path(path.to_owned());
    cookie.set_secure(flag(secure)?);
    if flag(below)? {
        cookie.set_domain(host);
    }
    match ends.trim().parse::<i64>().ok()? {
        0 => {}
        seconds => cookie.set_expires(OffsetDateTime::from_unix_timestamp(seconds).ok()?),
    }
    Some((url, cookie))
}

fn write(cookie: &Cookie<'static>) -> Option<String> {
    let (domain, below) = match &cookie.domain {
        CookieDomain::HostOnly(host) => (host.clone(), "FALSE"),
        CookieDomain::Suffix(domain) => (format!(".{domain}"), "TRUE"),
        _ => return None,
    };
    let ends = match &cookie.expires {
        CookieExpiration::AtUtc(time) => time.unix_timestamp(),
        CookieExpiration::SessionEnd => 0,
    };
    let marker = match cookie.http_only() {
        Some(true) => HTTP_ONLY,
        _ => "",
    };
    let secure = match cookie.secure() {
        Some(true) => "TRUE",
        _ => "FALSE",
    };
    let (name, value) = cookie.name_value();
    let path: &str = cookie.path.as_ref();
    Some(format!(
        "{marker}{domain}\t{below}\t{path}\t{secure}\t{ends}\t{name}\t{value}\n"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn curls_file_is_read_and_written() {
        let file = "# Netscape HTTP Cookie File\n\n\
            #HttpOnly_a.test\tFALSE\t/\tFALSE\t0\tone\t1\n\
            .b.test\tTRUE\t/x\tTRUE\t4102444800\ttwo\t2\n";
        let jar = CookieJar::from_netscape(file).unwrap();
        assert_eq!(jar.to_netscape(), file);
        let sent = |url: &str| jar.header(&Url::parse(url).unwrap());
        assert_eq!(sent("http://a.test/").unwrap(), "one=1");
        assert_eq!(sent("https://www.b.test/x/y").unwrap(), "two=2");
        assert_eq!(sent("http://www.b.test/x/y"), None);
        assert_eq!(sent("https://www.a.test/"), None);
        jar.clear_session();
        assert_eq!(sent("http://a.test/"), None);
        assert_eq!(sent("https://b.test/x").unwrap(), "two=2");
    }

    #[test]
    fn a_line_that_is_no_cookie_is_named_and_not_shown() {
        for line in [
            "s3cret",
            "a.test\tMAYBE\t/\tFALSE\t0\tone\ts3cret",
            "a.test\tFALSE\t/\tFALSE\tsoon\tone\ts3cret",
            "a.test\tFALSE\t/\tFALSE\t0\tone\ts3cret\u{1}",
            "a.test\tFALSE\t/\tFALSE\t9999999999999\tone\ts3cret",
        ] {
            let error = CookieJar::from_netscape(&format!("\n{line}\n")).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("line 2"), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn no_cookie_of_a_server_breaks_the_file() {
        use http::header::{HeaderMap, SET_COOKIE};
        let jar = CookieJar::new();
        let mut headers = HeaderMap::new();
        for cookie in [
            "a=1\t2",
            "b\tc=1",
            "d=1; Path=/\tx",
            "good=1",
            "e=1; Path=/\x7f",
        ] {
            let cookie = http::HeaderValue::from_bytes(cookie.as_bytes());
            headers.extend(cookie.ok().map(|cookie| (SET_COOKIE, cookie)));
        }
        jar.store(&headers, &Url::parse("https://a.test/").unwrap());
        let read = CookieJar::from_netscape(&jar.to_netscape()).unwrap();
        assert_eq!(read.to_netscape(), jar.to_netscape());
        let sent = read.header(&Url::parse("https://a.test/").unwrap());
        assert_eq!(sent.unwrap(), "good=1");
    }
}
