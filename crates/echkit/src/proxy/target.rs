//! Where a proxy is asked to connect to.

use std::fmt;
use std::net::SocketAddr;

use crate::origin::HostName;

/// Where a proxy is asked to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyTarget {
    Address(SocketAddr),
    Name(HostName, u16),
}

impl fmt::Display for ProxyTarget {
    /// As the request-target of CONNECT (RFC 9112 §3.2.3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{}:{port}", name.as_str()),
        }
    }
}
