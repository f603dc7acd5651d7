//! The running proxies of a testbed.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::ca::{Authorities, Validity};
use crate::error::TestbedError;
use crate::names::in_zone;
use crate::proxy::{ProxyRecorder, TestProxy};
use crate::proxy_cases::{ProxyCase, ProxyTls, proxy_table};

/// The label of the name under which proxies over TLS have their certificate.
pub(crate) const LABEL: &str = "proxy";

/// The running proxies of a testbed.
#[derive(Debug)]
pub(crate) struct Proxies(Vec<(ProxyCase, TestProxy)>);

impl Proxies {
    /// Starts all proxies of the table. `port` gives the port of each place in it, and `elsewhere` is
    /// where hostile ones lead.
    pub(crate) async fn start(
        authorities: &Authorities,
        port: impl Fn(usize) -> Result<u16, TestbedError>,
        elsewhere: SocketAddr,
    ) -> Result<Self, TestbedError> {
        let mut started = Vec::new();
        for (place, spec) in proxy_table().into_iter().enumerate() {
            let tls = match spec.tls {
                ProxyTls::None => None,
                tls => Some(config(authorities, tls == ProxyTls::Trusted)?),
            };
            let what = format!("the proxy {}", spec.name);
            let habit = spec.does.habit(elsewhere);
            let proxy = TestProxy::listen(port(place)?, habit, tls, &what).await?;
            started.push((spec.case(Some(&proxy)), proxy));
        }
        Ok(Self(started))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&TestProxy> {
        let mut found = self.0.iter().filter(|(case, _)| case.name == name);
        found.next().map(|(_, proxy)| proxy)
    }

    pub(crate) fn cases(&self) -> impl Iterator<Item = &ProxyCase> {
        self.0.iter().map(|(case, _)| case)
    }

    /// Where each keeps what passes, by name.
    pub(crate) fn recorders(&self) -> Vec<(String, ProxyRecorder)> {
        let of = |(case, proxy): &(ProxyCase, TestProxy)| (case.name.clone(), proxy.recorder());
        self.0.iter().map(of).collect()
    }

    pub(crate) async fn shutdown(self) {
        for (_, proxy) in self.0 {
            proxy.shutdown().await;
        }
    }
}

/// TLS with clients, under the testbed's root or under one that is not trusted.
fn config(authorities: &Authorities, trusted: bool) -> Result<Arc<ServerConfig>, TestbedError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let host = in_zone(LABEL);
    let names = [host.as_str(), "localhost", "127.0.0.1", "::1"];
    let authority = match trusted {
        true => &authorities.trusted,
        false => &authorities.stranger,
    };
    let key = authority.server_certificate(&names, Validity::Current, &provider)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TestbedError::Tls {
            name: host.clone(),
            error,
        })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
