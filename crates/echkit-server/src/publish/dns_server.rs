//! One DNS server, by its address.

use std::fmt;
use std::net::SocketAddr;

/// A DNS server at one address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsServer {
    name: Option<String>,
    address: SocketAddr,
}

impl DnsServer {
    /// The server at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            name: None,
            address,
        }
    }

    /// The same, called `name` in messages.
    #[must_use]
    pub fn with_name(mut self, name: impl fmt::Display) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}
