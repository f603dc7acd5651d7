//! The connector as a service below another HTTP client, here hyper-util's.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use echkit::connect::{Connector, ConnectorBuilder};
use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::http::{
    ConnectionReport, HttpVersions, HttpsConnector, HttpsUpgrade, HttpsUpgradeLayer,
};
use echkit::report::{EchStatus, Report};
use echkit::server::{Acceptor, EchKeyHandle, EchKeys};
use echkit::{EchMode, ErrorKind, Origin};
use echkit_proto::config::EchConfigList;
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, ech_key, list};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, Version};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tower_layer::Layer;
use tower_service::Service;

type Pooled = Client<HttpsConnector, Empty<Bytes>>;

struct Site {
    address: SocketAddr,
    config: EchConfigList,
    connections: Arc<AtomicUsize>,
}

/// An ECH site that answers with the scheme and authority that it was asked for.
async fn site(pki: &Pki, alpn: &[&[u8]]) -> Site {
    let key = ech_key();
    let config = list(&key);
    let provider = (*echkit::server::provider()).clone();
    let mut tls = pki.server_with(&[HIDDEN, PUBLIC], provider, rustls::ALL_VERSIONS);
    tls.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
    let keys = EchKeyHandle::new(EchKeys::new(vec![key]).unwrap());
    let acceptor = Acceptor::new(Arc::new(tls), keys).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let Ok(accepted) = acceptor.accept(tcp).await else {
                    return;
                };
                count.fetch_add(1, Ordering::SeqCst);
                let service = hyper::service::service_fn(respond);
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(accepted.stream), service)
                    .await;
            });
        }
    });
    Site {
        address,
        config,
        connections,
    }
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let host = request
        .headers()
        .get("host")
        .map(|host| host.to_str().unwrap());
    let said = match request.uri().authority() {
        Some(authority) => format!("{} {authority}", request.uri().scheme_str().unwrap()),
        None => format!("- {}", host.unwrap()),
    };
    Ok(Response::new(Full::from(said)))
}

fn direct(pki: &Pki, site: &Site) -> ConnectorBuilder {
    Connector::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .ech_config(site.config.clone())
        .connect_to(HIDDEN, 443, "127.0.0.1", site.address.port())
}

fn pooled(connector: HttpsConnector) -> Pooled {
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn get<S>(client: &mut S, uri: &str) -> (Version, Report, String)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>>,
    S::Error: std::fmt::Debug,
{
    std::future::poll_fn(|cx| client.poll_ready(cx))
        .await
        .unwrap();
    let request = Request::get(uri).body(Empty::new()).unwrap();
    let response = client.call(request).await.unwrap();
    let report = response
        .extensions()
        .get::<ConnectionReport>()
        .unwrap()
        .report();
    let version = response.version();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (version, report, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn hyper_utils_client_speaks_what_was_agreed_on_and_carries_the_report() {
    let pki = Pki::new();
    for (alpn, versions, spoken) in [
        (
            &[&b"h2"[..], b"http/1.1"][..],
            HttpVersions::Any,
            Version::HTTP_2,
        ),
        (&[b"http/1.1"], HttpVersions::Any, Version::HTTP_11),
        (&[b"h2", b"http/1.1"], HttpVersions::Http1, Version::HTTP_11),
        (&[b"h2"], HttpVersions::Http2, Version::HTTP_2),
    ] {
        let site = site(&pki, alpn).await;
        let connector = direct(&pki, &site).build().unwrap();
        let connector = HttpsConnector::new(connector).with_versions(versions);
        let mut client = pooled(connector);
        for _ in 0..3 {
            let (version, report, _) = get(&mut client, &format!("https://{HIDDEN}/")).await;
            assert_eq!(version, spoken);
            assert_eq!(report.ech.status, EchStatus::Accepted);
            assert_eq!(report.ech.outer_sni.as_deref(), Some(PUBLIC));
            assert_eq!(report.origin, format!("https://{HIDDEN}"));
            assert!(report.bytes.received > 0);
        }
        assert_eq!(site.connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn errors_keep_their_kind_and_report_and_show_no_credentials() {
    let pki = Pki::new();
    let site = site(&pki, &[b"http/1.1"]).await;
    let connector = direct(&pki, &site).build().unwrap();
    let only_h2 = HttpsConnector::new(connector.clone()).with_versions(HttpVersions::Http2);
    for (mut service, uri, kind) in [
        (
            HttpsConnector::new(connector.clone()),
            "ftp://u:s3cret@a.test/",
            ErrorKind::Url,
        ),
        (
            HttpsConnector::new(connector.clone()),
            "/s3cret",
            ErrorKind::Url,
        ),
        (
            only_h2,
            "https://u:s3cret@hidden-name.test/",
            ErrorKind::Tls,
        ),
    ] {
        let error = service.call(uri.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let shown = format!("{error} {error:?} {:?}", error.report());
        assert!(!shown.contains("u:s3cret"), "{shown}");
    }
}

/// A zone in which the hidden name has an HTTPS record for ports 80 and 443 alike.
async fn zone(record: Option<String>) -> Connector {
    let records = match record {
        Some(text) => Reply::Records(vec![https(&text)]),
        None => Reply::NoData { soa: true },
    };
    let address = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    let dns = Server::start(Script::new([
        (HIDDEN, RecordType::HTTPS, records),
        (HIDDEN, RecordType::A, address),
        (HIDDEN, RecordType::AAAA, Reply::NoData { soa: true }),
    ]))
    .await;
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    Connector::builder().resolver(resolver).build().unwrap()
}

#[tokio::test]
async fn only_http_origins_with_a_compatible_record_are_upgraded() {
    let http = Origin::parse(&format!("http://{HIDDEN}")).unwrap();
    let https = Origin::parse(&format!("https://{HIDDEN}")).unwrap();
    let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (record, upgraded) in [
        (Some("1 .".to_owned()), &https),
        (Some("1 . alpn=h3 no-default-alpn".to_owned()), &http),
        (None, &http),
    ] {
        let connector = zone(record).await;
        assert_eq!(&connector.upgraded(&http, alpn).await.unwrap(), upgraded);
        assert_eq!(connector.upgraded(&https, alpn).await.unwrap(), https);
    }
}

#[tokio::test]
async fn the_upgrade_from_http_is_a_layer_above_the_client() {
    let pki = Pki::new();
    let site = site(&pki, &[b"h2", b"http/1.1"]).await;
    let address = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    let ech = site.config.to_base64();
    let record = https(&format!(
        "1 . alpn=h2 port={} ech={ech}",
        site.address.port()
    ));
    let dns = Server::start(Script::new([
        (HIDDEN, RecordType::HTTPS, Reply::Records(vec![record])),
        (HIDDEN, RecordType::A, address),
        (HIDDEN, RecordType::AAAA, Reply::NoData { soa: true }),
    ]))
    .await;
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let connector = Connector::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .resolver(resolver)
        .build()
        .unwrap();
    let client = pooled(HttpsConnector::new(connector.clone()));
    let http = format!("http://{HIDDEN}/");
    // Without the layer: TLS all the same, and HTTP/1.1 since the client believes it is plain.
    let (version, report, said) = get(&mut client.clone(), &http).await;
    assert_eq!(
        (version, said.as_str()),
        (Version::HTTP_11, &*format!("- {HIDDEN}"))
    );
    assert_eq!(report.ech.status, EchStatus::Accepted);
    // With it: an `https` request, which shares its connection with others.
    let mut upgrading: HttpsUpgrade<Pooled> = HttpsUpgradeLayer::new(connector).layer(client);
    for uri in [&http, &format!("https://{HIDDEN}/")] {
        let (version, report, said) = get(&mut upgrading, uri).await;
        assert_eq!(
            (version, said),
            (Version::HTTP_2, format!("https {HIDDEN}"))
        );
        assert_eq!(report.ech.status, EchStatus::Accepted);
    }
    assert_eq!(site.connections.load(Ordering::SeqCst), 2);
}
