//! What all connections of a connector share.

use echkit_proto::config::EchConfigList;
use echkit_tls::client::{ClientTls, OuterName};

use super::connection_request::ConnectionRequest;
use super::overrides::Overrides;
use crate::cache::ConfigCache;
use crate::dns::Resolver;
use crate::error::Cause;
use crate::origin::Origin;
use crate::policy::{EchMode, Policy};
use crate::proxy::{ProxyEnvironment, UnusedProxy};

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
}

impl ConnectorParts {
    /// The ECHConfigList given by the caller, where it is meant for this connection.
    pub(super) fn manual_list(&self, request: &ConnectionRequest<'_>) -> Option<&EchConfigList> {
        self.manual.as_ref().filter(|_| request.manual)
    }

    /// The proxy that a connection to `origin` passes by.
    ///
    /// # Errors
    ///
    /// Where ECH is required: the user of a proxy may not want to be seen without it.
    pub(super) fn unused_proxy(&self, origin: &Origin) -> Result<Option<UnusedProxy>, Cause> {
        match UnusedProxy::find(&self.proxies, origin) {
            Some(UnusedProxy { variable, origin }) if self.policy.ech == EchMode::Require => {
                Err(Cause::Proxy { origin, variable })
            }
            found => Ok(found),
        }
    }
}
