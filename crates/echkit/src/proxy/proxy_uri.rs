//! A proxy, as its URI names it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::origin::{Host, HostName};

/// A proxy: how it is spoken to, where it is, and the credentials for it.
///
/// ```
/// use echkit::proxy::{Proxy, ProxyKind};
///
/// # fn example() -> Result<(), echkit::proxy::ProxyUriError> {
/// let proxy: Proxy = "https://user:secret@proxy.example:8443".parse()?;
/// assert_eq!(proxy.kind(), ProxyKind::Https);
/// // Credentials are in no text about it.
/// assert_eq!(proxy.to_string(), "https://proxy.example:8443");
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: ProxyKind,
    host: Host,
    port: u16,
    credentials: Option<(String, String)>,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyKind {
    /// HTTP CONNECT over TCP (RFC 9110 §9.3.6).
    Http,
    /// HTTP CONNECT over TLS.
    Https,
    /// SOCKS5 (RFC 1928); names are looked up by the client.
    Socks5,
    /// SOCKS5; names are looked up by the proxy.
    Socks5h,
}

impl ProxyKind {
    /// The scheme of its URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// Whether it is spoken to by HTTP.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// curl's: 443 for a proxy over TLS, else 1080.
    fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            _ => 1080,
        }
    }

    fn from_scheme(scheme: &str) -> Result<Self, ProxyUriError> {
        let known = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];
        let mut named = known
            .into_iter()
            .filter(|kind| scheme.eq_ignore_ascii_case(kind.as_str()));
        match named.next() {
            Some(kind) if kind.is_http() || cfg!(feature = "socks") => Ok(kind),
            Some(_) => Err(ProxyUriError::NoSocks),
            None => Err(ProxyUriError::Scheme),
        }
    }
}

impl fmt::Display for ProxyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Proxy {
    /// Reads `[http|https|socks5|socks5h://][USER:PASSWORD@]HOST[:PORT]`, as curl does: without a
    /// scheme it is `http`; the port is 443 for `https`, else 1080, where none is named. User and
    /// password may be percent-encoded. What follows the port is passed over.
    pub fn parse(uri: &str) -> Result<Self, ProxyUriError> {
        let (scheme, rest) = uri.split_once("://").unwrap_or(("http", uri));
        let kind = ProxyKind::from_scheme(scheme)?;
        // A scheme that the URL standard does not know, so that it drops no port as the default
        // one.
        let url = Url::parse(&format!("proxy://{rest}")).map_err(|error| match error {
            url::ParseError::EmptyHost => ProxyUriError::NoHost,
            url::ParseError::InvalidPort => ProxyUriError::Port,
            _ => ProxyUriError::Host,
        })?;
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() {
            return Err(ProxyUriError::NoHost);
        }
        let host = match Host::address(host) {
            Some(address) => Host::Ip(address),
            None => Host::Name(HostName::parse(host).map_err(|_| ProxyUriError::Host)?),
        };
        let proxy = Self {
            kind,
            host,
            port: url.port().unwrap_or(kind.default_port()),
            credentials: None,
        };
        match (url.username(), url.password()) {
            ("", None) => Ok(proxy),
            (user, password) => {
                let decoded = |text| {
                    let text = percent_decode_str(text).decode_utf8();
                    text.map_err(|_| ProxyUriError::Credentials)
                };
                proxy.with_credentials(&decoded(user)?, &decoded(password.unwrap_or_default())?)
            }
        }
    }

    /// The same with other credentials.
    ///
    /// # Errors
    ///
    /// When the user's name has a colon in it (RFC 7617 §2), or when one of them is longer than
    /// SOCKS5 can say: from 1 to 255 bytes (RFC 1929 §2).
    pub fn with_credentials(mut self, user: &str, password: &str) -> Result<Self, ProxyUriError> {
        let fits = match self.kind.is_http() {
            true => !user.contains(':'),
            false => [user, password]
                .iter()
                .all(|text| (1..=255).contains(&text.len())),
        };
        if !fits {
            return Err(ProxyUriError::Credentials);
        }
        self.credentials = Some((user.to_owned(), password.to_owned()));
        Ok(self)
    }

    /// How it is spoken to.
    pub fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// Its host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User and password.
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        let (user, password) = self.credentials.as_ref()?;
        Some((user, password))
    }

    /// The value of `Proxy-Authorization` (RFC 7617 §2).
    pub(crate) fn authorization(&self) -> Option<String> {
        let (user, password) = self.credentials()?;
        let pair = format!("{user}:{password}");
        let encoded = data_encoding::BASE64.encode(pair.as_bytes());
        Some(format!("Basic {encoded}"))
    }
}

impl FromStr for Proxy {
    type Err = ProxyUriError;

    fn from_str(uri: &str) -> Result<Self, ProxyUriError> {
        Self::parse(uri)
    }
}

impl fmt::Display for Proxy {
    /// As a URI, without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.kind, self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Why a text names no proxy. The text itself may hold a password, and is not in the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyUriError {
    /// A scheme other than those of [`ProxyKind`].
    #[error("the proxy's scheme is not supported: use http://, https://, socks5:// or socks5h://")]
    Scheme,
    /// The feature `socks` is off.
    #[error("SOCKS proxies are not compiled in: build with the feature `socks`")]
    NoSocks,
    /// There is no host.
    #[error("the proxy has no host: write [SCHEME://]HOST[:PORT]")]
    NoHost,
    /// The host is neither a name nor an address.
    #[error("the proxy's host is not a name or an address: write [SCHEME://]HOST[:PORT]")]
    Host,
    /// The port is not a number up to 65535.
    #[error("the proxy's port is not a number from 0 to 65535")]
    Port,
    /// The credentials cannot be said to the proxy.
    #[error(
        "the proxy's user or password cannot be used: for HTTP the user has no colon (RFC 7617 §2), \
         for SOCKS5 each has 1 to 255 bytes (RFC 1929 §2), and both are UTF-8"
    )]
    Credentials,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn proxies_are_read_as_curl_reads_them() {
        for (uri, shown, credentials) in [
            ("192.0.2.1", "http://192.0.2.1:1080", None),
            ("proxy.test:80", "http://proxy.test:80", None),
            ("http://proxy.test", "http://proxy.test:1080", None),
            ("HTTP://Proxy.test:80/path", "http://proxy.test:80", None),
            ("https://proxy.test", "https://proxy.test:443", None),
            (
                "https://[2001:db8::1]:8443",
                "https://[2001:db8::1]:8443",
                None,
            ),
            ("socks5://proxy.test", "socks5://proxy.test:1080", None),
            (
                "socks5h://proxy.test:9050",
                "socks5h://proxy.test:9050",
                None,
            ),
            ("u:p@proxy.test", "http://proxy.test:1080", Some(("u", "p"))),
            (
                "http://u@proxy.test",
                "http://proxy.test:1080",
                Some(("u", "")),
            ),
            (
                "http://u%40corp:p%3A%20w@proxy.test:3128",
                "http://proxy.test:3128",
                Some(("u@corp", "p: w")),
            ),
        ] {
            let proxy = Proxy::parse(uri).unwrap();
            assert_eq!(proxy.to_string(), shown, "{uri}");
            assert_eq!(proxy.credentials(), credentials, "{uri}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_no_text_holds_credentials() {
        for (uri, error) in [
            ("", ProxyUriError::NoHost),
            ("http://u:s3cret@", ProxyUriError::NoHost),
            ("socks4://u:s3cret@192.0.2.1", ProxyUriError::Scheme),
            ("ftp://proxy.test", ProxyUriError::Scheme),
            ("http://u:s3cret@proxy.test:99999", ProxyUriError::Port),
            ("http://u:s3cret@a b", ProxyUriError::Host),
            ("http://a..b", ProxyUriError::Host),
            ("http://a%3as3cret:b@proxy.test", ProxyUriError::Credentials),
            ("http://u:%ff@proxy.test", ProxyUriError::Credentials),
            ("socks5://u@proxy.test", ProxyUriError::Credentials),
        ] {
            let refused = Proxy::parse(uri).unwrap_err();
            assert_eq!(refused, error, "{uri}");
            assert!(!format!("{refused} {refused:?}").contains("s3cret"));
        }
        let proxy = Proxy::parse("http://u:s3cret@proxy.test").unwrap();
        assert!(!format!("{proxy} {proxy:?}").contains("s3cret"));
        // The example of RFC 7617 §2.
        let proxy = proxy.with_credentials("Aladdin", "open sesame").unwrap();
        let value = proxy.authorization().unwrap();
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
