//! What a connection needs to know, as builders take it.

use echkit_proto::config::EchConfigList;
use echkit_tls::client::{ClientTls, ClientTlsBuilder};

use super::overrides::OverrideSettings;
use crate::cache::ConfigCache;
use crate::dns::{Resolver, ResolverOptions};
use crate::error::{Cause, Error};
use crate::policy::Policy;
use crate::proxy::ProxyEnvironment;
use crate::wire::WireRecorder;

/// The choices in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionSettings {
    pub(crate) policy: Policy,
    pub(crate) tls: ClientTlsBuilder,
    pub(crate) resolver: ResolverSetting,
    pub(crate) outer_sni: Option<String>,
    pub(crate) manual: Option<EchConfigList>,
    pub(crate) overrides: OverrideSettings,
    pub(crate) cache: ConfigCache,
    pub(crate) proxies: ProxyEnvironment,
    pub(crate) proxy_resolves: bool,
    pub(crate) recorder: Option<WireRecorder>,
}

/// Whom to ask, as it was said.
#[derive(Clone, Debug, Default)]
pub(crate) enum ResolverSetting {
    #[default]
    System,
    Given(Resolver),
    Uri(String),
}

impl ResolverSetting {
    /// The resolver. What the client trusts, it trusts as a resolver too, and what its proxies are,
    /// these are for the resolver.
    pub(crate) fn build(
        self,
        tls: &ClientTls,
        proxies: &ProxyEnvironment,
    ) -> Result<Resolver, Error> {
        let uri = match self {
            Self::System => return Ok(Resolver::system()),
            Self::Given(resolver) => return Ok(resolver),
            Self::Uri(uri) => uri,
        };
        let options = ResolverOptions::default()
            .with_tls(tls.plain_config()?)
            .with_proxies(proxies.clone())
            .with_proxy_tls(tls.proxy_config()?);
        Resolver::from_uri(&uri, &options).map_err(|error| {
            Cause::Setting {
                setting: "resolver",
                reason: error.to_string(),
            }
            .into()
        })
    }
}

/// The methods that builders of connectors and of HTTP clients have alike: `connection_setters!`
/// takes the path of their [`ConnectionSettings`] within `self`.
macro_rules! connection_setters {
    ($($settings:ident).+) => {
        /// All choices at once.
        pub fn policy(mut self, policy: crate::policy::Policy) -> Self {
            self.$($settings).+.policy = policy;
            self
        }

        /// How much ECH is needed; [`EchMode::Prefer`](crate::EchMode::Prefer) by default.
        pub fn ech(mut self, mode: crate::policy::EchMode) -> Self {
            self.$($settings).+.policy.ech = mode;
            self
        }

        /// Whether a rejected offer may be followed by a second connection; true by default.
        pub fn retry(mut self, retry: bool) -> Self {
            self.$($settings).+.policy.retry = retry;
            self
        }

        /// Where retry configs are kept for later connections; in memory by default.
        pub fn cache(mut self, cache: crate::cache::ConfigCache) -> Self {
            self.$($settings).+.policy.cache = true;
            self.$($settings).+.cache = cache;
            self
        }

        /// Keeps no retry configs for later connections.
        pub fn no_cache(mut self) -> Self {
            self.$($settings).+.policy.cache = false;
            self
        }

        /// Whether a server whose records have no ECHConfig is asked for its own; false by
        /// default, for it shows the origin's name once, as GREASE does.
        pub fn learn(mut self, learn: bool) -> Self {
            self.$($settings).+.policy.learn = learn;
            self
        }

        /// How long each step may take.
        pub fn timeouts(mut self, timeouts: crate::policy::Timeouts) -> Self {
            self.$($settings).+.policy.timeouts = timeouts;
            self
        }

        /// Which addresses may be used.
        pub fn family(mut self, family: crate::policy::AddressFamily) -> Self {
            self.$($settings).+.policy.family = family;
            self
        }

        /// The interface, by its index, that link-local IPv6 addresses are reached over.
        pub fn link_local_scope(mut self, index: impl Into<Option<u32>>) -> Self {
            self.$($settings).+.policy.link_local_scope = index.into();
            self
        }

        /// How attempts follow each other.
        pub fn racing(mut self, racing: crate::policy::Racing) -> Self {
            self.$($settings).+.policy.racing = racing;
            self
        }

        /// Whom to ask for records and addresses; the system's resolver by default.
        pub fn resolver(mut self, resolver: crate::dns::Resolver) -> Self {
            self.$($settings).+.resolver =
                crate::connect::connection_settings::ResolverSetting::Given(resolver);
            self
        }

        /// Whom to ask, by URI: see [`Resolver::from_uri`](crate::dns::Resolver::from_uri). An
        /// encrypted resolver is verified by the trust of this client, and never sees its client
        /// certificate. One over TLS or HTTPS is reached through the proxy that this client has
        /// for it. It takes the place of [`resolver`](Self::resolver); a URI that names no
        /// resolver is an error of `build`.
        pub fn dns(mut self, uri: impl Into<String>) -> Self {
            self.$($settings).+.resolver =
                crate::connect::connection_settings::ResolverSetting::Uri(uri.into());
            self
        }

        /// The proxy for all origins, in place of those that the environment names; see
        /// [`proxy`](crate::proxy) for what it learns. Exceptions are those of
        /// [`proxy_environment`](Self::proxy_environment), where that is called before.
        pub fn proxy(mut self, proxy: crate::proxy::Proxy) -> Self {
            let proxies = std::mem::take(&mut self.$($settings).+.proxies);
            self.$($settings).+.proxies = proxies.with_proxy(proxy);
            self
        }

        /// Whether the proxy may know the names of hosts, hidden ones included: it then looks them
        /// up, and the client's resolver is asked for HTTPS records alone. False by default.
        pub fn proxy_resolves(mut self, resolves: bool) -> Self {
            self.$($settings).+.proxy_resolves = resolves;
            self
        }

        /// The proxies that the environment names, and the exceptions. Without this call no
        /// variable is read.
        pub fn proxy_environment(mut self, environment: crate::proxy::ProxyEnvironment) -> Self {
            self.$($settings).+.proxies = environment;
            self
        }

        /// Records the bytes of connections to origins, and their secrets. Behind a proxy it
        /// records what the tunnel carries.
        pub fn record(mut self, recorder: crate::wire::WireRecorder) -> Self {
            self.$($settings).+.recorder = Some(recorder);
            self
        }

        /// Trust, client certificate, key log.
        pub fn tls(mut self, tls: echkit_tls::client::ClientTlsBuilder) -> Self {
            self.$($settings).+.tls = tls;
            self
        }

        /// An ECHConfigList to offer in place of the one in DNS. An HTTP client offers it at the
        /// host of each request's URL, not where redirects lead to.
        pub fn ech_config(mut self, list: echkit_proto::config::EchConfigList) -> Self {
            self.$($settings).+.manual = Some(list);
            self
        }

        /// The name to show in the outer hello, in place of the config's public_name. A rejection
        /// is authenticated for the public_name all the same (RFC 9849 §6.1.7). `build` refuses an
        /// address, `none`, and what is not a host name.
        pub fn outer_sni(mut self, name: impl Into<String>) -> Self {
            self.$($settings).+.outer_sni = Some(name.into());
            self
        }

        /// Addresses of a host at a port, in place of those in DNS. Its records are still asked
        /// for. The host `*` means every host that has no addresses of its own here; of two entries
        /// for one host and port the later one holds. `build` refuses a `host` that is not a host name.
        pub fn resolve(
            mut self,
            host: impl Into<String>,
            port: u16,
            addresses: impl IntoIterator<Item = std::net::IpAddr>,
        ) -> Self {
            self.$($settings).+.overrides.resolve(host.into(), port, addresses);
            self
        }

        /// Where to connect for a host and port. Its HTTPS records are still asked for where ECH is
        /// wanted and no ECHConfigList was given, but only for their ECHConfigs. The names in
        /// ClientHellos stay what they are. An empty `host` means every host and port 0 every port; an
        /// empty `to_host` or a `to_port` of 0 leaves host or port as it is. The first entry that fits
        /// holds. `build` refuses hosts that are neither names nor addresses.
        pub fn connect_to(
            mut self,
            host: impl Into<String>,
            port: u16,
            to_host: impl Into<String>,
            to_port: u16,
        ) -> Self {
            let (from, to) = ((host.into(), port), (to_host.into(), to_port));
            self.$($settings).+.overrides.connect_to(from, to);
            self
        }
    };
}

pub(crate) use connection_setters;
