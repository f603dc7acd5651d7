//! What all connections of a connector share.

use echkit_proto::config::EchConfigList;
use echkit_tls::client::{ClientTls, OuterName};

use super::connection_request::ConnectionRequest;
use super::overrides::Overrides;
use crate::cache::ConfigCache;
use crate::dns::Resolver;
use crate::policy::Policy;
use crate::proxy::ProxyEnvironment;

/// What all connections of a connector share.
pub(super) struct ConnectorParts {
    pub(super) policy: Policy,
    pub(super) tls: ClientTls,
    pub(super) resolver: Resolver,
    pub(super) outer_sni: Option<OuterName>,
    pub(super) manual: Option<EchConfigList>,
    pub(super) overrides: Overrides,
    pub(super) cache: ConfigCache,
    pub(super) proxies: ProxyEnvironment,
    /// Whether a proxy may learn hidden names, and looks names up.
    pub(super) proxy_resolves: bool,
}

impl ConnectorParts {
    /// The ECHConfigList given by the caller, where it is meant for this connection.
    pub(super) fn manual_list(&self, request: &ConnectionRequest<'_>) -> Option<&EchConfigList> {
        self.manual.as_ref().filter(|_| request.manual)
    }
}
