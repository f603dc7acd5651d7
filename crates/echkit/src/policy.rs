//! What the caller wants: chosen once, at the top, and handed down unchanged.
//!
//! The protocol crate says what is allowed and in which order; the values here say how far to go.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use echkit_proto::race::{Family, RaceSettings};
use serde::{Deserialize, Serialize};

/// How much Encrypted Client Hello a connection needs.
///
/// ```
/// use echkit::EchMode;
///
/// assert_eq!(EchMode::default(), EchMode::Prefer);
/// // As `ech get --ech` takes it.
/// let mode: EchMode = "require".parse()?;
/// assert!(mode.offers());
/// assert!(!EchMode::Grease.offers(), "GREASE is no offer");
/// # Ok::<(), echkit::policy::UnknownEchMode>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EchMode {
    /// No `encrypted_client_hello` extension at all.
    Off,
    /// Always a GREASE extension (RFC 9849 §6.2), never a real offer.
    Grease,
    /// A real offer when the origin publishes a usable ECHConfig, GREASE otherwise.
    #[default]
    Prefer,
    /// A real offer that the server accepts, or an error. Nothing that names the origin is sent
    /// over TLS otherwise, and plain `http://` is refused.
    Require,
}

impl EchMode {
    /// The name used on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Grease => "grease",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }

    /// True if a discovered ECHConfig is to be used (RFC 9849 §6.1).
    pub fn offers(self) -> bool {
        matches!(self, Self::Prefer | Self::Require)
    }
}

impl fmt::Display for EchMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EchMode {
    type Err = UnknownEchMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::Grease, Self::Prefer, Self::Require]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownEchMode(text.to_owned()))
    }
}

/// The text is none of `off`, `grease`, `prefer`, `require`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an ECH mode: use off, grease, prefer or require")]
pub struct UnknownEchMode(String);

/// How long a connection and its steps may take. `None` means without limit, and so does a
/// duration that goes past the end of the clock.
///
/// ```
/// use std::time::Duration;
/// use echkit::policy::Timeouts;
///
/// let timeouts = Timeouts::default()
///     .with_connect(Duration::from_secs(2))
///     .with_total(Duration::from_secs(30))
///     .with_response(None);
/// assert_eq!(timeouts.connect, Some(Duration::from_secs(2)));
/// assert_eq!(timeouts.response, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// A connection, up to the end of its TLS handshake: DNS, TCP and TLS together, with every
    /// attempt and retry. No attempt starts after it. The limits of the steps below hold within
    /// it.
    pub connect: Option<Duration>,
    /// All DNS queries of one connection together.
    pub dns: Option<Duration>,
    /// One TCP connection to one address, or the way to it through a proxy.
    pub tcp: Option<Duration>,
    /// One TLS handshake, on a TCP connection that is already there. A server that sends nothing
    /// in answer to a hello with GREASE gets another without it after three seconds, or after half
    /// of what is left.
    pub handshake: Option<Duration>,
    /// A request until the response's head, the connection included.
    pub response: Option<Duration>,
    /// How long a server may stay idle over HTTP: from one part of the request's body that it takes
    /// to the next, from the end of the request to the response's head, and from one part of the
    /// response's body to the next. Time in which nobody asks for the next part does not count.
    pub read: Option<Duration>,
    /// Everything; for HTTP, until the end of the response's body.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // One address that is lost in the network and one slow handshake.
            connect: Some(Duration::from_secs(30)),
            dns: Some(Duration::from_secs(10)),
            tcp: Some(Duration::from_secs(10)),
            handshake: Some(Duration::from_secs(15)),
            response: Some(Duration::from_secs(60)),
            read: None,
            // How long a body may take depends on what is in it.
            total: None,
        }
    }
}

impl Timeouts {
    /// The same with another limit for the connection.
    #[must_use]
    pub fn with_connect(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connect = limit.into();
        self
    }

    /// The same with another limit for DNS.
    #[must_use]
    pub fn with_dns(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.dns = limit.into();
        self
    }

    /// The same with another limit for each TCP connection.
    #[must_use]
    pub fn with_tcp(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.tcp = limit.into();
        self
    }

    /// The same with another limit for each TLS handshake.
    #[must_use]
    pub fn with_handshake(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.handshake = limit.into();
        self
    }

    /// The same with another limit for the response's head.
    #[must_use]
    pub fn with_response(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.response = limit.into();
        self
    }

    /// The same with another limit for an idle server.
    #[must_use]
    pub fn with_read(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.read = limit.into();
        self
    }

    /// The same with another limit for everything.
    #[must_use]
    pub fn with_total(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.total = limit.into();
        self
    }
}

/// Which kinds of addresses are looked up and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressFamily {
    /// IPv6 and IPv4.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl AddressFamily {
    /// True if `address` may be used.
    pub fn allows(self, address: std::net::IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// Whether addresses of one family are looked up and used.
    pub(crate) fn includes(self, family: Family) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => family == Family::V4,
            Self::V6 => family == Family::V6,
        }
    }
}

/// How attempts follow each other (draft-ietf-happy-happyeyeballs-v3, RFC 8305).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Racing {
    /// From the start of one attempt to that of the next, while none has failed. Not less than
    /// 10 ms.
    pub attempt_delay: Duration,
    /// How long IPv6 addresses, or an endpoint that comes first, may lag behind others in DNS.
    pub resolution_delay: Duration,
    /// Attempts at the same time, at most. One makes them follow each other.
    pub max_attempts: usize,
}

impl Default for Racing {
    fn default() -> Self {
        let RaceSettings {
            attempt_delay,
            resolution_delay,
            max_attempts,
            ..
        } = RaceSettings::default();
        Self {
            attempt_delay,
            resolution_delay,
            max_attempts,
        }
    }
}

impl Racing {
    /// The same with another delay between attempts.
    #[must_use]
    pub fn with_attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay;
        self
    }

    /// The same with another delay for better answers.
    #[must_use]
    pub fn with_resolution_delay(mut self, delay: Duration) -> Self {
        self.resolution_delay = delay;
        self
    }

    /// The same with another bound on attempts at the same time.
    #[must_use]
    pub fn with_max_attempts(mut self, count: usize) -> Self {
        self.max_attempts = count;
        self
    }
}

/// The caller's choices for every connection of one client or connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How much ECH is needed.
    pub ech: EchMode,
    /// Whether a rejected offer may be followed by a second connection (RFC 9849 §6.1.6): with
    /// the server's retry configs, or without ECH where the server securely disabled it.
    pub retry: bool,
    /// Whether retry configs may serve later connections ([`crate::cache`]).
    pub cache: bool,
    /// Whether a server whose records have no ECHConfig is asked for its own: with an offer under
    /// a made-up key and the origin's name outside, which the network sees, as it would with
    /// GREASE.
    pub learn: bool,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// Which addresses may be used.
    pub family: AddressFamily,
    /// How attempts follow each other.
    pub racing: Racing,
    /// The interface, by its index, that link-local IPv6 addresses are reached over (RFC 4007 §6).
    pub link_local_scope: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ech: EchMode::default(),
            retry: true,
            cache: true,
            learn: false,
            timeouts: Timeouts::default(),
            family: AddressFamily::default(),
            racing: Racing::default(),
            link_local_scope: None,
        }
    }
}

impl Policy {
    /// The address with the interface that it is reached over.
    pub(crate) fn scoped(&self, address: SocketAddr) -> SocketAddr {
        match (address, self.link_local_scope) {
            (SocketAddr::V6(mut address), Some(scope)) if address.ip().is_unicast_link_local() => {
                address.set_scope_id(scope);
                SocketAddr::V6(address)
            }
            _ => address,
        }
    }

    /// The same with the interface that link-local IPv6 addresses are reached over.
    #[must_use]
    pub fn with_link_local_scope(mut self, index: impl Into<Option<u32>>) -> Self {
        self.link_local_scope = index.into();
        self
    }

    /// The same with another need of ECH.
    #[must_use]
    pub fn with_ech(mut self, mode: EchMode) -> Self {
        self.ech = mode;
        self
    }

    /// The same with or without second connections after a rejection.
    #[must_use]
    pub fn with_retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// The same with or without retry configs that serve later connections.
    #[must_use]
    pub fn with_cache(mut self, cache: bool) -> Self {
        self.cache = cache;
        self
    }

    /// The same with or without asking servers for their configs.
    #[must_use]
    pub fn with_learn(mut self, learn: bool) -> Self {
        self.learn = learn;
        self
    }

    /// The same with other limits of time.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The same with other kinds of addresses.
    #[must_use]
    pub fn with_family(mut self, family: AddressFamily) -> Self {
        self.family = family;
        self
    }

    /// The same with another order of attempts in time.
    #[must_use]
    pub fn with_racing(mut self, racing: Racing) -> Self {
        self.racing = racing;
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mode_names_round_trip_and_others_are_refused() {
        for name in ["off", "grease", "prefer", "require"] {
            let mode: EchMode = name.parse().unwrap();
            assert_eq!(mode.to_string(), name);
            assert_eq!(serde_json::to_value(mode).unwrap(), name);
        }
        let error = "always".parse::<EchMode>().unwrap_err();
        assert!(error.to_string().contains("`always`"), "{error}");
    }
}
