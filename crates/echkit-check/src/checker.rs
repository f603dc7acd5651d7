//! Runs the probes against an origin.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echkit::discover::{
    DiscoverError, DiscoverOptions, Discovery, DnsReport, HttpsAnswer, discover_with,
};
use echkit::dns::Resolver;
use echkit::origin::{Host, Origin};
use echkit::proxy::ProxyEnvironment;
use echkit::rustls;
use echkit::rustls::crypto::{CryptoProvider, aws_lc_rs};
use echkit::svcb::Scheme;
use echkit::tls::{ClientTls, ClientTlsBuilder};
use echkit::wire::WireRecorder;
use echkit::{Error, ErrorKind};
use futures_util::{Stream, StreamExt, stream};

use crate::deployment::{CheckerParts, Deployment, ProbeTls};
use crate::dial::Dialer;
use crate::log::CheckLog;
use crate::probes;
use crate::published::usable_configs;
use crate::report::{CheckError, FirstFlight, HostReport};
use crate::retry_group;
use crate::selection::ProbeSelection;

/// How long a check may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckLimits {
    /// One connection: TCP and TLS each.
    pub connection: Duration,
    /// One host, with DNS and all its addresses.
    pub host: Duration,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self {
            connection: Duration::from_secs(10),
            host: Duration::from_secs(60),
        }
    }
}

impl CheckLimits {
    /// The same with another limit for one connection.
    #[must_use]
    pub fn with_connection(mut self, limit: Duration) -> Self {
        self.connection = limit;
        self
    }

    /// The same with another limit for one host.
    #[must_use]
    pub fn with_host(mut self, limit: Duration) -> Self {
        self.host = limit;
        self
    }
}

/// Checks deployments. One serves for many hosts.
#[derive(Debug)]
pub struct Checker {
    parts: CheckerParts,
    selection: ProbeSelection,
    limits: CheckLimits,
}

impl Checker {
    /// Starts with the system's resolver, the platform's trust and all probes.
    pub fn builder() -> CheckerBuilder {
        CheckerBuilder::default()
    }

    /// The probes that were chosen.
    pub fn selection(&self) -> &ProbeSelection {
        &self.selection
    }

    /// Refuses an origin for which the environment names a proxy: a check is about the way from here
    /// to each address, and connects directly.
    ///
    /// # Errors
    ///
    /// Of the kind [`ErrorKind::Usage`], until the host is exempt (`NO_PROXY`).
    pub fn refuse_proxy(proxies: &ProxyEnvironment, origin: &Origin) -> Result<(), CheckError> {
        let Some(proxy) = proxies.proxy_for(origin).ok().flatten() else {
            return Ok(());
        };
        let message = format!(
            "{origin}: a variable names the proxy {proxy}, and a check connects directly; to allow \
             that, add the host to NO_PROXY"
        );
        let kind = ErrorKind::Usage;
        Err(CheckError { kind, message })
    }

    /// Checks several origins, `jobs` at the same time. Each report comes when it is finished, with the
    /// origin's place in `origins`. [`anonymity`](crate::anonymity) compares them when all are there.
    pub fn check_all(
        &self,
        origins: Vec<Origin>,
        jobs: NonZeroUsize,
    ) -> impl Stream<Item = (usize, HostReport)> + '_ {
        stream::iter(origins.into_iter().enumerate())
            .map(async move |(index, origin)| (index, self.check(&origin).await))
            .buffer_unordered(jobs.get())
    }

    /// Checks the deployment of an `https` origin.
    ///
    /// It ends within [`CheckLimits::host`]: then with what was found so far, and an error of the
    /// kind [`ErrorKind::Timeout`].
    pub async fn check(&self, origin: &Origin) -> HostReport {
        let started = Instant::now();
        let log = CheckLog::new(self.selection.clone());
        let mut facts = HostFacts::default();
        let work = self.look(origin, &log, &mut facts);
        let ended = tokio::time::timeout(self.limits.host, work).await;
        let error = ended.unwrap_or_else(|_| {
            let limit = self.limits.host.as_millis();
            let message = format!("{origin}: the check did not end within {limit} ms");
            let kind = ErrorKind::Timeout;
            Err(CheckError { kind, message })
        });
        let entries = log.take();
        HostReport {
            origin: origin.to_string(),
            findings: entries.findings,
            passed: entries.passed,
            skipped: entries.skipped,
            error: error.err(),
            dns: facts.dns,
            public_names: facts.public_names,
            shown_by: entries.shown_by,
            first_flight: facts.first_flight,
            accepted: facts.accepted,
            elapsed: started.elapsed(),
        }
    }

    async fn look(
        &self,
        origin: &Origin,
        log: &CheckLog,
        facts: &mut HostFacts,
    ) -> Result<(), CheckError> {
        let usage = |message: String| CheckError {
            kind: ErrorKind::Usage,
            message,
        };
        if let Host::Ip(_) = origin.host {
            let why = "an address has no HTTPS record, and so no ECH; give the host's name";
            return Err(usage(format!("{origin}: {why}")));
        }
        if origin.scheme != Scheme::Https {
            let why = "ECH is a matter of TLS; give the https URL";
            return Err(usage(format!("{origin}: {why}")));
        }
        let discovery = discover_with(&self.parts.resolver, origin, &self.parts.discovery).await;
        facts.dns = Some(DnsReport::from(&discovery));
        facts.public_names = public_names(&discovery);
        unknown(&discovery)?;
        let deployment = Deployment::new(&self.parts, origin, &discovery, log);
        for probe in probes::all() {
            let family = probe.family();
            if let Some(why) = self.selection.why_not(family) {
                log.skip(family.as_str(), why);
                continue;
            }
            probe.run(&deployment, log).await;
            log.end_probe();
            facts.accepted = deployment.is_accepted();
            facts.first_flight = deployment.first_flight();
        }
        Ok(())
    }
}

/// A provider whose key share is that of an elliptic curve: hellos then fit into one packet.
fn small_hellos() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1];
    provider
}

/// What is known of a host before it is probed.
#[derive(Default)]
struct HostFacts {
    dns: Option<DnsReport>,
    public_names: Vec<String>,
    first_flight: Option<FirstFlight>,
    accepted: bool,
}

/// The public_names of usable configs, each once.
fn public_names(discovery: &Discovery) -> Vec<String> {
    let mut names = Vec::new();
    for chosen in usable_configs(discovery) {
        let name = chosen
            .contents()
            .public_name
            .to_string()
            .to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether DNS left open what is to be checked.
fn unknown(discovery: &Discovery) -> Result<(), CheckError> {
    let origin = &discovery.origin;
    let failed = |message: String| CheckError {
        kind: ErrorKind::Name,
        message,
    };
    if let HttpsAnswer::Failed(error) = &discovery.https {
        return Err(failed(format!(
            "{origin}: its HTTPS records could not be looked up: {error}; try another resolver (--dns)"
        )));
    }
    match &discovery.error {
        // Findings about the records say it.
        None | Some(DiscoverError::NoCommonProtocol { .. }) => Ok(()),
        Some(DiscoverError::NoAddresses { .. } | DiscoverError::NoSuchHost(_))
            if !discovery.records.is_empty() =>
        {
            Ok(())
        }
        Some(error) => Err(failed(format!("{origin}: {error}"))),
    }
}

/// Builds a [`Checker`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CheckerBuilder {
    tls: ClientTlsBuilder,
    resolver: Option<Resolver>,
    discovery: DiscoverOptions,
    selection: ProbeSelection,
    limits: CheckLimits,
    name_server_port: Option<u16>,
    http_port: Option<u16>,
    recorder: Option<WireRecorder>,
}

impl CheckerBuilder {
    /// Trust and key log of the connections. Its versions and cryptography are set by the probes.
    pub fn tls(mut self, tls: ClientTlsBuilder) -> Self {
        self.tls = tls;
        self
    }

    /// Whom to ask for records and addresses; the system's resolver by default.
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Fixed addresses and kinds of addresses.
    pub fn discovery(mut self, options: DiscoverOptions) -> Self {
        self.discovery = options;
        self
    }

    /// Which probes run; all by default.
    pub fn selection(mut self, selection: ProbeSelection) -> Self {
        self.selection = selection;
        self
    }

    /// Leaves out the probes that show the host's name in the clear.
    pub fn private(mut self, private: bool) -> Self {
        self.selection = self.selection.with_private(private);
        self
    }

    /// Records the bytes of the connections to addresses of hosts, and their secrets.
    pub fn record(mut self, recorder: WireRecorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// How long it may take.
    pub fn limits(mut self, limits: CheckLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The port of the zone's authoritative servers; 53 by default.
    pub fn name_server_port(mut self, port: u16) -> Self {
        self.name_server_port = Some(port);
        self
    }

    /// The port at which hosts are asked without TLS. By default 80 for hosts whose port is 443, and
    /// none for others.
    pub fn http_port(mut self, port: u16) -> Self {
        self.http_port = Some(port);
        self
    }

    /// Reads what has to be read.
    ///
    /// # Errors
    ///
    /// When trusted certificates cannot be read.
    pub fn build(self) -> Result<Checker, Error> {
        let made = |builder: ClientTlsBuilder| -> Result<ClientTls, Error> { Ok(builder.build()?) };
        let tls = match &self.recorder {
            Some(recorder) => self.tls.origin_key_log(Arc::new(recorder.clone())),
            None => self.tls,
        };
        let retrying = tls.clone().provider(retry_group::provider().into());
        let small = tls.clone().provider(small_hellos().into());
        let tls12 = tls.clone().versions(&[&rustls::version::TLS12]);
        Ok(Checker {
            parts: CheckerParts {
                tls: ProbeTls {
                    small: made(small)?,
                    retrying: made(retrying)?,
                    tls12: made(tls12)?,
                    usual: made(tls)?,
                },
                resolver: self.resolver.unwrap_or_else(Resolver::system),
                discovery: self.discovery,
                name_server_port: self.name_server_port.unwrap_or(53),
                http_port: self.http_port,
                dialer: Dialer {
                    limit: self.limits.connection,
                    recorder: self.recorder,
                },
            },
            selection: self.selection,
            limits: self.limits,
        })
    }
}
