//! Publishing an ECHConfigList in the HTTPS records of a name: what is there is kept, and only the
//! parameter `ech` changes.

mod check;
mod dns_exchange;
mod dns_server;
mod error;
mod history;
mod publisher;
mod rrset;
mod wait;

pub use check::{CheckOptions, check_accepted};
pub use dns_server::DnsServer;
pub use error::PublishError;
pub use history::{Publication, PublishHistory};
pub use publisher::{PublishedSite, Publisher, dns_servers, name_servers};
pub use rrset::HttpsRrset;
pub use wait::{WaitFor, wait_until_shown};
