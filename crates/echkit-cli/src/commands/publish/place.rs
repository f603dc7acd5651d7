//! Where the records of a site are published.

use std::net::{IpAddr, SocketAddr};

use echkit::dns::Resolver;
use echkit_proto::config::EchConfigList;
use echkit_proto::svcb::DomainName;
use echkit_server::{DnsServer, HttpsRrset, PublishedSite, Publisher, SiteRecord};

use crate::cli::publish::PublishArgs;
use crate::failure::Failure;

/// The TTL of a first record.
const TTL: u32 = 300;

pub(super) struct Place {
    text: String,
    pub(super) site: PublishedSite,
    pub(super) publisher: Publisher,
}

impl Place {
    pub(super) async fn find(
        text: &str,
        args: &PublishArgs,
        resolver: &Resolver,
    ) -> Result<Self, Failure> {
        let site = PublishedSite::parse(text)?;
        let publisher = match &args.server {
            Some(server) => {
                Publisher::at(self::server(server, resolver).await?, &site.owner).await?
            }
            None => Publisher::find(resolver, &site.owner, args.ns_port).await?,
        };
        Ok(Self {
            text: text.to_owned(),
            site,
            publisher,
        })
    }

    /// The record of a site that has none.
    pub(super) fn first_record(
        &self,
        list: &EchConfigList,
        args: &PublishArgs,
    ) -> Result<HttpsRrset, Failure> {
        let ttl = args.ttl.unwrap_or(TTL);
        let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        let record = SiteRecord::new(&self.text, ttl, list.clone())
            .map_err(|error| usage(&error))?
            .with_alpn(&args.alpn);
        let rdata = record.record().encode().map_err(|error| usage(&error))?;
        Ok(HttpsRrset::new(ttl, vec![rdata]))
    }
}

/// The server that `--server` names: ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT, HOST or HOST:PORT.
async fn server(text: &str, resolver: &Resolver) -> Result<DnsServer, Failure> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(DnsServer::new(address));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(DnsServer::new(SocketAddr::new(ip, 53)));
    }
    let wrong = || {
        Failure::usage(format!(
            "--server {text}: not HOST, ADDRESS, HOST:PORT or ADDRESS:PORT"
        ))
    };
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (text, 53),
    };
    let name: DomainName = host.parse().map_err(|_| wrong())?;
    let servers = echkit_server::dns_servers(resolver, &name, port).await?;
    let first = servers.into_iter().next();
    Ok(first.ok_or_else(|| echkit_server::PublishError::NoServerAddress(host.to_owned()))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn servers_are_named_by_address_with_and_without_port() {
        let resolver = Resolver::from_uri("udp://127.0.0.1:1", &Default::default()).unwrap();
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5300", "192.0.2.1:5300"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5300", "[2001:db8::1]:5300"),
        ] {
            let server = server(text, &resolver).await.unwrap();
            assert_eq!(server.address(), address.parse().unwrap(), "{text}");
        }
        for text in ["a b", "ns.example:x", "a..b"] {
            assert_eq!(
                server(text, &resolver).await.unwrap_err().code(),
                2,
                "{text}"
            );
        }
    }
}
