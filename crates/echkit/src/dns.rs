//! Questions to a resolver, with records as raw bytes.
//!
//! A general purpose resolver library drops a whole message for one bad HTTPS record, which would
//! make "malformed" look like "no answer". Here a message is only walked; what is inside a record
//! is for [`echkit_proto::svcb`] to judge.

mod answer;
mod cache;
mod chain;
mod classic;
mod designated;
mod direct;
mod doh;
mod doh3;
mod doq;
mod dot;
mod exchange;
mod flight;
mod link;
mod message;
mod network;
mod options;
mod resolver;
mod system;
mod transport;
mod upstream;
mod uri;
mod watched;

pub use answer::{Answer, QueryError, RecordType, Status};
pub use options::{DiscoverEncrypted, ResolverOptions, UnknownDiscoverEncrypted};
pub use resolver::Resolver;
pub use uri::ResolverError;
