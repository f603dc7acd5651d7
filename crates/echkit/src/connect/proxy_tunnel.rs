//! Tunnels through a proxy: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connection_plan::ConnectionPlan;
use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use super::proxy_route::{ProxyRoute, ProxyTarget, forwards};
use super::wire::Wire;
use crate::deadline::Deadline;
use crate::dns::{RecordType, Resolver};
use crate::error::Cause;
use crate::origin::Host;
use crate::policy::AddressFamily;
use crate::proxy::{Proxy, ProxyFault, ProxyKind};

/// The head of an answer to CONNECT is not longer than this, interim ones included.
const HEAD_LIMIT: usize = 32 * 1024;

/// Fields in such a head, at most.
const MAX_FIELDS: usize = 100;

/// A proxy that attempts may connect through.
pub(super) struct ProxyTunnel {
    route: ProxyRoute,
    /// Where the proxy is.
    addresses: Vec<SocketAddr>,
    /// For a proxy over TLS.
    tls: Option<Arc<ClientConfig>>,
    /// Whether the proxy is spoken to in absolute-form: there is no tunnel.
    forward: bool,
}

impl ProxyTunnel {
    /// Looks the proxy up, where the way leads through one.
    pub(super) async fn prepare(
        route: Option<&ProxyRoute>,
        parts: &ConnectorParts,
        plan: &ConnectionPlan,
        request: &ConnectionRequest<'_>,
        dns_limit: Deadline,
    ) -> Result<Option<Arc<Self>>, Cause> {
        let Some(route) = route.cloned() else {
            return Ok(None);
        };
        let looking = addresses(&route.proxy, &parts.resolver, parts.policy.family);
        let addresses = match dns_limit.run(looking).await {
            Some(Ok(addresses)) => addresses,
            Some(Err(fault)) => {
                return Err(route.cause(&plan.origin.host.to_string(), fault));
            }
            None => {
                let reason = format!("no answer within {} ms", dns_limit.limit.as_millis());
                let fault = ProxyFault::Unresolved { reason };
                return Err(route.cause(&plan.origin.host.to_string(), fault));
            }
        };
        let tls = match route.proxy.kind() {
            ProxyKind::Https => Some(parts.tls.proxy_config()?),
            _ => None,
        };
        Ok(Some(Arc::new(Self {
            forward: request.forward && forwards(&route.proxy, &plan.origin),
            route,
            addresses,
            tls,
        })))
    }

    /// Where the proxy is asked to connect to.
    pub(super) fn target(&self, address: SocketAddr) -> ProxyTarget {
        ProxyTarget::new(&self.route, address)
    }

    /// Connects to `address` through the proxy.
    pub(super) async fn connect(
        &self,
        host: &str,
        address: SocketAddr,
        limit: Deadline,
    ) -> Result<Wire, Cause> {
        let fault = match limit.run(Box::pin(self.open(address))).await {
            Some(Ok(wire)) => return Ok(wire),
            Some(Err(fault)) => fault,
            None => ProxyFault::Timeout { after: limit.limit },
        };
        Err(self.route.cause(host, fault))
    }

    async fn open(&self, address: SocketAddr) -> Result<Wire, ProxyFault> {
        let unreachable = |source| ProxyFault::Unreachable { source };
        let tcp = TcpStream::connect(&self.addresses[..])
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let proxy = &self.route.proxy;
        let mut wire = match &self.tls {
            None => Wire::Tcp(tcp),
            Some(config) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let failed = |source| ProxyFault::Tls { source };
                let handshake = connector.connect(proxy.host().server_name(), tcp);
                Wire::TlsToProxy(Box::new(handshake.await.map_err(failed)?))
            }
        };
        if self.forward {
            return Ok(wire);
        }
        let target = self.target(address);
        match proxy.kind().is_http() {
            true => http_tunnel(&mut wire, proxy, &target.to_string()).await?,
            false => wire = socks_tunnel(wire, proxy, target).await?,
        }
        Ok(wire)
    }
}

/// The addresses of a proxy.
async fn addresses(
    proxy: &Proxy,
    resolver: &Resolver,
    family: AddressFamily,
) -> Result<Vec<SocketAddr>, ProxyFault> {
    let name = match proxy.host() {
        Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, proxy.port())]),
        Host::Name(name) => name,
    };
    let resolver = resolver.in_use().await;
    let ask = |kind| resolver.query(name.dns(), kind);
    let (v6, v4) = tokio::join!(ask(RecordType::AAAA), ask(RecordType::A));
    let mut found = Vec::new();
    let mut reason = None;
    for answer in [v6, v4] {
        match answer {
            Ok(answer) => found.extend(answer.addresses()),
            Err(error) => reason = Some(error.to_string()),
        }
    }
    found.retain(|address| family.allows(*address));
    match found.is_empty() {
        true => Err(ProxyFault::Unresolved {
            reason: reason.unwrap_or_else(|| "no address that may be used".to_owned()),
        }),
        false => Ok(found
            .into_iter()
            .map(|address| SocketAddr::new(address, proxy.port()))
            .collect()),
    }
}

/// Asks an HTTP proxy to connect to `target`.
async fn http_tunnel(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    target: &str,
) -> Result<(), ProxyFault> {
    let broken = |source| ProxyFault::Broken { source };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    let authorization = proxy.authorization();
    if let Some(value) = &authorization {
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await.map_err(broken)?;
    io.flush().await.map_err(broken)?;
    match final_status(io).await? {
        200..300 => Ok(()),
        407 => Err(ProxyFault::Credentials {
            sent: authorization.is_some(),
        }),
        status => Err(ProxyFault::Refused {
            to: target.to_owned(),
            status,
        }),
    }
}

/// The status of the answer to CONNECT, after interim ones (RFC 9110 §15.2).
async fn final_status(io: &mut (impl AsyncRead + Unpin)) -> Result<u16, ProxyFault> {
    let malformed = |reason: &str| ProxyFault::Malformed {
        reason: reason.to_owned(),
    };
    let mut head = Vec::new();
    // Where the answer begins that has not been read to its end.
    let mut begin = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        let parsed = answer
            .parse(&head[begin..])
            .map_err(|error| malformed(&error.to_string()))?;
        if let httparse::Status::Complete(len) = parsed {
            begin += len;
            match answer.code {
                Some(100..200) => continue,
                // In the protocols that we speak the client speaks first.
                Some(200..300) if begin < head.len() => {
                    return Err(malformed("there is more after its head"));
                }
                Some(status) => return Ok(status),
                None => return Err(malformed("it has no status")),
            }
        }
        if head.len() >= HEAD_LIMIT {
            return Err(malformed("its head is too long"));
        }
        let read = io.read_buf(&mut head).await;
        if read.map_err(|source| ProxyFault::Broken { source })? == 0 {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the proxy closed it");
            return Err(ProxyFault::Broken { source });
        }
    }
}

/// Asks a SOCKS5 proxy to connect to `target`.
#[cfg(feature = "socks")]
async fn socks_tunnel(wire: Wire, proxy: &Proxy, target: ProxyTarget) -> Result<Wire, ProxyFault> {
    use tokio_socks::tcp::Socks5Stream;
    use tokio_socks::{Error, TargetAddr};

    let to = target.to_string();
    let target = match target {
        ProxyTarget::Address(address) => TargetAddr::Ip(address),
        ProxyTarget::Name(name, port) => TargetAddr::Domain(name.as_str().to_owned().into(), port),
    };
    let credentials = proxy.credentials();
    let connected = match credentials {
        None => Socks5Stream::connect_with_socket(wire, target).await,
        Some((user, password)) => {
            Socks5Stream::connect_with_password_and_socket(wire, target, user, password).await
        }
    };
    let (reason, about_address) = match connected {
        Ok(stream) => return Ok(stream.into_inner()),
        Err(Error::NoAcceptableAuthMethods | Error::AuthorizationRequired)
            if credentials.is_none() =>
        {
            let reason = "it asks for credentials: give them in its URL, as in \
                          socks5://USER:PASSWORD@HOST:PORT";
            (reason.to_owned(), false)
        }
        Err(Error::PasswordAuthFailure(_)) => {
            let reason = "it does not accept the credentials";
            (reason.to_owned(), false)
        }
        Err(Error::InvalidResponseVersion) => {
            let reason = "its answer is not SOCKS5";
            (reason.to_owned(), false)
        }
        // Of a reply too.
        Err(Error::UnknownAuthMethod) => {
            let reason = "its reply has a code that SOCKS5 does not have";
            (reason.to_owned(), true)
        }
        Err(Error::Io(error)) => {
            let reason = format!("the connection ended before it answered: {error}");
            (reason, true)
        }
        Err(
            error @ (Error::NoAcceptableAuthMethods
            | Error::AuthorizationRequired
            | Error::InvalidAuthValues(_)),
        ) => (error.to_string(), false),
        Err(error) => (format!("the proxy says: {error}"), true),
    };
    Err(ProxyFault::Socks {
        to,
        reason,
        about_address,
    })
}

/// No SOCKS5 proxy is made where the feature is off (`ProxyUriError::NoSocks`).
#[cfg(not(feature = "socks"))]
async fn socks_tunnel(_: Wire, _: &Proxy, target: ProxyTarget) -> Result<Wire, ProxyFault> {
    Err(ProxyFault::Socks {
        to: target.to_string(),
        reason: "SOCKS proxies are not compiled in".to_owned(),
        about_address: false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The result of an answer that arrives in pieces of this length, and then ends.
    async fn status(answer: &[u8], piece: usize) -> Result<u16, String> {
        let (mut client, mut proxy) = tokio::io::duplex(piece);
        let answer = answer.to_vec();
        let sending = tokio::spawn(async move {
            // The client may have heard enough.
            let _ = proxy.write_all(&answer).await;
        });
        let status = final_status(&mut client).await;
        drop(client);
        sending.await.unwrap();
        status.map_err(|fault| fault.to_string())
    }

    #[tokio::test]
    async fn an_answer_comes_to_the_same_however_it_is_cut_up() {
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_FIELDS + 1)
        );
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_LIMIT));
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_LIMIT / 8);
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Ok(200)),
            ("HTTP/1.0 200 Connection established\r\n\r\n", Ok(200)),
            (
                "HTTP/1.1 100 Go\r\na: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                Ok(204),
            ),
            ("HTTP/1.1 407 No\r\ncontent-length: 3\r\n\r\nno!", Ok(407)),
            ("HTTP/1.1 503\r\n\r\n", Ok(503)),
            ("", Err("closed")),
            ("HTTP/1.1 200 OK\r\n", Err("closed")),
            ("HTTP/2.0 200 OK\r\n\r\n", Err("not one to CONNECT")),
            ("<html>", Err("not one to CONNECT")),
            (&*many, Err("not one to CONNECT")),
            (&*long, Err("its head is too long")),
            (&*endless, Err("its head is too long")),
        ] {
            for piece in [1, 7, 100_000] {
                let status = status(answer.as_bytes(), piece).await;
                match (&status, expected) {
                    (Ok(status), Ok(expected)) => assert_eq!(*status, expected),
                    (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
                    _ => panic!("{status:?}, not {expected:?}: {answer:.60}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn bytes_after_the_head_of_a_success_are_refused() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\nx";
        let reason = status(answer, 100).await.unwrap_err();
        assert!(reason.contains("after its head"), "{reason}");
    }
}
