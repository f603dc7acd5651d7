//! The resolver that callers have: a URI, and whatever is used for it.

use core::fmt;
use std::sync::Arc;

use echkit_proto::svcb::DomainName;

use super::answer::{Answer, QueryError, RecordType};
use super::designated::Designated;
use super::direct::Direct;
use super::options::{DiscoverEncrypted, ResolverOptions};
use super::system::System;
use super::transport::Transport;
use super::uri::{self, ResolverError};
use crate::origin::Host;
use crate::proxy::Proxy;

/// A DNS resolver, in the clear or encrypted. Clones share connections and answers.
///
/// ```no_run
/// use echkit::dns::{RecordType, Resolver, ResolverOptions};
/// use echkit::tls::ClientTls;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // Encrypted resolvers need to know whom to trust: here what the platform trusts.
/// let tls = ClientTls::builder().build()?.plain_config()?;
/// let options = ResolverOptions::default().with_tls(tls);
/// let resolver = Resolver::from_uri("tls://dns.example#192.0.2.1", &options)?;
/// assert!(resolver.is_protected());
///
/// let name = "www.example".parse()?;
/// let answer = resolver.query(&name, RecordType::HTTPS).await?;
/// println!("{} records for {:?}", answer.rdata.len(), answer.ttl);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Resolver {
    direct: Arc<Direct>,
    /// What is used in its place, where that is to be found out.
    designated: Option<Arc<Designated>>,
}

impl Resolver {
    /// The host's own resolver, as `/etc/resolv.conf` and `/etc/hosts` name it.
    ///
    /// Where there is no `/etc/resolv.conf`, as on Windows, that is a server on this very host
    /// (127.0.0.1), which hardly any such system has: give a URI there. On macOS the file exists
    /// and does not know what VPNs add.
    pub fn system() -> Self {
        let transport = Transport::System(System::of_host());
        Direct::new("system".into(), transport, &ResolverOptions::default()).into()
    }

    /// The resolver that a URI names: `system`, `udp://192.0.2.1:53`, `tcp://[2001:db8::1]`,
    /// `tls://dns.example` (DNS over TLS), `quic://dns.example` (DNS over QUIC),
    /// `https://dns.example/dns-query` (DNS over HTTPS, which is HTTP/2) or
    /// `h3://dns.example/dns-query` (the same over HTTP/3). An address alone means `udp`.
    /// Queries over HTTPS are sent by POST; a template (RFC 8484 §4.1) that ends in `{?dns}`, or in
    /// `{&dns}` after a query, has them sent by GET, which caches on the way can answer.
    ///
    /// Those over TLS and HTTPS are reached through the proxy that [`ResolverOptions::proxies`] has
    /// for them.
    ///
    /// The encrypted ones take the addresses of their host after a `#`
    /// (`tls://dns.example#192.0.2.1,2001:db8::1`); without, the system's resolver is asked, and
    /// the network learns which resolver it is. They need [`ResolverOptions::tls`]; builders of
    /// clients have a method `dns`, which gives them what the client itself trusts.
    pub fn from_uri(uri: &str, options: &ResolverOptions) -> Result<Self, ResolverError> {
        let direct = Arc::new(Direct::from_uri(uri, options)?);
        let discovers = options.discover_encrypted != DiscoverEncrypted::Off;
        let designated = match discovers && !direct.is_protected() {
            true if options.tls.is_none() => return Err(ResolverError::NoTls(uri.to_owned())),
            true => Some(Arc::new(Designated::new(Arc::clone(&direct), options))),
            false => None,
        };
        Ok(Self { direct, designated })
    }

    /// What queries go to at present: the encrypted form of this resolver, where
    /// [`ResolverOptions::discover_encrypted`] has one found, or else this one. It stays what it
    /// is; ask again for each piece of work.
    pub async fn in_use(&self) -> Self {
        Self {
            direct: self.used().await,
            designated: None,
        }
    }

    async fn used(&self) -> Arc<Direct> {
        match &self.designated {
            None => Arc::clone(&self.direct),
            Some(designated) => designated.in_use().await,
        }
    }

    /// Whether a URI names an encrypted transport, for which
    /// [`ResolverOptions::tls`] is needed.
    pub fn is_encrypted_uri(uri: &str) -> bool {
        uri.split_once("://")
            .is_some_and(|(scheme, _)| uri::ENCRYPTED.contains(&scheme))
    }

    /// The URI that the resolver was made from.
    pub fn uri(&self) -> &str {
        self.direct.uri()
    }

    /// Whether what goes over this transport is hidden from the network and safe from it.
    ///
    /// Where the encrypted form is to be found this speaks of what was used last; that of
    /// [`Resolver::in_use`] does not change.
    pub fn is_protected(&self) -> bool {
        let last = self.designated.as_ref().and_then(|known| known.last());
        last.as_ref().unwrap_or(&self.direct).is_protected()
    }

    /// The proxy that questions go through: where [`ResolverOptions::proxies`] has one for this
    /// resolver, and its transport runs over TCP and TLS (`tls://`, `https://`).
    pub fn proxy(&self) -> Option<&Proxy> {
        self.direct.proxy()
    }

    /// The name of that proxy, where it is looked up in the clear.
    pub fn looked_up_proxy_name(&self) -> Option<&str> {
        self.direct.proxy_looked_up()
    }

    /// The host that is asked, by name or address; `None` where the system says which.
    pub(crate) fn host(&self) -> Option<&Host> {
        self.direct.host()
    }

    /// The name of this resolver, where it is looked up in the clear for want of an address.
    pub fn looked_up_name(&self) -> Option<&str> {
        self.direct.looked_up()
    }

    /// Asks for the records of one type at one name, and follows CNAMEs.
    ///
    /// An answer is kept for as long as it holds, a negative one for as long as its SOA record says
    /// (RFC 2308 §5), and the same question is asked once at a time. Of failures only silence in
    /// the clear is remembered, for a few seconds (RFC 9520).
    ///
    /// `Ok` means that the resolver answered, even that there is nothing; `Err` that the answer is
    /// unknown.
    pub async fn query(&self, name: &DomainName, kind: RecordType) -> Result<Answer, QueryError> {
        self.used().await.query(name, kind).await
    }

    /// Whether the addresses of a name are known without asking a server.
    pub(crate) async fn knows_addresses(&self, name: &DomainName) -> bool {
        self.direct.knows_addresses(name).await
    }

    /// Forgets every answer that was kept.
    pub fn clear_cache(&self) {
        self.direct.forget();
        if let Some(designated) = &self.designated {
            designated.forget();
        }
    }
}

impl From<Direct> for Resolver {
    fn from(direct: Direct) -> Self {
        Self {
            direct: Arc::new(direct),
            designated: None,
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver({})", self.uri())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::discover::{DiscoverOptions, discover_with};
    use crate::origin::Origin;

    #[tokio::test]
    async fn without_ech_nothing_is_asked_about_a_host_in_the_hosts_file() {
        let dir = tempfile::tempdir().unwrap();
        let (resolv_conf, hosts) = (dir.path().join("resolv.conf"), dir.path().join("hosts"));
        std::fs::write(&resolv_conf, "nameserver 127.0.0.9\n").unwrap();
        std::fs::write(&hosts, "192.0.2.7 a.test\n").unwrap();
        let transport = Transport::System(System::new(resolv_conf, hosts));
        let options = ResolverOptions::default();
        let resolver: Resolver = Direct::new("system".into(), transport, &options).into();
        let origin = Origin::parse("https://a.test").unwrap();
        let options = DiscoverOptions {
            ech: false,
            ..DiscoverOptions::default()
        };
        let found = discover_with(&resolver, &origin, &options).await;
        assert!(found.error.is_none() && found.warnings.is_empty());
        assert_eq!((found.https.as_str(), found.query_name), ("none", None));
        assert_eq!(found.endpoints.len(), 1);
    }
}
