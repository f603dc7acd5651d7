//! The probes, a file for each family.

mod alpn;
mod authoritative;
mod configs;
mod hello_retry;
mod http;
mod key;
mod origin_svcb;
mod page;
mod public_name;
mod public_site;
mod records;
mod rejection;
mod resumption;
mod visible;

use crate::probe::Probe;

/// All probes, in the order in which they run.
pub(crate) fn all() -> [&'static dyn Probe; 16] {
    [
        &records::Records,
        &configs::Configs,
        &public_name::PublicNames,
        &key::PublishedKey,
        &rejection::RejectedKey,
        &hello_retry::HelloRetry,
        &alpn::Alpn,
        &page::Page,
        &origin_svcb::OriginSvcbProbe,
        &resumption::Resumption,
        &public_site::PublicSite,
        &authoritative::Authoritative,
        &visible::Grease,
        &visible::Plain,
        &visible::Tls12,
        &http::Http,
    ]
}
