//! What discovery is to know about a connection that is wanted.

use super::connector::Shared;
use super::run::Wanted;
use crate::discover::{DiscoverOptions, Families};
use crate::policy::AddressFamily;

/// The caller's wishes, as discovery takes them.
pub(super) fn options(shared: &Shared, wanted: &Wanted<'_>) -> DiscoverOptions {
    DiscoverOptions {
        alpn: wanted.alpn.to_vec(),
        ech: shared.policy.ech.offers(),
        families: match shared.policy.family {
            AddressFamily::Any => Families::Both,
            AddressFamily::V4 => Families::V4,
            AddressFamily::V6 => Families::V6,
        },
        resolve: shared.overrides.addresses.clone(),
        connect_to: shared.overrides.endpoint(wanted.origin).cloned(),
        ..DiscoverOptions::default()
    }
}
