//! What a ClientHello says about ECH.

use crate::config::{Chosen, Selection};

/// What a ClientHello says about ECH: one of these four, from the choice of an endpoint to the TLS
/// library.
#[derive(Clone, Debug, Default)]
pub enum EchOffer {
    /// Nothing; TLS 1.2 is allowed.
    #[default]
    None,
    /// GREASE (RFC 9849 §6.2). rustls then offers TLS 1.3 only.
    Grease,
    /// An offer under a made-up key, with the origin's own name as public_name: a server
    /// of that name rejects it and sends its configs. It hides nothing.
    Learn(Box<Chosen>),
    /// A real offer (RFC 9849 §6.1).
    Real(Box<RealOffer>),
}

impl EchOffer {
    /// A real offer of one config, which the caller gives.
    pub fn real(chosen: Chosen) -> Self {
        Self::Real(Box::new(RealOffer::new(chosen)))
    }

    /// Whether the origin's name is hidden if this is sent.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Real(_))
    }

    /// Whether this asks for the server's configs.
    pub fn is_learning(&self) -> bool {
        matches!(self, Self::Learn(_))
    }

    /// Where the config of a real offer comes from.
    pub fn source(&self) -> Option<ConfigSource> {
        match self {
            Self::Real(offer) => Some(offer.source),
            Self::None | Self::Grease | Self::Learn(_) => None,
        }
    }

    /// The configs to seal under, in the order in which they are tried.
    pub fn configs(&self) -> impl Iterator<Item = &Chosen> {
        let (first, others) = match self {
            Self::None | Self::Grease => (None, &[][..]),
            Self::Learn(made_up) => (Some(&**made_up), &[][..]),
            Self::Real(offer) => (Some(&offer.chosen), &offer.others[..]),
        };
        first.into_iter().chain(others)
    }
}

/// A real offer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RealOffer {
    /// The config and the suite.
    pub chosen: Chosen,
    /// Usable configs of the same list to take, in turn, where encapsulating to the key before
    /// fails.
    pub others: Vec<Chosen>,
    /// Where the configs come from.
    pub source: ConfigSource,
}

impl RealOffer {
    /// An offer of one config, which the caller gives.
    pub fn new(chosen: Chosen) -> Self {
        Self {
            chosen,
            others: Vec::new(),
            source: ConfigSource::Manual,
        }
    }

    /// The offer that follows from looking through an ECHConfigList; `None` when no config in it
    /// is usable.
    pub fn from_selection(selection: Selection, source: ConfigSource) -> Option<Self> {
        Some(Self {
            chosen: selection.chosen?,
            others: selection.others,
            source,
        })
    }

    /// The same with those configs alone that hide `host`: a config whose public_name is that name
    /// shows it in the clear. `None` when there is no other.
    pub fn hiding(self, host: &str) -> Option<Self> {
        let mut usable = core::iter::once(self.chosen).chain(self.others);
        let mut usable = usable.by_ref().filter(|chosen| chosen.hides(host));
        Some(Self {
            chosen: usable.next()?,
            others: usable.collect(),
            source: self.source,
        })
    }

    /// The same from elsewhere.
    #[must_use]
    pub fn with_source(mut self, source: ConfigSource) -> Self {
        self.source = source;
        self
    }
}

/// Where an ECHConfig comes from. What a server sends in its place holds for this source alone
/// (RFC 9849 §6.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// An HTTPS record (RFC 9848).
    Dns,
    /// The caller.
    Manual,
    /// The server's own retry configs, on this connection.
    Retry,
    /// Retry configs of an earlier connection.
    Cache,
    /// Retry configs that were asked for on purpose.
    Learned,
}
