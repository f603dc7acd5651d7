//! A client's resolver by URI: one line, with the client's trust and without its certificate.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use echkit::dns::RecordType;
use echkit::origin::Origin;
use echkit::tls::ClientTlsBuilder;
use echkit::{Client, ErrorKind};
use echkit_test::dns::{Reply, Script, v4};
use echkit_test::lab::Pki;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a resolver learned of its clients: the version, and whether there was a certificate.
type Clients = Arc<Mutex<Vec<(ProtocolVersion, bool)>>>;

/// A DoT server that asks for a client certificate; its URI.
async fn resolver(
    pki: &Pki,
    script: Arc<Script>,
    versions: &[&'static SupportedProtocolVersion],
) -> (String, Clients) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(pki.root()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let (chain, key) = pki.issue(&["dns.test"]);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let clients = Clients::default();
    let seen = Arc::clone(&clients);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                continue;
            };
            let connection = stream.get_ref().1;
            let version = connection.protocol_version().unwrap();
            let certified = connection.peer_certificates().is_some();
            seen.lock().unwrap().push((version, certified));
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut query = vec![0; usize::from(length)];
                    stream.read_exact(&mut query).await.unwrap();
                    for message in script.answer(&query, true) {
                        let length = u16::try_from(message.len()).unwrap();
                        stream.write_u16(length).await.unwrap();
                        stream.write_all(&message).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                }
            });
        }
    });
    (format!("tls://dns.test:{port}#127.0.0.1"), clients)
}

/// With a certificate for servers that ask for one.
fn tls(pki: &Pki) -> ClientTlsBuilder {
    let (chain, key) = pki.issue(&["client.test"]);
    pki.tls().client_certificate(chain, key).unwrap()
}

fn script() -> Arc<Script> {
    Script::new([("other.test", RecordType::A, Reply::Records(vec![v4(1)]))])
}

#[tokio::test]
async fn a_resolver_by_uri_is_verified_by_the_clients_trust_and_sees_no_client_certificate() {
    let pki = Pki::new();
    let script = script();
    let (uri, clients) = resolver(&pki, Arc::clone(&script), &[&TLS13, &TLS12]).await;
    let client = Client::builder().tls(tls(&pki)).dns(uri).build().unwrap();
    let error = client.get("https://a.test/").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name, "{error}");
    assert!(error.report().unwrap().dns.as_ref().unwrap().protected);
    assert_eq!(script.count("a.test", RecordType::HTTPS), 1);
    let clients = clients.lock().unwrap();
    assert_eq!(clients[..], [(ProtocolVersion::TLSv1_3, false)]);
}

#[tokio::test]
async fn a_resolver_that_the_client_does_not_trust_is_not_asked() {
    let (pki, other) = (Pki::new(), Pki::new());
    let script = script();
    let (uri, clients) = resolver(&pki, Arc::clone(&script), &[&TLS13]).await;
    let client = Client::builder().tls(tls(&other)).dns(uri).build().unwrap();
    client.get("https://a.test/").send().await.unwrap_err();
    assert!(clients.lock().unwrap().is_empty());
    assert!(script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_resolver_without_tls_1_3_is_not_asked() {
    let pki = Pki::new();
    let script = script();
    let (uri, clients) = resolver(&pki, Arc::clone(&script), &[&TLS12]).await;
    let client = Client::builder().tls(tls(&pki)).dns(uri).build().unwrap();
    client.get("https://a.test/").send().await.unwrap_err();
    assert!(clients.lock().unwrap().is_empty());
    assert!(script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connector_takes_a_uri_too_and_what_is_set_last_counts() {
    let pki = Pki::new();
    let script = script();
    let (uri, _) = resolver(&pki, Arc::clone(&script), &[&TLS13]).await;
    let connector = echkit::connect::Connector::builder()
        .tls(tls(&pki))
        .resolver(echkit::dns::Resolver::system())
        .dns(&uri)
        .build()
        .unwrap();
    let origin = Origin::parse("https://a.test").unwrap();
    connector.connect(&origin, &[b"h2"]).await.unwrap_err();
    assert_eq!(script.count("a.test", RecordType::HTTPS), 1);
}

#[test]
fn a_uri_that_names_no_resolver_is_an_error_of_build() {
    for uri in ["dns.example", "ftp://192.0.2.1", "https://"] {
        let error = Client::builder().dns(uri).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().starts_with("resolver: "), "{error}");
    }
    Client::builder()
        .dns("https://dns.example/dns-query#192.0.2.1")
        .build()
        .unwrap();
}
