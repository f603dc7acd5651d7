//! What a race is about: endpoints, address families, and how it is run.

use core::time::Duration;
use std::net::IpAddr;

/// Addresses used of one answer, or of the hints of one family in one record; the others are
/// dropped. Far more than a service needs (a name with twenty is rare), and few enough that a
/// hostile answer with thousands, or a list of 16,000 hints, costs no more than an honest one.
pub const MAX_ADDRESSES: usize = 64;

/// How a race is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaceSettings {
    /// From the start of one attempt to that of the next: the Connection Attempt Delay.
    pub attempt_delay: Duration,
    /// How long to wait for better answers once there is an address: the Resolution Delay.
    pub resolution_delay: Duration,
    /// Attempts that run at the same time, at most; at least one.
    pub max_attempts: usize,
    /// Whether IPv6 may be used.
    pub v6: bool,
    /// Whether IPv4 may be used.
    pub v4: bool,
}

impl RaceSettings {
    /// The Connection Attempt Delay where nothing else is chosen (RFC 8305 §5).
    pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
}

impl Default for RaceSettings {
    /// The values that the draft recommends. It has no limit on attempts at the same time; after
    /// six that hang, a seventh is unlikely to do better.
    fn default() -> Self {
        Self {
            attempt_delay: Self::ATTEMPT_DELAY,
            resolution_delay: Duration::from_millis(50),
            max_attempts: 6,
            v6: true,
            v4: true,
        }
    }
}

impl RaceSettings {
    /// The Connection Attempt Delay must not be shorter than this (draft, "Connection Attempts").
    pub const LEAST_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

    /// Whether addresses of this family are asked for and used.
    pub fn allows(&self, family: Family) -> bool {
        match family {
            Family::V6 => self.v6,
            Family::V4 => self.v4,
        }
    }
}

/// An address family, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv6, asked for by AAAA.
    V6,
    /// IPv4, asked for by A.
    V4,
}

impl Family {
    /// Both, the preferred one first.
    pub const BOTH: [Self; 2] = [Self::V6, Self::V4];

    /// The family of an address.
    pub fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V6(_) => Self::V6,
            IpAddr::V4(_) => Self::V4,
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::V6 => Self::V4,
            Self::V4 => Self::V6,
        }
    }
}

/// A host whose addresses are asked for, by a number that the user gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(pub usize);

impl Target {
    /// The origin's own host, which is asked for from the start.
    pub const OWN: Self = Self(0);
}

/// A place at which the origin can be reached, with a value of the caller's that comes back in
/// each [`Start`](super::Start).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaceEndpoint<T> {
    /// Whose addresses to connect to.
    pub target: Target,
    /// The port to connect to.
    pub port: u16,
    /// Whether ECH will be offered there, for real.
    pub ech: bool,
    /// Addresses to use until answers arrive, or when there are none (RFC 9460 §7.3).
    pub hints: Vec<IpAddr>,
    /// The caller's: what to do there.
    pub value: T,
}

impl<T> RaceEndpoint<T> {
    /// An endpoint without ECH and hints.
    pub fn new(target: Target, port: u16, value: T) -> Self {
        Self {
            target,
            port,
            ech: false,
            hints: Vec::new(),
            value,
        }
    }

    /// The same with ECH.
    #[must_use]
    pub fn with_ech(mut self) -> Self {
        self.ech = true;
        self
    }

    /// The same with hints.
    #[must_use]
    pub fn with_hints(mut self, hints: impl IntoIterator<Item = IpAddr>) -> Self {
        self.hints = hints.into_iter().collect();
        self
    }
}
