//! PROXY protocol headers, version 2, in and out.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{Bed, SECRET, Setup, echo};

const FROM: &str = "192.0.2.55:4000";

/// A header that says that 192.0.2.55:4000 connected to 198.51.100.7:443.
fn header() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 55, 198, 51, 100, 7, 0x0f, 0xa0, 1, 187]);
    header
}

async fn bed(accept: bool, send: bool) -> Bed {
    Bed::with(Setup {
        accept_proxy: accept,
        send_proxy: send,
        ..Setup::default()
    })
    .await
}

async fn connect_with(bed: &Bed, header: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(bed.address).await?;
    for piece in header.chunks(5) {
        tcp.write_all(piece).await?;
    }
    let name = rustls::pki_types::ServerName::try_from(SECRET).unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(bed.offering()));
    let stream = connector.connect(name, tcp).await?;
    Ok(echo(stream, b"hello").await)
}

#[tokio::test]
async fn a_header_names_the_client_and_is_passed_on() {
    let mut bed = bed(true, true).await;
    assert_eq!(connect_with(&bed, &header()).await.unwrap(), b"hello");
    assert_eq!(bed.ended().await.client, FROM.parse().unwrap());
    assert_eq!(bed.seen()[0].before, header());
}

#[tokio::test]
async fn without_a_header_the_backend_is_told_the_peer() {
    let mut bed = bed(false, true).await;
    let stream = bed.connect(bed.offering(), SECRET).await.unwrap();
    let local = stream.get_ref().0.local_addr().unwrap();
    assert_eq!(echo(stream, b"hello").await, b"hello");
    let before = &bed.seen()[0].before;
    assert_eq!(before[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    assert_eq!(before[24..26], local.port().to_be_bytes());
    assert_eq!(before[26..28], bed.address.port().to_be_bytes());
    assert_eq!(bed.ended().await.client, local);
}

#[tokio::test]
async fn a_client_without_the_header_that_is_expected_is_closed() {
    let mut bed = bed(true, false).await;
    let error = connect_with(&bed, b"").await.unwrap_err();
    assert_eq!(bed.ended().await.end, "no_proxy_header", "{error}");
    // Nobody is told an alert in a protocol that it does not speak.
    let mut tcp = TcpStream::connect(bed.address).await.unwrap();
    tcp.write_all(b"PROXY TCP4 1.2.3.4 ").await.unwrap();
    let mut got = Vec::new();
    let _ = tcp.read_to_end(&mut got).await;
    assert_eq!(got, b"");
    assert_eq!(bed.ended().await.end, "no_proxy_header");
}
