//! Which proxies to use, by flags, else by environment variables, and whom to trust as one.

use echkit::proxy::{Proxy, ProxyEnvironment};
use echkit::tls::{ClientTlsBuilder, Trust};

use crate::cli::proxy_args::ProxyArgs;
use crate::failure::Failure;
use crate::output;

impl ProxyArgs {
    /// What flags and environment say.
    pub(crate) fn environment(&self) -> Result<ProxyEnvironment, Failure> {
        let refused = |flag: &str, reason: &dyn std::fmt::Display| {
            Failure::usage(format!("{flag}: {reason}"))
        };
        let mut proxies = match self.proxy.as_deref() {
            Some("") => ProxyEnvironment::default(),
            Some(uri) => {
                let proxy = Proxy::parse(uri).map_err(|error| refused("-x", &error))?;
                ProxyEnvironment::of_process().with_proxy(proxy)
            }
            None => ProxyEnvironment::of_process(),
        };
        if let Some(list) = &self.noproxy {
            proxies = proxies.with_no_proxy(list);
        }
        if let Some(pair) = &self.proxy_user {
            let (user, password) = pair
                .split_once(':')
                .ok_or_else(|| refused("-U", &"write USER:PASSWORD"))?;
            proxies = proxies
                .with_credentials(user, password)
                .map_err(|error| refused("-U", &error))?;
        }
        Ok(proxies)
    }

    /// TLS settings with what is trusted for proxies.
    pub(crate) fn trust(&self, tls: ClientTlsBuilder) -> Result<ClientTlsBuilder, Failure> {
        let tls = tls.dangerous_accept_any_proxy_certificate(self.proxy_insecure);
        Ok(match &self.proxy_cacert {
            Some(path) => tls.proxy_trust(Trust::ca_file(path)?),
            None => tls,
        })
    }

    /// The warning that a proxy is not verified, on stderr.
    pub(crate) fn warn(&self) {
        if self.proxy_insecure {
            output::note(
                "ech: warning: --proxy-insecure: the proxy's certificate is not verified, so an \
                 attacker before the proxy can read what it is told: the password and addresses",
            );
        }
    }
}
