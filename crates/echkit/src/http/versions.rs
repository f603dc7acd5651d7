//! Versions of HTTP and their ALPN names (RFC 7301).

/// HTTP/2 over TLS.
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1.
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// Which versions of HTTP to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersions {
    /// HTTP/2 where the server does, else HTTP/1.1.
    #[default]
    Any,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; without TLS, by prior knowledge (RFC 9113 §3.3).
    Http2,
}

impl HttpVersions {
    /// What to offer, in order.
    pub(super) fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Any => &[H2, HTTP1],
            Self::Http1 => &[HTTP1],
            Self::Http2 => &[H2],
        }
    }
}
