//! The testbed's DNS, asked with raw messages over each transport.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use echkit_testbed::Testbed;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

fn query(name: &str, rtype: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    message.edns = Some({
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        edns
    });
    message
}

async fn udp(server: SocketAddr, query: &Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket
        .send_to(&query.to_vec().unwrap(), server)
        .await
        .unwrap();
    let mut buf = vec![0; 65535];
    let (n, from) = socket.recv_from(&mut buf).await.unwrap();
    assert_eq!(from, server);
    Message::from_vec(&buf[..n]).unwrap()
}

async fn tcp(server: SocketAddr, query: &Message) -> Message {
    Message::from_vec(&tcp_raw(server, query).await).unwrap()
}

async fn tcp_raw(server: SocketAddr, query: &Message) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let bytes = query.to_vec().unwrap();
    stream
        .write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes())
        .await
        .unwrap();
    stream.write_all(&bytes).await.unwrap();
    let len = stream.read_u16().await.unwrap();
    let mut buf = vec![0; len.into()];
    stream.read_exact(&mut buf).await.unwrap();
    buf
}

/// One request to the resolver over HTTP/2 with the testbed's root.
async fn doh(testbed: &Testbed, request: Request<Full<Bytes>>) -> (StatusCode, String, Bytes) {
    let mut roots = RootCertStore::empty();
    roots.add(testbed.ca_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(testbed.doh_address()).await.unwrap();
    let name = "dns.ech.test".try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let media_type = response.headers().get("content-type");
    let media_type = media_type
        .map(|v| v.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    connection.abort();
    (status, media_type, body)
}

fn doh_request(
    testbed: &Testbed,
    method: Method,
    query: &str,
    body: Vec<u8>,
) -> Request<Full<Bytes>> {
    let uri = testbed.doh_uri();
    let (uri, _address) = uri.split_once('#').unwrap();
    Request::builder()
        .method(method)
        .uri(format!("{uri}{query}"))
        .header("content-type", "application/dns-message")
        .body(Full::from(body))
        .unwrap()
}

fn data(records: &[Record]) -> Vec<&RData> {
    records.iter().map(|record| &record.data).collect()
}

#[tokio::test]
async fn answers_agree_over_every_transport() {
    let testbed = Testbed::builder()
        .only(["no-ech", "nominal"])
        .start()
        .await
        .unwrap();
    let case = testbed.case("no-ech").unwrap();
    let server = testbed.dns_address();
    assert_eq!(testbed.dns_uri(), format!("udp://{server}"));
    assert_eq!(testbed.dns_tcp_uri(), format!("tcp://{server}"));

    for name in [
        case.host.clone(),
        format!("_{}._https.{}", case.port, case.host),
    ] {
        let query = query(&name, RecordType::HTTPS);
        let answer = udp(server, &query).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.metadata.authoritative);
        let [RData::HTTPS(https)] = data(&answer.answers)[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(https.svc_priority, 1);
        assert_eq!(tcp(server, &query).await.answers, answer.answers);

        let bytes = query.to_vec().unwrap();
        let post = doh_request(&testbed, Method::POST, "", bytes.clone());
        let encoded = data_encoding::BASE64URL_NOPAD.encode(&bytes);
        let get = doh_request(
            &testbed,
            Method::GET,
            &format!("?dns={encoded}"),
            Vec::new(),
        );
        for request in [post, get] {
            let (status, media_type, body) = doh(&testbed, request).await;
            assert_eq!(
                (status, media_type.as_str()),
                (StatusCode::OK, "application/dns-message")
            );
            assert_eq!(Message::from_vec(&body).unwrap().answers, answer.answers);
        }
    }
}

#[tokio::test]
async fn doh_refuses_what_is_no_query() {
    let testbed = Testbed::builder().only(["no-ech"]).start().await.unwrap();
    for (method, query, status) in [
        (Method::GET, "", StatusCode::BAD_REQUEST),
        (Method::GET, "?dns=!", StatusCode::BAD_REQUEST),
        (Method::GET, "?dns=AAAA", StatusCode::BAD_REQUEST),
        (Method::PUT, "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/elsewhere", StatusCode::NOT_FOUND),
    ] {
        let request = doh_request(&testbed, method, query, Vec::new());
        assert_eq!(doh(&testbed, request).await.0, status, "{query}");
    }
}

#[tokio::test]
async fn the_target_at_a_port_is_the_host_by_name() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let case = testbed.case("nominal").unwrap();
    let name = format!("_{}._https.{}", case.port, case.host);
    let answer = udp(testbed.dns_address(), &query(&name, RecordType::HTTPS)).await;
    let [RData::HTTPS(https)] = data(&answer.answers)[..] else {
        panic!("{answer:?}")
    };
    assert_eq!(https.target_name.to_ascii(), "nominal.ech.test.");

    let at_host = udp(testbed.dns_address(), &query(&case.host, RecordType::HTTPS)).await;
    let [RData::HTTPS(https)] = data(&at_host.answers)[..] else {
        panic!("{at_host:?}")
    };
    assert!(https.target_name.is_root());
    let port = https.svc_params.iter().find_map(|(_, value)| match value {
        hickory_proto::rr::rdata::svcb::SvcParamValue::Port(port) => Some(*port),
        _ => None,
    });
    assert_eq!(
        port,
        Some(case.port),
        "at the host itself the port must be said"
    );
}

#[tokio::test]
async fn addresses_aliases_and_absences() {
    let testbed = Testbed::builder()
        .only(["nominal", "no-record", "cname", "alias"])
        .start()
        .await
        .unwrap();
    let server = testbed.dns_address();

    let a = udp(server, &query("nominal.ech.test", RecordType::A)).await;
    let [RData::A(a)] = data(&a.answers)[..] else {
        panic!("{a:?}")
    };
    assert_eq!(IpAddr::from(a.0), IpAddr::from(Ipv4Addr::LOCALHOST));

    // RFC 2308 §2.2: no data, with the SOA that says how long that holds.
    let none = udp(server, &query("no-record.ech.test", RecordType::HTTPS)).await;
    assert_eq!(none.metadata.response_code, ResponseCode::NoError);
    assert!(none.answers.is_empty());
    assert!(
        matches!(data(&none.authorities)[..], [RData::SOA(_)]),
        "{none:?}"
    );

    let unknown = udp(server, &query("nobody.ech.test", RecordType::HTTPS)).await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
    assert!(
        matches!(data(&unknown.authorities)[..], [RData::SOA(_)]),
        "{unknown:?}"
    );

    let elsewhere = udp(server, &query("example.com", RecordType::A)).await;
    assert_eq!(elsewhere.metadata.response_code, ResponseCode::Refused);

    let cname = udp(server, &query("cname.ech.test", RecordType::HTTPS)).await;
    assert!(
        matches!(data(&cname.answers)[..], [RData::CNAME(_), RData::HTTPS(_)]),
        "the chain is in the answer: {cname:?}"
    );

    let alias = udp(server, &query("alias.ech.test", RecordType::HTTPS)).await;
    let [RData::HTTPS(alias)] = data(&alias.answers)[..] else {
        panic!("{alias:?}")
    };
    assert_eq!(alias.svc_priority, 0);
    assert_eq!(alias.target_name.to_ascii(), "alias-target.ech.test.");
}

#[tokio::test]
async fn malformed_rdata_reaches_the_client_as_it_is() {
    let testbed = Testbed::builder()
        .only(["truncated-list"])
        .start()
        .await
        .unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let query = query("truncated-list.ech.test", RecordType::HTTPS);
    socket
        .send_to(&query.to_vec().unwrap(), testbed.dns_address())
        .await
        .unwrap();
    let mut buf = vec![0; 4096];
    let (n, _) = socket.recv_from(&mut buf).await.unwrap();
    let list = [0, 5, 0, 8, 0, 8, 0xfe, 0x0d, 0, 4, 1, 2];
    assert!(
        buf[..n].windows(list.len()).any(|w| w == list),
        "{:02x?}",
        &buf[..n]
    );
}

#[tokio::test]
async fn every_published_record_is_served() {
    let testbed = Testbed::start().await.unwrap();
    for record in testbed.cases().iter().flat_map(|case| &case.zone) {
        let rtype: RecordType = record.rtype.parse().unwrap();
        let answer = tcp_raw(testbed.dns_address(), &query(&record.owner, rtype)).await;
        if record.owner.contains("servfail") && rtype == RecordType::HTTPS {
            assert_eq!(answer[3] & 0x0f, 2, "RCODE of {record}");
            continue;
        }
        // ANCOUNT (RFC 1035 §4.1.1); a DNS library would refuse the malformed ones.
        assert_ne!(answer[6..8], [0, 0], "{record}");
    }
}

#[tokio::test]
async fn a_mistyped_case_is_refused_with_its_neighbours() {
    let error = Testbed::builder()
        .only(["stale-wrong"])
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`stale-wrong`") && error.contains("stale-wrong-name"),
        "{error}"
    );
}

#[tokio::test]
async fn what_does_not_fit_is_truncated_over_udp_and_whole_over_tcp() {
    let testbed = Testbed::builder().only(["twenty"]).start().await.unwrap();
    let query = query("twenty.ech.test", RecordType::HTTPS);
    let answer = udp(testbed.dns_address(), &query).await;
    assert!(answer.metadata.truncation && answer.answers.len() < 20);
    let answer = tcp(testbed.dns_address(), &query).await;
    assert!(!answer.metadata.truncation);
    assert_eq!(answer.answers.len(), 20);
}
