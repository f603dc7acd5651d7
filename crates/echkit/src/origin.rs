//! The origin of a URL: scheme, host and port (RFC 9110 §4.3.1).

use core::fmt;
use core::str::FromStr;
use std::net::IpAddr;

use echkit_proto::svcb::{self, DomainName};
use rustls_pki_types::{DnsName, ServerName};
use url::Url;

pub use echkit_proto::svcb::Scheme;

/// A scheme, a host and a port: what a page belongs to, and what its certificate is checked for.
///
/// ```
/// use echkit::Origin;
///
/// let origin: Origin = "https://www.example:8443/path?query".parse()?;
/// assert_eq!(origin.to_string(), "https://www.example:8443");
/// // Where its HTTPS records are (RFC 9460 §9.1).
/// assert_eq!(origin.query_name().unwrap().to_string(), "_8443._https.www.example");
/// # Ok::<(), echkit::origin::OriginError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an origin is these three (RFC 6454 §4)"
)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// The host, which is the service name of RFC 9460 when it is a name.
    pub host: Host,
    /// The port, the scheme's own where the URL names none.
    pub port: u16,
}

impl Origin {
    /// Reads the origin out of a URL; path, query, fragment and credentials are no part of it.
    ///
    /// Names become ASCII by UTS #46, as browsers do. A trailing dot is dropped: it says nothing
    /// that a fully qualified lookup does not, and it is not sent in SNI (RFC 6066 §3).
    pub fn parse(url: &str) -> Result<Self, OriginError> {
        let parsed = Url::parse(url).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => {
                OriginError::NoScheme(without_credentials(url))
            }
            url::ParseError::EmptyHost => OriginError::NoHost,
            url::ParseError::InvalidPort => OriginError::Port(without_credentials(url)),
            error => OriginError::Url {
                url: without_credentials(url),
                error,
            },
        })?;
        Self::from_url(&parsed)
    }

    /// The origin of a URL that has been parsed.
    pub fn from_url(url: &Url) -> Result<Self, OriginError> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            // `localhost:8080/x` parses as a URL of the scheme `localhost`.
            _ if url.cannot_be_a_base() => {
                return Err(OriginError::NoScheme(without_credentials(url.as_str())));
            }
            other => return Err(OriginError::Scheme(other.to_owned())),
        };
        let host = match url.host().ok_or(OriginError::NoHost)? {
            url::Host::Ipv4(address) => Host::Ip(address.into()),
            url::Host::Ipv6(address) => Host::Ip(address.into()),
            url::Host::Domain(name) => Host::Name(HostName::from_ascii(name)?),
        };
        let port = url.port().unwrap_or(scheme.default_port());
        Ok(Self { scheme, host, port })
    }

    /// Where this origin's HTTPS record lives (RFC 9460 §9.1); `None` for an IP address.
    pub fn query_name(&self) -> Option<DomainName> {
        match &self.host {
            // The bound on host names leaves room for every prefix but the longest host's; such
            // a host has no record at such a port.
            Host::Name(name) => svcb::query_name(self.scheme, name.dns(), self.port).ok(),
            Host::Ip(_) => None,
        }
    }

    /// The `https` origin that replaces an `http` one: port 80 becomes 443 (RFC 9460 §9.5).
    pub fn to_https(&self) -> Self {
        Self {
            scheme: Scheme::Https,
            host: self.host.clone(),
            port: svcb::https_port(self.scheme, self.port),
        }
    }

    /// Host and port as `Host` and `:authority` carry them: a default port is left out.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    /// The ASCII serialization of RFC 6454 §6.2.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(url: &str) -> Result<Self, OriginError> {
        Self::parse(url)
    }
}

/// Text that is not a URL with a host, as errors show it: what comes before its last `@` may be a
/// password, and is left out.
pub(crate) fn without_credentials(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://{after}"),
        None => after.to_owned(),
    }
}

/// The host of an origin or of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a host is a name or an address (RFC 3986 §3.2.2)"
)]
pub enum Host {
    /// A name, to be looked up.
    Name(HostName),
    /// An address literal; it has no HTTPS record.
    Ip(IpAddr),
}

impl Host {
    /// The address that a text is: IPv6 with the brackets of a URL or without.
    pub fn address(text: &str) -> Option<IpAddr> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        bare.unwrap_or(text).parse().ok()
    }

    /// The name, unless the host is an address.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }

    /// What a certificate is checked against.
    pub fn server_name(&self) -> ServerName<'static> {
        match self {
            Self::Name(name) => ServerName::DnsName(name.tls.clone()),
            Self::Ip(address) => ServerName::IpAddress((*address).into()),
        }
    }
}

impl fmt::Display for Host {
    /// As in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A host name that both DNS and TLS can carry: ASCII, lower case, without trailing dot.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostName {
    tls: DnsName<'static>,
    dns: DomainName,
}

impl HostName {
    /// Takes a name typed by a person: Unicode becomes ASCII by UTS #46.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let ascii = idna::domain_to_ascii(text).map_err(|_| OriginError::HostName {
            host: text.to_owned(),
            reason: fault(text),
        })?;
        Self::from_ascii(&ascii)
    }

    fn from_ascii(ascii: &str) -> Result<Self, OriginError> {
        let bad = || OriginError::HostName {
            host: ascii.to_owned(),
            reason: fault(ascii.strip_suffix('.').unwrap_or(ascii)),
        };
        let name = ascii
            .strip_suffix('.')
            .unwrap_or(ascii)
            .to_ascii_lowercase();
        // DNS reads a backslash as an escape; no host name has one.
        let plain = !name.contains('\\');
        let dns = name.parse().ok().filter(|_| plain).ok_or_else(bad)?;
        let tls = DnsName::try_from(name).map_err(|_| bad())?;
        Ok(Self { tls, dns })
    }

    /// The host name that a DNS name is; `None` where TLS has no way to say it.
    pub fn from_dns(name: &DomainName) -> Option<Self> {
        Self::from_ascii(&name.to_string()).ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.tls.as_ref()
    }

    /// The name as DNS asks for it.
    pub fn dns(&self) -> &DomainName {
        &self.dns
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName({self})")
    }
}

impl FromStr for HostName {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::parse(text)
    }
}

/// What is wrong with a name that not both DNS and TLS can carry.
fn fault(name: &str) -> &'static str {
    let any = |wrong: fn(&str) -> bool| name.split('.').any(wrong);
    if name.is_empty() {
        "it is empty"
    } else if any(str::is_empty) {
        "a label is empty"
    } else if any(|label| label.len() > 63) {
        "a label is longer than 63 characters"
    } else if name.len() > 253 {
        "it is longer than 253 characters"
    } else if any(|label| label.starts_with('-') || label.ends_with('-')) {
        "a label begins or ends with a hyphen, which TLS cannot name (RFC 1123 §2.1)"
    } else {
        "it has a character or a number where host names have none"
    }
}

/// Why text has no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The text does not start with a scheme.
    #[error("{0:?} has no scheme; a URL starts with https:// or http://")]
    NoScheme(String),
    /// A scheme other than `http` and `https`.
    #[error("the scheme {0:?} is not supported; use https:// or http://")]
    Scheme(String),
    /// A URL without a host.
    #[error("the URL names no host")]
    NoHost,
    /// A port that is not a number up to 65535.
    #[error("the port in {0:?} is not a number from 0 to 65535")]
    Port(String),
    /// A host that cannot be looked up, or that no certificate can be for.
    #[error("{host:?} is not a host name: {reason}")]
    HostName {
        /// The host as written.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Anything else that is wrong with a URL.
    #[error("{url:?} is not a URL: {error}")]
    Url {
        /// The text.
        url: String,
        /// What the URL standard holds against it.
        error: url::ParseError,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_scheme_host_and_port() {
        for (url, origin, query) in [
            (
                "https://Example.com/a?b#c",
                "https://example.com",
                Some("example.com"),
            ),
            (
                "https://example.com:443",
                "https://example.com",
                Some("example.com"),
            ),
            (
                "https://user:pw@example.com:8443/",
                "https://example.com:8443",
                Some("_8443._https.example.com"),
            ),
            (
                "http://example.com",
                "http://example.com",
                Some("example.com"),
            ),
            (
                "http://example.com:8080",
                "http://example.com:8080",
                Some("_8080._https.example.com"),
            ),
            (
                "https://example.com./",
                "https://example.com",
                Some("example.com"),
            ),
            (
                "https://bücher.example",
                "https://xn--bcher-kva.example",
                Some("xn--bcher-kva.example"),
            ),
            (
                "https://EXAMPLE。com",
                "https://example.com",
                Some("example.com"),
            ),
            (
                "https://under_score.example",
                "https://under_score.example",
                Some("under_score.example"),
            ),
            ("https://192.0.2.1:8443", "https://192.0.2.1:8443", None),
            ("https://0x7f.1/", "https://127.0.0.1", None),
            ("https://[2001:db8::1]", "https://[2001:db8::1]", None),
        ] {
            let parsed = Origin::parse(url).unwrap();
            assert_eq!(parsed.to_string(), origin, "{url}");
            let name = parsed.query_name().map(|name| name.to_string());
            assert_eq!(name.as_deref(), query, "{url}");
        }
    }

    #[test]
    fn refuses_what_is_no_origin() {
        let error = |url: &str| Origin::parse(url).unwrap_err();
        assert!(matches!(error("example.com"), OriginError::NoScheme(_)));
        assert!(matches!(
            error("example.com:8080/x"),
            OriginError::NoScheme(_)
        ));
        assert!(matches!(error(""), OriginError::NoScheme(_)));
        assert_eq!(
            error("ftp://example.com"),
            OriginError::Scheme("ftp".into())
        );
        assert_eq!(error("https://"), OriginError::NoHost);
        assert!(matches!(error("https://a:99999"), OriginError::Port(_)));
        for host in ["a..b", "-a.example", "*.example", "..", "a.1.2.3.4.5"] {
            assert!(
                Origin::parse(&format!("https://{host}/")).is_err(),
                "{host}"
            );
        }
        let label = "a".repeat(64);
        assert!(Origin::parse(&format!("https://{label}.example/")).is_err());
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_the_reason() {
        let long = "a".repeat(64);
        for (host, reason) in [
            ("-x-.example", "hyphen"),
            ("a-.example", "hyphen"),
            ("a..b", "empty"),
            (&*long, "63"),
            (&*["a"; 128].join("."), "253"),
            ("*.example", "character"),
        ] {
            let error = Origin::parse(&format!("https://{host}/")).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(host) && text.contains(reason), "{text}");
        }
    }

    #[test]
    fn errors_show_no_credentials() {
        for url in [
            "https://u:s3cret@a.example:99999/",
            "https://u:s3cret@a b/",
            "https://u:s3cret@",
            "https://u:s3cret@-a.example",
            "u:s3cret@a.example",
            "ftp://u:s3cret@a.example",
            "//u:s3cret@a.example",
        ] {
            let error = Origin::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn an_http_origin_has_an_https_counterpart() {
        let https = |url| Origin::parse(url).unwrap().to_https().to_string();
        assert_eq!(https("http://a.example"), "https://a.example");
        assert_eq!(https("http://a.example:8080"), "https://a.example:8080");
        assert_eq!(https("https://a.example:80"), "https://a.example:80");
    }

    #[test]
    fn the_server_name_has_no_trailing_dot_and_no_brackets() {
        let name = |url| Origin::parse(url).unwrap().host.server_name();
        assert_eq!(
            name("https://a.example."),
            ServerName::try_from("a.example").unwrap()
        );
        assert_eq!(name("https://[::1]"), ServerName::try_from("::1").unwrap());
    }
}
