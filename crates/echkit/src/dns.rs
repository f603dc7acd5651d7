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
mod doh;
mod doh3;
mod doq;
mod dot;
mod flight;
mod message;
mod resolver;
mod system;
mod upstream;
mod uri;

pub use answer::{Answer, QueryError, RecordType, Status};
pub use designated::{DiscoverEncrypted, UnknownDiscoverEncrypted};
pub use resolver::{Resolver, ResolverOptions};
pub use uri::ResolverError;
