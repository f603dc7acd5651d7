//! Encrypted DNS of the testbed answers questions in their order.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use echkit_testbed::Testbed;
use futures_util::future::join_all;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::io::InspectReader;

/// Questions on each connection.
const COUNT: u16 = 40;

fn query(id: u16) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    // HTTPS and A in turn, as a client asks.
    let kind = match id % 2 {
        0 => RecordType::HTTPS,
        _ => RecordType::A,
    };
    let name = Name::from_ascii("nominal.ech.test.").unwrap();
    message.add_query(Query::query(name, kind));
    message.to_vec().unwrap()
}

async fn connect(testbed: &Testbed, port: u16, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(testbed.ca_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = "dns.ech.test".try_into().unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}

/// The streams of the HEADERS frames, in their order (RFC 9113 §4.1, §6.2).
fn answered(mut frames: &[u8]) -> Vec<u32> {
    let mut streams = Vec::new();
    while let [high, middle, low, kind, _, id @ ..] = frames {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        if *kind == 1 {
            streams.push(u32::from_be_bytes(id[..4].try_into().unwrap()));
        }
        frames = frames.get(9 + length..).unwrap_or_default();
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_https_come_in_the_order_of_the_questions() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let port = testbed.doh_address().port();
    let url = format!("https://dns.ech.test:{port}/dns-query");
    for _ in 0..10 {
        let read = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&read);
        let tls = InspectReader::new(
            connect(&testbed, port, b"h2").await,
            move |bytes: &[u8]| {
                kept.lock().unwrap().extend_from_slice(bytes);
            },
        );
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        // By GET: the frames of several bodies would leave in any order.
        let sent = (0..COUNT).map(|id| {
            let dns = BASE64URL_NOPAD.encode(&query(id));
            let request = Request::get(format!("{url}?dns={dns}"));
            sender.send_request(request.body(Empty::<Bytes>::new()).unwrap())
        });
        for response in join_all(sent.collect::<Vec<_>>()).await {
            let response = response.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            response.into_body().collect().await.unwrap();
        }
        drop(sender);
        let _ = connection.await;
        let streams = answered(&read.lock().unwrap());
        let expected: Vec<u32> = (0..u32::from(COUNT)).map(|n| 2 * n + 1).collect();
        assert_eq!(streams, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_tls_come_in_the_order_of_the_questions() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let uri = testbed.dot_uri();
    let port = uri
        .trim_end_matches("#127.0.0.1")
        .rsplit(':')
        .next()
        .unwrap();
    let mut stream = connect(&testbed, port.parse().unwrap(), b"dot").await;
    let mut asked = Vec::new();
    for id in 0..COUNT {
        let query = query(id);
        asked.extend(u16::try_from(query.len()).unwrap().to_be_bytes());
        asked.extend(query);
    }
    stream.write_all(&asked).await.unwrap();
    for id in 0..COUNT {
        let length = stream.read_u16().await.unwrap();
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..2], id.to_be_bytes());
    }
}
