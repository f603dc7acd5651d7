//! Whether the servers that records lead to accept an ECHConfigList, before clients are told of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use echkit::connect::Connector;
use echkit::dns::Resolver;
use echkit::policy::Timeouts;
use echkit::tls::{ClientTls, Trust};
use echkit::{EchMode, Origin};
use echkit_proto::config::EchConfigList;
use echkit_proto::dns::RecordType;
use echkit_proto::svcb::{DEFAULT_ALPN, Params, Record};

use super::error::PublishError;
use super::publisher::{PublishedSite, look_up};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How servers are found and verified when a list is checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Whom to ask for addresses.
    pub resolver: Resolver,
    /// Whose certificates count.
    pub trust: Trust,
}

impl CheckOptions {
    /// With this resolver, and the system's trust.
    pub fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            trust: Trust::system(),
        }
    }

    /// The same with another trust.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }
}

/// Connects to each address of each endpoint in `records`, and returns those addresses when all of
/// them accept the list. ECH is required: a server that rejects it never sees the site's name.
///
/// # Errors
///
/// When one does not accept it, or there is none.
pub async fn check_accepted(
    site: &PublishedSite,
    records: &[Record],
    list: &EchConfigList,
    options: &CheckOptions,
) -> Result<Vec<SocketAddr>, PublishError> {
    if site.host.labels().next() == Some(b"*") {
        return Err(PublishError::Wildcard(site.host.clone()));
    }
    let mut checked = Vec::new();
    for record in records {
        // RFC 9460 §2.5.2: the root means the owner's own name.
        let target = match record.target.is_root() {
            true => &site.owner,
            false => &record.target,
        };
        let port = record.params.port.unwrap_or(site.port);
        let mut ips: Vec<IpAddr> = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            ips.extend(look_up(&options.resolver, target, kind).await?.addresses());
        }
        // Clients may use hints, so these have to be right too.
        ips.extend(record.params.ipv4hint.iter().copied().map(IpAddr::V4));
        ips.extend(record.params.ipv6hint.iter().copied().map(IpAddr::V6));
        if ips.is_empty() {
            return Err(PublishError::NothingToCheck {
                host: site.host.clone(),
                target: target.clone(),
            });
        }
        for ip in ips {
            let address = SocketAddr::new(ip, port);
            if !checked.contains(&address) {
                check_one(site, address, &record.params, list, options).await?;
                checked.push(address);
            }
        }
    }
    Ok(checked)
}

async fn check_one(
    site: &PublishedSite,
    address: SocketAddr,
    params: &Params,
    list: &EchConfigList,
    options: &CheckOptions,
) -> Result<(), PublishError> {
    let setup = |error: &dyn std::fmt::Display| PublishError::CheckSetup {
        host: site.host.clone(),
        error: error.to_string(),
    };
    let (host, port) = (site.host.to_string(), site.port);
    let mut timeouts = Timeouts::default();
    timeouts.connect = Some(PATIENCE);
    let connector = Connector::builder()
        .ech(EchMode::Require)
        .retry(false)
        .no_cache()
        .ech_config(list.clone())
        .resolver(options.resolver.clone())
        .tls(ClientTls::builder().trust(options.trust.clone()))
        .timeouts(timeouts)
        .connect_to(&host, port, address.ip().to_string(), address.port())
        .build()
        .map_err(|error| setup(&error))?;
    let origin =
        Origin::parse(&format!("https://{host}:{port}/")).map_err(|error| setup(&error))?;
    // h3 is spoken over another transport.
    let mut alpn: Vec<&[u8]> = params.alpn.iter().map(Vec::as_slice).collect();
    alpn.retain(|id| !id.starts_with(b"h3"));
    if !params.no_default_alpn && !alpn.contains(&DEFAULT_ALPN) {
        alpn.push(DEFAULT_ALPN);
    }
    match connector.connect(&origin, &alpn).await {
        Ok(_) => Ok(()),
        Err(error) => Err(PublishError::NotAccepted {
            host: site.host.clone(),
            address: address.to_string(),
            error: Box::new(error),
        }),
    }
}
