//! The way to an origin through a proxy, as attempts take it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection_plan::ConnectionPlan;
use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use super::proxy_route::{ProxyRoute, forwards};
use crate::deadline::Deadline;
use crate::dns::{RecordType, Resolver};
use crate::error::Cause;
use crate::origin::Host;
use crate::policy::AddressFamily;
use crate::proxy::{Proxy, ProxyFault, ProxyHop, ProxyTarget, Wire};

/// A proxy that attempts may connect through.
pub(super) struct ProxyTunnel {
    route: ProxyRoute,
    hop: ProxyHop,
    /// Where the proxy is.
    addresses: Vec<SocketAddr>,
    /// Whether the proxy is spoken to in absolute-form: there is no tunnel.
    forward: bool,
}

impl ProxyTunnel {
    /// Looks the proxy up, where the way leads through one.
    pub(super) async fn prepare(
        route: Option<&ProxyRoute>,
        parts: &ConnectorParts,
        plan: &ConnectionPlan,
        request: &ConnectionRequest<'_>,
        dns_limit: Deadline,
    ) -> Result<Option<Arc<Self>>, Cause> {
        let Some(route) = route.cloned() else {
            return Ok(None);
        };
        let looking = addresses(&route.proxy, parts.proxy_resolver(), parts.policy.family);
        let addresses = match dns_limit.run(looking).await {
            Some(Ok(addresses)) => addresses,
            Some(Err(fault)) => {
                return Err(route.cause(&plan.origin.host.to_string(), fault));
            }
            None => {
                let reason = format!("no answer within {} ms", dns_limit.limit.as_millis());
                let fault = ProxyFault::Unresolved { reason };
                return Err(route.cause(&plan.origin.host.to_string(), fault));
            }
        };
        let hop = ProxyHop::new(route.proxy.clone(), || parts.tls.proxy_config())?;
        Ok(Some(Arc::new(Self {
            forward: request.forward && forwards(&route.proxy, &plan.origin),
            route,
            hop,
            addresses,
        })))
    }

    /// The proxy, without credentials.
    pub(super) fn name(&self) -> String {
        self.route.proxy.to_string()
    }

    /// Where the proxy is asked to connect to.
    pub(super) fn target(&self, address: SocketAddr) -> ProxyTarget {
        self.route.target(address)
    }

    /// Connects to `address` through the proxy.
    pub(super) async fn connect(
        &self,
        host: &str,
        address: SocketAddr,
        limit: Deadline,
    ) -> Result<Wire, Cause> {
        let fault = match limit.run(Box::pin(self.open(address))).await {
            Some(Ok(wire)) => return Ok(wire),
            Some(Err(fault)) => fault,
            None => ProxyFault::Timeout { after: limit.limit },
        };
        Err(self.route.cause(host, fault))
    }

    async fn open(&self, address: SocketAddr) -> Result<Wire, ProxyFault> {
        match self.forward {
            true => self.hop.connect(&self.addresses).await,
            false => {
                let target = self.target(address);
                self.hop.tunnel(&self.addresses, target).await
            }
        }
    }
}

/// The addresses of a proxy.
async fn addresses(
    proxy: &Proxy,
    resolver: &Resolver,
    family: AddressFamily,
) -> Result<Vec<SocketAddr>, ProxyFault> {
    let name = match proxy.host() {
        Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, proxy.port())]),
        Host::Name(name) => name,
    };
    let resolver = resolver.in_use().await;
    let ask = |kind| resolver.query(name.dns(), kind);
    let (v6, v4) = tokio::join!(ask(RecordType::AAAA), ask(RecordType::A));
    let mut found = Vec::new();
    let mut reason = None;
    for answer in [v6, v4] {
        match answer {
            Ok(answer) => found.extend(answer.addresses()),
            Err(error) => reason = Some(error.to_string()),
        }
    }
    found.retain(|address| family.allows(*address));
    match found.is_empty() {
        true => Err(ProxyFault::Unresolved {
            reason: reason.unwrap_or_else(|| "no address that may be used".to_owned()),
        }),
        false => Ok(found
            .into_iter()
            .map(|address| SocketAddr::new(address, proxy.port()))
            .collect()),
    }
}
