//! The host's own configuration: `/etc/resolv.conf` and `/etc/hosts`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use echkit_proto::dns::{DnsResponse, Question};
use echkit_proto::svcb::DomainName;
use resolv_conf::ScopedIp;

use super::classic::{Classic, EdnsSupport, Protocol};
use super::exchange::{ExchangeError, Patience};
use super::watched::Watched;

const DNS_PORT: u16 = 53;
/// A resolv.conf of more than this is none.
const MAX_RESOLV_CONF: u64 = 1 << 20;
/// Enough for a block list of half a million names.
const MAX_HOSTS: u64 = 16 << 20;

/// The host's resolver. Clones share what was read.
///
/// The files are looked at for each question and read when they have changed: a stale copy asks a
/// server that is out of reach once the host has changed networks.
#[derive(Clone, Debug)]
pub(super) struct System {
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    servers: Watched<Vec<SocketAddr>>,
    hosts: Watched<Hosts>,
    edns: EdnsSupport,
}

/// The addresses of each name in a hosts file.
type Hosts = HashMap<DomainName, Vec<IpAddr>>;

impl System {
    /// That of this host.
    pub(super) fn of_host() -> Self {
        Self::new("/etc/resolv.conf".into(), "/etc/hosts".into())
    }

    pub(super) fn new(resolv_conf: PathBuf, hosts: PathBuf) -> Self {
        Self {
            files: Arc::new(Files {
                servers: Watched::new(resolv_conf, MAX_RESOLV_CONF, servers),
                hosts: Watched::new(hosts, MAX_HOSTS, hosts_by_name),
                edns: EdnsSupport::default(),
            }),
        }
    }

    /// The name servers. Search lists are not applied: the host of a URL is a full name.
    pub(super) async fn classic(&self) -> io::Result<Classic> {
        let servers = self.files.servers.current().await?;
        Ok(Classic {
            servers: servers.to_vec(),
            protocol: Protocol::Udp,
            edns: self.files.edns.clone(),
        })
    }

    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<DnsResponse, ExchangeError> {
        self.classic().await?.exchange(question, patience).await
    }

    /// The addresses that the hosts file has for a name; empty when it has none, or cannot be read.
    pub(super) async fn hosts(&self, name: &DomainName) -> Vec<IpAddr> {
        match self.files.hosts.current().await {
            Ok(hosts) => hosts.get(name).cloned().unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

fn servers(text: &[u8]) -> Vec<SocketAddr> {
    // A line that does not parse must not take the others with it.
    let (config, _) = resolv_conf::Config::parse_with_errors(text);
    // Without any, the server is the host itself (resolv.conf(5)).
    config
        .get_nameservers_or_local()
        .into_iter()
        .filter_map(server)
        .collect()
}

fn server(ip: ScopedIp) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V4(ip) => Some(SocketAddr::new(ip.into(), DNS_PORT)),
        ScopedIp::V6(ip, None) => Some(SocketAddr::new(ip.into(), DNS_PORT)),
        // The system knows its interfaces by number and by name (RFC 4007 §11); for an address no
        // name is looked up.
        ScopedIp::V6(ip, Some(scope)) => {
            let scoped = format!("{ip}%{scope}");
            (scoped.as_str(), DNS_PORT).to_socket_addrs().ok()?.next()
        }
    }
}

fn hosts_by_name(text: &[u8]) -> Hosts {
    let mut hosts = Hosts::new();
    for line in String::from_utf8_lossy(text).lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words.filter_map(|word| word.parse::<DomainName>().ok()) {
            let addresses = hosts.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_files_give_every_address_of_a_name() {
        let text = "# comment\n127.0.0.1 localhost\n\n192.0.2.1\tA.example  b.example # c.example\n\
                    2001:db8::1 a.example\nnot-an-address a.example\n192.0.2.1 a.example\n";
        let hosts = hosts_by_name(text.as_bytes());
        let of = |name: &str| hosts.get(&name.parse().unwrap()).cloned();
        let expected: Vec<IpAddr> =
            vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(of("a.example"), Some(expected.clone()));
        assert_eq!(of("B.EXAMPLE"), Some(expected[..1].to_vec()));
        assert_eq!(of("c.example"), None);
    }

    #[test]
    fn reads_name_servers_past_bad_lines() {
        let text = "nameserver 192.0.2.53\nnonsense here\nnameserver fe80::1%3\n\
                    nameserver fe80::1%nonesuch\n";
        let servers: Vec<_> = servers(text.as_bytes())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(servers, ["192.0.2.53:53", "[fe80::1%3]:53"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_server_may_be_at_an_interface_with_a_name() {
        let servers = servers(b"nameserver fe80::1%lo\n");
        assert_eq!(servers[0].to_string(), "[fe80::1%1]:53");
    }

    #[tokio::test]
    async fn without_configuration_the_host_itself_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let system = System::new(dir.path().join("none"), dir.path().join("neither"));
        let classic = system.classic().await.unwrap();
        assert_eq!(classic.servers[0].to_string(), "127.0.0.1:53");
        assert!(system.hosts(&"a.test".parse().unwrap()).await.is_empty());
    }
}
