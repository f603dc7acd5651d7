//! What discovery is to know about a connection that is request.

use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use crate::discover::DiscoverOptions;

/// The caller's wishes, as discovery takes them.
pub(super) fn discovery_options(
    parts: &ConnectorParts,
    request: &ConnectionRequest<'_>,
) -> DiscoverOptions {
    DiscoverOptions {
        alpn: request.alpn.to_vec(),
        ech: parts.policy.ech.offers(),
        family: parts.policy.family,
        resolve: parts.overrides.addresses.clone(),
        connect_to: parts.overrides.endpoint(request.origin).cloned(),
        ..DiscoverOptions::default()
    }
}
