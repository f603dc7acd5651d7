//! The probes, a file for each family.

mod alpn;
mod authoritative;
mod configs;
mod hello_retry;
mod key;
mod public_name;
mod records;
mod rejection;
mod visible;

use crate::probe::Probe;

/// All probes, in the order in which they run.
pub(crate) fn all() -> [&'static dyn Probe; 11] {
    [
        &records::Records,
        &configs::Configs,
        &public_name::PublicNames,
        &key::PublishedKey,
        &rejection::RejectedKey,
        &hello_retry::HelloRetry,
        &alpn::Alpn,
        &authoritative::Authoritative,
        &visible::Grease,
        &visible::Plain,
        &visible::Tls12,
    ]
}
