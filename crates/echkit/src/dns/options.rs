//! How a resolver is talked to.

use core::fmt;
use core::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::exchange::Patience;
use crate::clock::Clock;
use crate::proxy::ProxyEnvironment;

/// How a resolver is talked to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResolverOptions {
    /// Verifies the servers of encrypted transports. Its ALPN protocols are replaced.
    pub tls: Option<Arc<ClientConfig>>,
    /// How long one question may take in all, from when it is its turn.
    pub timeout: Duration,
    /// How often a question is sent over UDP or TCP within that time, and how many connections in a
    /// row may end without any answer. A server in the clear that has not answered yet is asked
    /// once without EDNS (RFC 6891 §7), as one of these or on top of a single one.
    pub tries: u32,
    /// How many octets of answers are kept while they hold, about; 0 keeps none.
    pub cache: usize,
    /// The time by which answers age.
    pub(crate) clock: Clock,
    /// The proxies through which resolvers over TLS and HTTPS (`tls://`, `https://`) are reached; by
    /// default none. The one for `https://HOST:PORT` of the resolver's URI counts, and it is told
    /// the resolver's address. Other transports, and encrypted forms that a resolver designates, go
    /// through no proxy.
    pub proxies: ProxyEnvironment,
    /// Verifies proxies over TLS; [`ResolverOptions::tls`] where it is not set.
    pub proxy_tls: Option<Arc<ClientConfig>>,
    /// Whether a resolver in the clear is asked for its encrypted form, for which
    /// [`ResolverOptions::tls`] is needed. Encrypted resolvers are what they are.
    pub discover_encrypted: DiscoverEncrypted,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            tls: None,
            timeout: Duration::from_secs(5),
            tries: 4,
            cache: 4 << 20,
            clock: Clock::default(),
            proxies: ProxyEnvironment::default(),
            proxy_tls: None,
            discover_encrypted: DiscoverEncrypted::Off,
        }
    }
}

impl ResolverOptions {
    /// The same with what verifies the servers of encrypted transports.
    #[must_use]
    pub fn with_tls(mut self, config: impl Into<Option<Arc<ClientConfig>>>) -> Self {
        self.tls = config.into();
        self
    }

    /// The same with another limit for one question.
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// The same with another number of tries.
    #[must_use]
    pub fn with_tries(mut self, count: u32) -> Self {
        self.tries = count;
        self
    }

    /// The same with room for so many octets of answers.
    #[must_use]
    pub fn with_cache(mut self, octets: usize) -> Self {
        self.cache = octets;
        self
    }

    /// The same with the proxies through which resolvers over TLS and HTTPS are reached.
    #[must_use]
    pub fn with_proxies(mut self, proxies: ProxyEnvironment) -> Self {
        self.proxies = proxies;
        self
    }

    /// The same with what verifies proxies over TLS.
    #[must_use]
    pub fn with_proxy_tls(mut self, config: impl Into<Option<Arc<ClientConfig>>>) -> Self {
        self.proxy_tls = config.into();
        self
    }

    /// The same with or without looking for the encrypted form of a resolver in the clear.
    #[must_use]
    pub fn with_discover_encrypted(mut self, mode: DiscoverEncrypted) -> Self {
        self.discover_encrypted = mode;
        self
    }

    /// How long to wait for one question, and how often to ask.
    pub(super) fn patience(&self) -> Patience {
        Patience {
            total: self.timeout,
            tries: self.tries.max(1),
        }
    }

    /// The same with another clock. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

/// Whether a resolver in the clear is asked for its encrypted form (RFC 9462), which is then used
/// in its place.
///
/// The discovery is verified (§4.2): the certificate of the encrypted form must be good for the
/// address of the resolver in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiscoverEncrypted {
    /// It is not asked.
    #[default]
    Off,
    /// Where no encrypted form is found and verified, the resolver is asked in the clear.
    Try,
    /// Where none is found and verified, every question fails.
    Require,
}

impl DiscoverEncrypted {
    /// The word for it: `off`, `try` or `require`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Try => "try",
            Self::Require => "require",
        }
    }
}

impl fmt::Display for DiscoverEncrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DiscoverEncrypted {
    type Err = UnknownDiscoverEncrypted;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::Try, Self::Require]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownDiscoverEncrypted(text.to_owned()))
    }
}

/// The text is none of `off`, `try`, `require`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mode of resolver discovery: use off, try or require")]
pub struct UnknownDiscoverEncrypted(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_written() {
        use DiscoverEncrypted::{Off, Require, Try};
        for mode in [Off, Try, Require] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("on".parse::<DiscoverEncrypted>().is_err());
    }
}
