//! Puts DNS, certificates and servers together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::ca::{Authorities, Validity};
use crate::capture::{Capture, Recorder};
use crate::case::{Case, Expectations, Ipv6, Spec};
use crate::cases::table;
use crate::configs::Keys;
use crate::designated;
use crate::dns::{Authority, Faults};
use crate::elsewhere::Blueprint;
use crate::error::TestbedError;
use crate::hosts::{Hosts, published, wrong_zone};
use crate::names::{DOH_PATH, PUBLIC, in_zone};
use crate::page::Directory;
use crate::ports;
use crate::proxies::{self, Proxies};
use crate::proxy::{ProxyRecorder, TestProxy};
use crate::proxy_cases::{ProxyCase, proxy_list};
use crate::server::CaseServer;
use crate::sessions::Tickets;
use crate::zone;
use crate::{doh, doh3, doq, dot};

/// With stable ports: DNS, DoH, the port where nothing listens, DoT, DoQ and DoH over HTTP/3 come
/// first, in this order; then room for more; from here on, one port per case of the whole table.
const FIRST_SERVER: u16 = 10;
/// From here on, one port per proxy; before, there is room for more cases.
const FIRST_PROXY: u16 = 200;

/// Which ports a testbed takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ports {
    /// Any that are free.
    #[default]
    Free,
    /// The same at each start: DNS at this port, DoH at the next, DoT, DoQ and DoH over HTTP/3 from
    /// two further, the servers from ten further than the first on, in the order of the whole table,
    /// whichever cases are chosen, and the proxies from 200 further on.
    From(u16),
}

/// What a testbed is to serve.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    ports: Ports,
    only: Option<Vec<String>>,
    designated: Option<Vec<String>>,
    more_hosts: u16,
}

impl Builder {
    /// Chooses the ports.
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    /// Serves the named cases only.
    pub fn only<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.only = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Has each case serve so many hosts besides its own, for tests with many names:
    /// [`Case::more_urls`].
    pub fn more_hosts(mut self, count: u16) -> Self {
        self.more_hosts = count;
        self
    }

    /// Has the resolver designate these of its encrypted forms (RFC 9462), the preferred first:
    /// `dot`,
    /// `doq` and `h2`, in this order without it.
    pub fn designate<S: Into<String>>(mut self, alpn: impl IntoIterator<Item = S>) -> Self {
        self.designated = Some(alpn.into_iter().map(Into::into).collect());
        self
    }

    /// Binds, makes keys and certificates, and starts to serve.
    ///
    /// # Errors
    ///
    /// When a case is unknown or a port is taken; see [`TestbedError`].
    pub async fn start(self) -> Result<Testbed, TestbedError> {
        let chosen = self.chosen()?;
        let authorities = Authorities::generate()?;
        let recorder = Recorder::default();
        let tickets = Tickets::default();
        let directory = Directory::default();
        let mut tasks = JoinSet::new();

        let (closed, closed_port) = ports::closed(self.port(2)?)?;
        let mut cases = Vec::with_capacity(chosen.len());
        let mut faults = Faults::new();
        let mut servers = Vec::new();
        let mut black_holes = Vec::new();
        for (index, spec) in chosen {
            let port = self.port(index + usize::from(FIRST_SERVER))?;
            let what = format!("the server of case {}", spec.name);
            let (mut listeners, port) = ports::tcp_dual(port, spec.server.ipv6, &what).await?;
            let keys = Keys::generate(spec.name, &spec.keys)?;
            let hosts = Hosts::of(spec.name, self.more_hosts);
            let case = published(&spec, &hosts, &keys, port, closed_port, listeners.len() > 1)?;
            if spec.server.ipv6 == Ipv6::BlackHole {
                for listener in listeners.drain(1..) {
                    black_holes.push(ports::fill(listener).await?);
                }
            }
            let server = CaseServer::new(
                &spec,
                &hosts,
                &keys,
                &authorities,
                recorder.clone(),
                &tickets,
                directory.clone(),
            )?;
            for listener in listeners {
                tasks.spawn(server.clone().serve(listener));
            }
            servers.push(server);
            if let Some(fault) = spec.fault {
                for name in hosts.query_names(case.port) {
                    let name = zone::name(&name).map_err(wrong_zone(spec.name))?;
                    faults.insert(name.into(), fault);
                }
            }
            cases.push(case);
        }

        let (udp, tcp, dns) = ports::udp_and_tcp(self.port(0)?, "DNS").await?;
        let (doh_listener, doh) = ports::tcp(self.port(1)?, "DNS over HTTPS").await?;
        let (dot_listener, dot) = ports::tcp(self.port(3)?, "DNS over TLS").await?;
        let tls = resolver_tls(&authorities, &[doq::ALPN])?;
        let (endpoint, doq) = ports::quic(self.port(4)?, tls, "DNS over QUIC")?;
        let mut forms = vec![("dot", dot), ("doq", doq), ("h2", doh)];
        if let Some(chosen) = &self.designated {
            let known = |alpn: &String| forms.iter().find(|(known, _)| known == alpn).copied();
            forms = chosen.iter().filter_map(known).collect();
        }
        let designations = designated::records(&forms).map_err(wrong_zone("all"))?;
        let proxy = zone::loopback(proxies::LABEL);
        // A public_name that does not exist would stand out.
        let public = zone::loopback(PUBLIC);
        let zone = cases.iter().flat_map(|case: &Case| &case.zone);
        let authority = Authority::new(zone.chain([&proxy, &public]), &designations, faults)
            .await
            .map_err(wrong_zone("all"))?;
        let dns_server = authority.serve(udp, tcp);
        let tls = resolver_tls(&authorities, &[b"h2", b"http/1.1"])?;
        tasks.spawn(doh::serve(doh_listener, tls.into(), authority.clone()));
        let tls = resolver_tls(&authorities, &[dot::ALPN])?;
        tasks.spawn(dot::serve(dot_listener, tls.into(), authority.clone()));
        tasks.spawn(doq::serve(endpoint, authority.clone()));
        let tls = resolver_tls(&authorities, &[doh3::ALPN])?;
        let (endpoint, doh3) = ports::quic(self.port(5)?, tls, "DNS over HTTP/3")?;
        tasks.spawn(doh3::serve(endpoint, authority));
        let port = |place| self.port(place + usize::from(FIRST_PROXY));
        let proxies = Proxies::start(&authorities, port, doh).await?;

        directory.fill(&cases);
        Ok(Testbed {
            cases,
            ca_pem: authorities.trusted.pem(),
            ca_der: authorities.trusted.der(),
            authorities,
            dns,
            doh,
            dot,
            doq,
            doh3,
            recorder,
            tickets,
            servers,
            proxies,
            tasks,
            dns_server,
            _closed: closed,
            _black_holes: black_holes,
        })
    }

    /// The chosen rows and their places in the table.
    fn chosen(&self) -> Result<Vec<(usize, Spec)>, TestbedError> {
        let table = table();
        let Some(only) = &self.only else {
            return Ok(table.into_iter().enumerate().collect());
        };
        if let Some(name) = only
            .iter()
            .find(|n| !table.iter().any(|spec| spec.name == **n))
        {
            return Err(unknown_case(name, table.iter().map(|spec| spec.name)));
        }
        let wanted = |(_, spec): &(usize, Spec)| only.iter().any(|name| name == spec.name);
        Ok(table.into_iter().enumerate().filter(wanted).collect())
    }

    /// A port by its place; 0 means any.
    fn port(&self, place: usize) -> Result<u16, TestbedError> {
        let Ports::From(first) = self.ports else {
            return Ok(0);
        };
        let needed = usize::from(FIRST_PROXY) + proxy_list().len();
        u16::try_from(usize::from(first) + place).map_err(|_| TestbedError::Ports { first, needed })
    }
}

/// An ECH internet on loopback. Everything ends when this is dropped.
pub struct Testbed {
    cases: Vec<Case>,
    ca_pem: String,
    ca_der: CertificateDer<'static>,
    authorities: Authorities,
    dns: SocketAddr,
    doh: SocketAddr,
    dot: SocketAddr,
    doq: SocketAddr,
    doh3: SocketAddr,
    recorder: Recorder,
    tickets: Tickets,
    servers: Vec<CaseServer>,
    proxies: Proxies,
    tasks: JoinSet<()>,
    dns_server: Server<Authority>,
    // Bound and never listening, so that connections are refused and no other program takes the
    // port.
    _closed: TcpSocket,
    _black_holes: Vec<ports::BlackHole>,
}

impl Testbed {
    /// Starts every case on free ports.
    ///
    /// # Errors
    ///
    /// When loopback cannot be listened on; see [`TestbedError`].
    pub async fn start() -> Result<Self, TestbedError> {
        Self::builder().start().await
    }

    /// Chooses cases and ports first.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The cases that are served.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The case of that name, if it is served.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// The URL of a case.
    pub fn url(&self, name: &str) -> Option<&str> {
        self.case(name).map(|case| case.url.as_str())
    }

    /// The resolver over UDP (and TCP, at the same port), as `ech get --dns` takes it.
    pub fn dns_uri(&self) -> String {
        format!("udp://{}", self.dns)
    }

    /// The resolver over TCP.
    pub fn dns_tcp_uri(&self) -> String {
        format!("tcp://{}", self.dns)
    }

    /// The resolver over HTTPS, with the address to find it at. Its certificate is signed by
    /// [`Testbed::ca_pem`].
    pub fn doh_uri(&self) -> String {
        let Self { doh, .. } = self;
        format!(
            "https://{}:{}{}#{}",
            in_zone("dns"),
            doh.port(),
            DOH_PATH,
            doh.ip()
        )
    }

    /// The resolver over TLS, with the address to find it at. Its certificate is that of the one
    /// over HTTPS.
    pub fn dot_uri(&self) -> String {
        let Self { dot, .. } = self;
        format!("tls://{}:{}#{}", in_zone("dns"), dot.port(), dot.ip())
    }

    /// The resolver over QUIC, with the address to find it at. Its certificate is that of the one
    /// over HTTPS.
    pub fn doq_uri(&self) -> String {
        let Self { doq, .. } = self;
        format!("quic://{}:{}#{}", in_zone("dns"), doq.port(), doq.ip())
    }

    /// The resolver over HTTP/3, with the address to find it at. Its certificate is that of the one
    /// over HTTPS, and its path too.
    pub fn doh3_uri(&self) -> String {
        let Self { doh3, .. } = self;
        format!(
            "h3://{}:{}{}#{}",
            in_zone("dns"),
            doh3.port(),
            DOH_PATH,
            doh3.ip()
        )
    }

    /// The address of the resolver over UDP and TCP.
    pub fn dns_address(&self) -> SocketAddr {
        self.dns
    }

    /// The address of the resolver over HTTPS.
    pub fn doh_address(&self) -> SocketAddr {
        self.doh
    }

    /// The root certificate that signs the servers' and the resolver's, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The root certificate in DER.
    pub fn ca_der(&self) -> CertificateDer<'static> {
        self.ca_der.clone()
    }

    /// Replaces the ECH keys of a case's server by a new one. The record in the DNS stays, and is
    /// stale from now on. Does nothing for servers without ECH.
    ///
    /// # Errors
    ///
    /// When the case is not served, or no key can be made.
    pub fn rotate(&self, name: &str) -> Result<(), TestbedError> {
        self.server(name)?.rotate()
    }

    /// Has a case's server ask for another key share, by HelloRetryRequest, from now on.
    ///
    /// # Errors
    ///
    /// When the case is not served.
    pub fn demand_hello_retry(&self, name: &str) -> Result<(), TestbedError> {
        self.server(name)?.demand_hello_retry()
    }

    /// What other software needs to serve a case as the case's own server does.
    ///
    /// # Errors
    ///
    /// When the case is not served, or no certificate can be made.
    pub fn blueprint(&self, name: &str) -> Result<Blueprint, TestbedError> {
        self.server(name)?.blueprint(&self.authorities)
    }

    /// Passes all connections to a case's server on to another one from now on. The DNS stays as
    /// it is, and captures go on.
    ///
    /// # Errors
    ///
    /// When the case is not served.
    pub fn hand_over(&self, name: &str, to: SocketAddr) -> Result<(), TestbedError> {
        self.server(name)?.hand_over(to);
        Ok(())
    }

    fn server(&self, name: &str) -> Result<&CaseServer, TestbedError> {
        let server = self.servers.iter().find(|server| server.name() == name);
        server.ok_or_else(|| unknown_case(name, self.servers.iter().map(CaseServer::name)))
    }

    /// What clients have sent to the cases' servers, oldest first: up to 64 KiB of each of the
    /// last 1024 connections.
    pub fn captures(&self) -> Vec<Capture> {
        self.recorder.captures()
    }

    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Forgets what was captured.
    pub fn clear_captures(&self) {
        self.recorder.clear();
    }

    /// The proxies, each with its URIs and the outcome expected over it.
    pub fn proxy_cases(&self) -> Vec<ProxyCase> {
        self.proxies.cases().cloned().collect()
    }

    /// The proxy of that name, with what passed it.
    pub fn proxy(&self, name: &str) -> Option<&TestProxy> {
        self.proxies.get(name)
    }

    pub(crate) fn proxy_recorders(&self) -> Vec<(String, ProxyRecorder)> {
        self.proxies.recorders()
    }

    /// The session tickets that the cases' servers have issued, oldest first: up to 4096. None of
    /// them may be read in a connection that offers ECH.
    pub fn tickets(&self) -> Vec<Vec<u8>> {
        self.tickets.issued()
    }

    /// Ends everything and waits until the ports are free again, which a drop leaves to the
    /// runtime.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.proxies.shutdown().await;
        // A connection that its client keeps open ends with the drop.
        let graceful = self.dns_server.shutdown_gracefully();
        let _ = tokio::time::timeout(Duration::from_secs(1), graceful).await;
    }

    /// Waits until every captured connection has ended, so that the captures are complete.
    ///
    /// A client that keeps connections open must be dropped first.
    pub async fn quiet(&self) {
        while self
            .recorder
            .captures()
            .iter()
            .any(|capture| !capture.ended)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A case as the table has it, without starting anything.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Listed {
    /// The case's name.
    pub name: String,
    /// One sentence on what it is.
    pub about: String,
    /// The outcome expected of a correct client.
    pub expect: Expectations,
}

/// The names of all cases, in the order of the table.
pub fn case_names() -> Vec<&'static str> {
    table().iter().map(|spec| spec.name).collect()
}

/// How many names an error suggests.
const SUGGESTIONS: usize = 3;
/// From which likeness on a name is suggested; 1 is equality.
const LIKENESS: f64 = 0.75;

/// The error about a name that no case has, with the few that look most like it.
pub(crate) fn unknown_case<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> TestbedError {
    let likeness = |known: &str| match known.contains(name) && !name.is_empty() {
        true => 1.0,
        false => strsim::jaro_winkler(known, name),
    };
    let mut nearest: Vec<(f64, &str)> = known.map(|known| (likeness(known), known)).collect();
    nearest.retain(|(likeness, _)| *likeness >= LIKENESS);
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    TestbedError::UnknownCase {
        name: name.to_owned(),
        nearest: nearest
            .into_iter()
            .take(SUGGESTIONS)
            .map(|(_, known)| known.to_owned())
            .collect(),
    }
}

/// Every case that there is.
pub fn list() -> Vec<Listed> {
    let listed = |spec: Spec| Listed {
        name: spec.name.to_owned(),
        about: spec.about.to_owned(),
        expect: spec.expect,
    };
    table().into_iter().map(listed).collect()
}

fn resolver_tls(
    authorities: &Authorities,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TestbedError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let host = in_zone("dns");
    let names = [host.as_str(), "localhost", "127.0.0.1"];
    let key = authorities
        .trusted
        .server_certificate(&names, Validity::Current, &provider)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TestbedError::Tls {
            name: host.clone(),
            error: source,
        })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    config.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
    Ok(Arc::new(config))
}

impl std::fmt::Debug for Testbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testbed")
            .field("dns", &self.dns)
            .field("doh", &self.doh)
            .field("dot", &self.dot)
            .field("doq", &self.doq)
            .field("doh3", &self.doh3)
            .field("cases", &self.cases.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn error(name: &str) -> String {
        match Testbed::builder().only([name]).start().await {
            Ok(_) => panic!("{name} was started"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn an_unknown_case_is_told_of_the_nearest_few_and_no_more() {
        for (name, nearest) in [
            ("nominall", "nominal"),
            ("stal", "stale"),
            ("no-ehc", "no-ech"),
        ] {
            let message = error(name).await;
            assert!(message.contains(&format!("`{name}`")), "{message}");
            assert!(message.contains(nearest), "{message}");
            assert!(message.matches(" or ").count() < SUGGESTIONS, "{message}");
        }
        let message = error("zzzzzz").await;
        assert!(message.contains("--list"), "{message}");
    }
}
