//! Questions to a resolver, with records as raw bytes.
//!
//! What a message and a chain of CNAMEs say is decided in [`echkit_proto::dns`]; here are the
//! transports, tries and time-outs, the cache and the resolver's encrypted form.

mod answer;
mod bootstrap;
mod cache;
mod classic;
mod designated;
mod direct;
#[cfg(feature = "dns-https")]
mod doh;
#[cfg(feature = "dns-quic")]
mod doh3;
#[cfg(any(feature = "dns-https", feature = "dns-quic"))]
mod doh_message;
#[cfg(any(feature = "dns-https", feature = "dns-quic"))]
mod doh_target;
#[cfg(feature = "dns-quic")]
mod doq;
mod dot;
mod exchange;
mod flight;
mod link;
mod network;
mod options;
mod resolver;
mod resolver_proxy;
mod system;
mod transport;
mod upstream;
mod uri;
mod watched;

pub use answer::{Answer, MAX_ADDRESSES, QueryError, RecordType, Status};
pub use options::{DiscoverEncrypted, ResolverOptions, UnknownDiscoverEncrypted};
pub use resolver::Resolver;
pub use uri::ResolverError;
