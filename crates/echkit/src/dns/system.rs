//! The host's own configuration: `/etc/resolv.conf` and `/etc/hosts`.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use echkit_proto::svcb::DomainName;
use resolv_conf::ScopedIp;

use super::classic::{Classic, ExchangeError, Patience, Protocol};
use super::message::{Question, Response};

const DNS_PORT: u16 = 53;
/// A hosts file of more than this is no hosts file.
const MAX_FILE: u64 = 64 << 20;

/// Where the configuration is kept.
///
/// The files are read for each question: they are small, they change when the host changes
/// networks, and a stale copy asks a server that is out of reach.
#[derive(Clone, Debug)]
pub(super) struct System {
    pub(super) resolv_conf: PathBuf,
    pub(super) hosts: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

impl System {
    /// The name servers. Search lists are not applied: the host of a URL is a full name.
    pub(super) fn servers(&self) -> io::Result<Classic> {
        let text = match fs::read(&self.resolv_conf) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // A line that does not parse must not take the others with it.
        let (config, _) = resolv_conf::Config::parse_with_errors(&text);
        // Without any, the server is the host itself (resolv.conf(5)).
        let servers = config
            .get_nameservers_or_local()
            .into_iter()
            .map(server)
            .collect();
        Ok(Classic {
            servers,
            protocol: Protocol::Udp,
        })
    }

    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<Response, ExchangeError> {
        self.servers()?.exchange(question, patience).await
    }

    /// The addresses that the hosts file has for a name; empty when it has none.
    pub(super) fn hosts(&self, name: &DomainName) -> Vec<IpAddr> {
        let small = fs::metadata(&self.hosts).is_ok_and(|meta| meta.len() <= MAX_FILE);
        let text = small
            .then(|| fs::read(&self.hosts).ok())
            .flatten()
            .unwrap_or_default();
        addresses_in_hosts(&String::from_utf8_lossy(&text), name)
    }
}

fn addresses_in_hosts(text: &str, name: &DomainName) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        let named = words.any(|word| word.parse::<DomainName>().is_ok_and(|host| host == *name));
        if named && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn server(ip: ScopedIp) -> SocketAddr {
    match ip {
        ScopedIp::V4(ip) => SocketAddr::new(ip.into(), DNS_PORT),
        ScopedIp::V6(ip, scope) => {
            let scope = scope.as_deref().and_then(interface_index).unwrap_or(0);
            SocketAddrV6::new(ip, DNS_PORT, 0, scope).into()
        }
    }
}

/// The number of an interface, given as such or by name (RFC 4007 §11).
fn interface_index(scope: &str) -> Option<u32> {
    if let Ok(index) = scope.parse() {
        return Some(index);
    }
    if scope.contains('/') {
        return None;
    }
    fs::read_to_string(format!("/sys/class/net/{scope}/ifindex"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_files_give_every_address_of_a_name() {
        let text = "# comment\n127.0.0.1 localhost\n\n192.0.2.1\tA.example  b.example # c.example\n\
                    2001:db8::1 a.example\nnot-an-address a.example\n192.0.2.1 a.example\n";
        let of = |name: &str| addresses_in_hosts(text, &name.parse().unwrap());
        let expected: Vec<IpAddr> =
            vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(of("a.example"), expected);
        assert_eq!(of("B.EXAMPLE"), expected[..1]);
        assert!(of("c.example").is_empty());
    }

    #[test]
    fn reads_name_servers_past_bad_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::write(
            &path,
            "nameserver 192.0.2.53\nnonsense here\nnameserver fe80::1%3\n",
        )
        .unwrap();
        let system = System {
            resolv_conf: path,
            ..System::default()
        };
        let servers: Vec<_> = system
            .servers()
            .unwrap()
            .servers
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(servers, ["192.0.2.53:53", "[fe80::1%3]:53"]);
    }

    #[test]
    fn without_configuration_the_host_itself_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let system = System {
            resolv_conf: dir.path().join("none"),
            ..System::default()
        };
        assert_eq!(
            system.servers().unwrap().servers[0].to_string(),
            "127.0.0.1:53"
        );
    }
}
