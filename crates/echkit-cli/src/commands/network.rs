//! What commands that use the network share.

use std::sync::Arc;

use echkit::Origin;
use echkit::dns::{DiscoverEncrypted, Resolver, ResolverOptions};
use echkit::tls::{ClientTls, ClientTlsBuilder, Trust};

use super::zone;
use crate::cli::network_args::NetworkArgs;
use crate::cli::proxy_args::ProxyArgs;
use crate::failure::Failure;

impl NetworkArgs {
    /// Whom to trust.
    pub(crate) fn trust(&self) -> Result<Trust, Failure> {
        match &self.cacert {
            Some(path) => Ok(Trust::ca_file(path)?),
            None => Ok(Trust::system()),
        }
    }

    /// TLS settings with that trust, and that of proxies; `SSLKEYLOGFILE` is honoured.
    pub(crate) fn tls(&self, proxies: &ProxyArgs) -> Result<ClientTlsBuilder, Failure> {
        let tls = ClientTls::builder()
            .trust(self.trust()?)
            .key_log(Arc::new(rustls::KeyLogFile::new()));
        proxies.trust(tls)
    }

    /// The resolver, which is reached through its proxy where there is one for it.
    pub(crate) fn resolver(&self, proxies: &ProxyArgs) -> Result<Resolver, Failure> {
        let mut options = ResolverOptions::default().with_discover_encrypted(self.ddr);
        if Resolver::is_encrypted_uri(&self.dns) || self.ddr != DiscoverEncrypted::Off {
            let tls = ClientTls::builder().trust(self.trust()?);
            let tls = proxies.trust(tls)?.build()?;
            options = options
                .with_tls(tls.plain_config()?)
                .with_proxies(proxies.environment()?)
                .with_proxy_tls(tls.proxy_config()?);
        }
        Resolver::from_uri(&self.dns, &options)
            .map_err(|error| Failure::usage(format!("--dns {}: {error}", self.dns)))
    }
}

/// A URL; a bare host means `https`.
pub(crate) fn with_scheme(url: &str) -> String {
    match url.contains("://") {
        true => url.to_owned(),
        false => format!("https://{url}"),
    }
}

/// The origin of a URL or host.
pub(crate) fn origin(url: &str) -> Result<Origin, Failure> {
    let (url, _) = zone::split(url)?;
    Origin::parse(&with_scheme(&url))
        .map_err(|error| Failure::of_kind(echkit::ErrorKind::Url, format!("{url}: {error}")))
}
