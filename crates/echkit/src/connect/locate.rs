//! Where an origin can be reached: from DNS, or from the caller who knows better.

use super::connector::Shared;
use super::run::Wanted;
use crate::discover::{DiscoverOptions, Discovery, Families, discover_with};
use crate::origin::Origin;
use crate::policy::AddressFamily;

/// Where an origin can be reached.
pub(super) struct Located {
    /// The origin; `https` where DNS says that an `http` one is to be upgraded (RFC 9460 §9.5).
    pub(super) origin: Origin,
    pub(super) discovery: Discovery,
}

/// Finds out where the origin can be reached.
pub(super) async fn locate(shared: &Shared, wanted: &Wanted<'_>) -> Located {
    let options = DiscoverOptions {
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
    };
    let discovery = Box::pin(discover_with(&shared.resolver, wanted.origin, &options)).await;
    let origin = match discovery.https_upgrade {
        true => wanted.origin.to_https(),
        false => wanted.origin.clone(),
    };
    Located { origin, discovery }
}
