//! The settings of a client, checked once and applied in each process that uses it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use echkit::cache::ConfigCache;
use echkit::dns::{Resolver, ResolverOptions};
use echkit::error::Cause;
use echkit::http::header::{ACCEPT, USER_AGENT};
use echkit::http::{ClientBuilder, CookieJar, HeaderMap, HeaderName, HeaderValue, HttpVersions};
use echkit::policy::Timeouts;
use echkit::proxy::{Proxy, ProxyEnvironment};
use echkit::tls::{ClientTls, Trust};
use echkit::wire::WireRecorder;
use echkit::{Client, EchMode, Error};
use pyo3::PyRef;

use crate::identity::{Identities, Identity};

/// What a client announces itself as, unless told otherwise.
const AGENT: &str = concat!("python-echkit/", env!("CARGO_PKG_VERSION"));

/// Programs in Python run so many requests to one host at once, in threads and in tasks.
const IDLE_PER_ORIGIN: usize = 64;

/// Names and values.
pub(crate) type Pairs = Vec<(String, String)>;

/// Settings as Python gives them.
pub(super) struct Given<'a, 'py> {
    pub(super) ech: &'a str,
    pub(super) dns: String,
    pub(super) dns_trust: Option<Trust>,
    pub(super) verify: bool,
    pub(super) trust: Option<Trust>,
    pub(super) identity: Option<PyRef<'py, Identity>>,
    pub(super) proxy: Option<&'a str>,
    pub(super) environment: Pairs,
    pub(super) proxy_resolves: bool,
    pub(super) http: &'a str,
    pub(super) headers: Pairs,
    pub(super) keep_alive: Option<Duration>,
    pub(super) body_limit: Option<usize>,
    pub(super) decompress: bool,
    pub(super) retry: bool,
}

/// Settings that make a client, as often as there are processes.
pub(super) struct ClientSettings {
    builder: ClientBuilder,
    dns: String,
    dns_trust: Option<Trust>,
    proxies: ProxyEnvironment,
}

impl Given<'_, '_> {
    /// Refuses what makes no sense.
    pub(super) fn checked(self) -> Result<ClientSettings, Error> {
        let refused = |setting: &'static str, reason: String| Cause::Setting { setting, reason };
        let mode: EchMode = self
            .ech
            .parse()
            .map_err(|error| refused("ech", format!("{error}")))?;
        let versions = match self.http {
            "1" => HttpVersions::Http1,
            "2" => HttpVersions::Http2,
            _ => HttpVersions::Any,
        };
        let mut tls = ClientTls::builder().dangerous_accept_any_certificate(!self.verify);
        if let Some(trust) = self.trust {
            tls = tls.trust(trust);
        }
        if let Some(identity) = self.identity {
            tls = tls.client_certificate_resolver(Arc::new(Identities::new(&[identity])));
        }
        let mut proxies = ProxyEnvironment::from_variables(self.environment);
        if let Some(uri) = self.proxy {
            let proxy = Proxy::parse(uri).map_err(|error| refused("proxy", error.to_string()))?;
            proxies = proxies.with_proxy(proxy);
        }
        let builder = Client::builder()
            .ech(mode)
            .retry(self.retry)
            .tls(tls)
            .proxy_environment(proxies.clone())
            .proxy_resolves(self.proxy_resolves)
            // Each request has its own.
            .timeouts(Timeouts::default().with_connect(None).with_response(None))
            .http(versions)
            .redirects(None)
            .default_headers(default_headers(self.headers)?)
            .keep_alive(self.keep_alive)
            .idle_per_origin(IDLE_PER_ORIGIN)
            .body_limit(self.body_limit.unwrap_or(usize::MAX))
            .decompress(self.decompress);
        Ok(ClientSettings {
            builder,
            dns: self.dns,
            dns_trust: self.dns_trust,
            proxies,
        })
    }
}

impl ClientSettings {
    /// A client with connections and caches of its own.
    pub(super) fn build(&self, jar: CookieJar) -> Result<Client, Error> {
        self.finish(self.builder.clone(), jar)
    }

    /// The same, whose connections are recorded.
    pub(super) fn build_recording(
        &self,
        jar: CookieJar,
        recorder: WireRecorder,
    ) -> Result<Client, Error> {
        self.finish(self.builder.clone().record(recorder), jar)
    }

    fn finish(&self, builder: ClientBuilder, jar: CookieJar) -> Result<Client, Error> {
        let builder = builder.cache(ConfigCache::in_memory()).cookies(jar);
        match &self.dns_trust {
            None => builder.dns(&self.dns).build(),
            Some(trust) => builder
                .resolver(resolver_of(&self.dns, Some(trust.clone()), &self.proxies)?)
                .build(),
        }
    }
}

/// The resolver of that URI, which is reached through its proxy where there is one for it. Without
/// `trust`, an encrypted one is verified as the system has it.
pub(crate) fn resolver_of(
    uri: &str,
    trust: Option<Trust>,
    proxies: &ProxyEnvironment,
) -> Result<Resolver, Error> {
    let mut options = ResolverOptions::default();
    if Resolver::is_encrypted_uri(uri) {
        let trust = trust.unwrap_or_else(Trust::system);
        let tls = ClientTls::builder().trust(trust).build()?;
        options = options
            .with_tls(tls.plain_config()?)
            .with_proxies(proxies.clone())
            .with_proxy_tls(tls.proxy_config()?);
    }
    let made = Resolver::from_uri(uri, &options).map_err(|error| Cause::Setting {
        setting: "dns",
        reason: error.to_string(),
    });
    Ok(made?)
}

/// The certificates of a PEM file.
pub(crate) fn trust_of(path: Option<PathBuf>) -> Result<Option<Trust>, Error> {
    Ok(path.map(Trust::ca_file).transpose()?)
}

fn default_headers(given: Pairs) -> Result<HeaderMap, Cause> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let refused = |reason: String| Cause::Setting {
            setting: "headers",
            reason,
        };
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refused(format!("{name:?} is not allowed as a field's name in HTTP")))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| refused(format!("the value of {name} is not allowed in HTTP")))?;
        headers.append(name, value);
    }
    for (name, value) in [(ACCEPT, "*/*"), (USER_AGENT, AGENT)] {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    Ok(headers)
}
