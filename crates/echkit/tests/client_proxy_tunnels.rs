//! What goes through a tunnel: bodies in both versions of HTTP, a second hello after a rejection,
//! redirects, IPv6; over each kind of proxy, which reads no hidden name.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::http::{ClientBuilder, HttpVersions};
use echkit::proxy::Proxy;
use echkit::report::{EchSource, EchStatus};
use echkit::server::{Acceptor, EchKeyHandle, EchKeys};
use echkit::{Client, EchMode, ErrorKind};
use echkit_proto::key::EchKey;
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, ech_key, list};
use echkit_testbed::proxy::{ProxyHabit, TestProxy};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// Another host behind the same server, hidden too.
const OTHER: &str = "hidden-other.test";
const PROXY_NAME: &str = "proxy.test";
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Two hosts with ECH, and their zone.
struct Site {
    pki: Pki,
    dns: Server,
    address: SocketAddr,
}

impl Site {
    /// A server with `key` at `ip`. DNS has the config of `published`, and these addresses.
    async fn start(key: EchKey, published: &EchKey, ip: IpAddr, addresses: &[IpAddr]) -> Self {
        let pki = Pki::new();
        let provider = (*echkit::server::provider()).clone();
        let names = [HIDDEN, OTHER, PUBLIC];
        let mut tls = pki.server_with(&names, provider, rustls::ALL_VERSIONS);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let keys = EchKeyHandle::new(EchKeys::new(vec![key]).unwrap());
        let acceptor = Acceptor::new(Arc::new(tls), keys).unwrap();
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, acceptor));

        let ech = list(published).to_base64();
        let record = format!("1 . alpn=h2 port={} ech={ech}", address.port());
        let mut rdata = [Vec::new(), Vec::new()];
        for address in addresses {
            match address {
                IpAddr::V4(ip) => rdata[0].push(ip.octets().to_vec()),
                IpAddr::V6(ip) => rdata[1].push(ip.octets().to_vec()),
            }
        }
        let mut zone = vec![(
            PROXY_NAME,
            RecordType::A,
            Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]),
        )];
        for host in [HIDDEN, OTHER] {
            let record = Reply::Records(vec![https(&record)]);
            zone.push((host, RecordType::HTTPS, record));
            for (kind, rdata) in [RecordType::A, RecordType::AAAA].into_iter().zip(&rdata) {
                if !rdata.is_empty() {
                    zone.push((host, kind, Reply::Records(rdata.clone())));
                }
            }
        }
        let dns = Server::start(Script::new(zone)).await;
        Self { pki, dns, address }
    }

    async fn nominal() -> Self {
        let key = ech_key();
        Self::start(key.clone(), &key, V4, &[V4]).await
    }

    /// A client that requires ECH, and goes through a proxy.
    fn through(&self, proxy: &str) -> ClientBuilder {
        let resolver = Resolver::from_uri(&self.dns.udp(), &ResolverOptions::default());
        Client::builder()
            .tls(self.pki.tls())
            .ech(EchMode::Require)
            .resolver(resolver.unwrap())
            .proxy(Proxy::parse(proxy).unwrap())
    }

    /// A good proxy of each kind, with its URI.
    async fn proxies(&self) -> Vec<(String, TestProxy)> {
        let mut proxies = Vec::new();
        for scheme in ["http", "https", "socks5"] {
            let proxy = match scheme {
                "https" => {
                    let tls = self.pki.server(&[PROXY_NAME]);
                    TestProxy::start_tls(ProxyHabit::Open, tls).await.unwrap()
                }
                _ => TestProxy::start(ProxyHabit::Open).await.unwrap(),
            };
            let uri = format!("{scheme}://{PROXY_NAME}:{}", proxy.address().port());
            proxies.push((uri, proxy));
        }
        proxies
    }
}

async fn serve(listener: TcpListener, acceptor: Acceptor) {
    while let Ok((tcp, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(accepted) = acceptor.accept(tcp).await else {
                return;
            };
            let service = hyper::service::service_fn(respond);
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(accepted.stream), service)
                .await;
        });
    }
}

/// Sends the body back, or leads to the other host.
async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let to = match path.as_str() {
        "/other" => format!("https://{OTHER}/echo"),
        "/clear" => format!("http://{}/", "unpublished.test"),
        _ => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            return Ok(Response::new(Full::from(body)));
        }
    };
    let redirect = Response::builder().status(302).header("location", to);
    Ok(redirect.body(Full::default()).unwrap())
}

fn url(path: &str) -> String {
    format!("https://{HIDDEN}/{path}")
}

#[tokio::test]
async fn large_bodies_come_back_unchanged_over_each_kind_of_proxy_and_version_of_http() {
    let site = Site::nominal().await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7 + at) as u8).collect();
    for (uri, proxy) in site.proxies().await {
        for (versions, version) in [
            (HttpVersions::Http1, http::Version::HTTP_11),
            (HttpVersions::Http2, http::Version::HTTP_2),
        ] {
            let client = site.through(&uri).http(versions).build().unwrap();
            let request = client.post(&url("echo")).body(body.clone());
            let mut response = request.send().await.unwrap();
            assert_eq!(response.version(), version);
            assert!(response.bytes().await.unwrap() == body, "{uri} {version:?}");
            assert_eq!(response.report().ech.status, EchStatus::Accepted);
        }
        assert!(proxy.kept() > 1000 && !proxy.shows(HIDDEN), "{uri}");
    }
}

#[tokio::test]
async fn bodies_pass_a_proxy_that_drips_and_one_that_is_cut_is_an_error() {
    let site = Site::nominal().await;
    let body: Vec<u8> = (0..20_000_u32).map(|at| at as u8).collect();
    for scheme in ["http", "socks5"] {
        let proxy = TestProxy::start(ProxyHabit::Drips).await.unwrap();
        let client = site.through(&proxy.uri(scheme)).build().unwrap();
        let request = client.post(&url("echo")).body(body.clone());
        assert!(request.send().await.unwrap().bytes().await.unwrap() == body);
        assert!(!proxy.shows(HIDDEN));

        // In the handshake, and in the middle of the body.
        for (after, kind) in [(1, ErrorKind::Tls), (10_000, ErrorKind::Http)] {
            let cut = ProxyHabit::ClosesMidTunnel { after };
            let proxy = TestProxy::start(cut).await.unwrap();
            for versions in [HttpVersions::Http1, HttpVersions::Http2] {
                let client = site.through(&proxy.uri(scheme)).http(versions);
                let client = client.build().unwrap();
                let request = client.post(&url("echo")).body(body.clone());
                let ended = match request.send().await {
                    Ok(mut response) => response.bytes().await,
                    Err(error) => Err(error),
                };
                let error = ended.unwrap_err();
                assert_eq!(error.kind(), kind, "{versions:?} {error}");
                assert!(error.to_string().contains(HIDDEN), "{error}");
            }
            assert!(!proxy.shows(HIDDEN));
        }
    }
}

#[tokio::test]
async fn after_a_rejection_the_second_tunnel_leads_to_the_same_address() {
    let site = Site::start(ech_key(), &ech_key(), V4, &[V4]).await;
    for (uri, proxy) in site.proxies().await {
        for mode in [EchMode::Prefer, EchMode::Require] {
            proxy.clear_captures();
            let client = site.through(&uri).ech(mode).build().unwrap();
            let request = client.post(&url("echo")).body("hello");
            let mut response = request.send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap(), "hello");
            let ech = response.report().ech;
            assert_eq!((ech.status, ech.retries), (EchStatus::Accepted, 1));
            assert_eq!(ech.source, EchSource::Retry);
            let place = site.address.to_string();
            assert_eq!(proxy.asked(), [place.clone(), place], "{uri} {mode}");
            assert!(!proxy.shows(HIDDEN), "{uri} {mode}");
        }
        // Without the retry nothing but the first tunnel was made, and the name is not shown.
        proxy.clear_captures();
        let client = site.through(&uri).retry(false).build().unwrap();
        let error = client.get(&url("echo")).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EchRejected, "{error}");
        assert_eq!(proxy.asked().len(), 1);
        assert!(!proxy.shows(HIDDEN), "{uri}");
    }
}

#[tokio::test]
async fn redirects_go_through_the_proxy_by_address_and_not_into_the_clear() {
    let site = Site::nominal().await;
    for (uri, proxy) in site.proxies().await {
        let client = site.through(&uri).build().unwrap();
        let mut response = client.get(&url("other")).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "");
        assert_eq!(response.url().host_str(), Some(OTHER));
        assert_eq!(response.report().ech.status, EchStatus::Accepted);
        assert_eq!(response.redirects().len(), 1);
        let place = site.address.to_string();
        assert_eq!(proxy.asked(), [place.clone(), place], "{uri}");

        let error = client.get(&url("clear")).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EchRequired, "{error}");
        for name in [HIDDEN, OTHER, "unpublished"] {
            assert!(!proxy.shows(name), "{uri} {name}");
        }
    }
}

#[tokio::test]
async fn proxies_and_servers_are_reached_over_ipv6() {
    let key = ech_key();
    if TcpListener::bind((V6, 0)).await.is_err() {
        // No IPv6 on this machine.
        return;
    }
    let site = Site::start(key.clone(), &key, V6, &[V6]).await;
    for scheme in ["http", "socks5"] {
        let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
        let port = proxy.ipv6_address().unwrap().port();
        let uri = format!("{scheme}://[::1]:{port}");
        let client = site.through(&uri).build().unwrap();
        let request = client.post(&url("echo")).body("hello");
        let mut response = request.send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "hello");
        let report = response.report();
        assert_eq!(report.ech.status, EchStatus::Accepted);
        assert_eq!(report.proxy, Some(uri));
        assert_eq!(proxy.asked(), [site.address.to_string()]);
        assert!(proxy.captures()[0].client.is_ipv6());
        assert!(!proxy.shows(HIDDEN));
    }
}

#[tokio::test]
async fn an_address_that_the_proxy_cannot_connect_to_is_followed_by_the_next() {
    let key = ech_key();
    // Nothing listens at the other one, which comes first.
    let site = Site::start(key.clone(), &key, V4, &[V6, V4]).await;
    for (uri, proxy) in site.proxies().await {
        let client = site.through(&uri).build().unwrap();
        let request = client.post(&url("echo")).body("hello");
        let mut response = request.send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "hello");
        let port = site.address.port();
        let places = [format!("[::1]:{port}"), site.address.to_string()];
        assert_eq!(proxy.asked(), places, "{uri}");
        assert!(!proxy.shows(HIDDEN), "{uri}");
    }
}
