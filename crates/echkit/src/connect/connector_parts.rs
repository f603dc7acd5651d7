//! What all connections of a connector share.

use echkit_proto::config::EchConfigList;
use echkit_tls::client::{ClientTls, OuterName};

use super::connection_request::ConnectionRequest;
use super::overrides::Overrides;
use crate::cache::ConfigCache;
use crate::dns::Resolver;
use crate::policy::Policy;
use crate::proxy::ProxyEnvironment;
use crate::wire::WireRecorder;

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
    /// Looks proxies up where the resolver itself is behind one.
    pub(super) system: Resolver,
    /// Whether a proxy may learn hidden names, and looks names up.
    pub(super) proxy_resolves: bool,
    /// What records the connections to origins.
    pub(super) recorder: Option<WireRecorder>,
}

impl ConnectorParts {
    /// Who is asked where a proxy is. A resolver that is reached through a proxy may be far from
    /// where the proxy's name is known, and the system's has been asked for it already.
    pub(super) fn proxy_resolver(&self) -> &Resolver {
        match self.resolver.proxy() {
            Some(_) => &self.system,
            None => &self.resolver,
        }
    }

    /// The ECHConfigList given by the caller, where it is meant for this connection.
    pub(super) fn manual_list(&self, request: &ConnectionRequest<'_>) -> Option<&EchConfigList> {
        self.manual.as_ref().filter(|_| request.manual)
    }
}
