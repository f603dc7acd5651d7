//! What discovery is to know about a connection that is requested.

use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use super::proxy_route::ProxyRoute;
use crate::discover::{DiscoverOptions, FixedAddresses};

/// The caller's wishes, as discovery takes them.
pub(super) fn discovery_options(
    parts: &ConnectorParts,
    request: &ConnectionRequest<'_>,
    route: Option<&ProxyRoute>,
) -> DiscoverOptions {
    let mut resolve = parts.overrides.addresses.clone();
    if let Some(name) = route.and_then(ProxyRoute::named) {
        let stand_in = ProxyRoute::stand_in(parts.policy.family);
        resolve.push(FixedAddresses::new(name.clone(), None, [stand_in]));
    }
    let connect_to = parts.overrides.endpoint(request.origin);
    // Where place and ECHConfigs are given, DNS has nothing to add.
    let all_given = connect_to.is_some() && parts.manual_list(request).is_some();
    DiscoverOptions {
        alpn: request.alpn.to_vec(),
        ech: parts.policy.ech.offers() && !all_given,
        family: parts.policy.family,
        resolve,
        connect_to,
        ..DiscoverOptions::default()
    }
}
