//! What an eavesdropper sees of an ECH fetch, DNS included: over encrypted resolvers the origin's
//! name is nowhere, in the decrypted Initials of DNS over QUIC and HTTP/3 neither; in the clear it
//! is, and the report says so.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use echkit::dns::{DiscoverEncrypted, Resolver, ResolverOptions};
use echkit::report::{EchStatus, Report};
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, EchMode};
use echkit_testbed::Testbed;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use rustls::{ClientConfig, RootCertStore, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// The label of the case's host that must stay hidden. The resolver's name has another.
const LABEL: &str = "nominal";

/// What went from client to server, in pieces as they came.
type Sent = Arc<Mutex<Vec<Vec<u8>>>>;

async fn tcp_relay(upstream: SocketAddr) -> (u16, Sent) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Sent::default();
    let kept = Arc::clone(&sent);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let server = TcpStream::connect(upstream).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                });
                let mut buffer = vec![0; 65536];
                while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                    kept.lock().unwrap().push(buffer[..length].to_vec());
                    if to_server.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, sent)
}

/// One that keeps clients apart by their ports.
async fn udp_relay(upstream: SocketAddr) -> (u16, Sent) {
    let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let port = front.local_addr().unwrap().port();
    let sent = Sent::default();
    let kept = Arc::clone(&sent);
    tokio::spawn(async move {
        let mut backs = HashMap::new();
        let mut buffer = vec![0; 65536];
        loop {
            let (length, client) = front.recv_from(&mut buffer).await.unwrap();
            kept.lock().unwrap().push(buffer[..length].to_vec());
            let back = match backs.entry(client) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => {
                    let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                    back.connect(upstream).await.unwrap();
                    let back = free.insert(Arc::new(back));
                    tokio::spawn(pass_back(Arc::clone(back), Arc::clone(&front), client));
                    back
                }
            };
            let _ = back.send(&buffer[..length]).await;
        }
    });
    (port, sent)
}

async fn pass_back(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; 65536];
    while let Ok(length) = back.recv(&mut buffer).await {
        let _ = front.send_to(&buffer[..length], client).await;
    }
}

fn port_of(uri: &str) -> u16 {
    let authority = uri.split("://").nth(1).unwrap();
    let authority = authority.split(['#', '/']).next().unwrap();
    authority.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

/// Fetches over the resolver behind a relay; gives the report and what the relay saw.
async fn fetch(testbed: &Testbed, uri: &str, over_udp: bool) -> (Report, Vec<Vec<u8>>) {
    fetch_with(testbed, uri, over_udp, DiscoverEncrypted::Off).await
}

async fn fetch_with(
    testbed: &Testbed,
    uri: &str,
    over_udp: bool,
    discover_encrypted: DiscoverEncrypted,
) -> (Report, Vec<Vec<u8>>) {
    let port = port_of(uri);
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (relay, sent) = match over_udp {
        true => udp_relay(upstream).await,
        false => tcp_relay(upstream).await,
    };
    let uri = uri.replacen(&format!(":{port}"), &format!(":{relay}"), 1);
    let mut roots = RootCertStore::empty();
    roots.add(testbed.ca_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let options = ResolverOptions::default()
        .with_tls(Arc::new(tls))
        .with_discover_encrypted(discover_encrypted);
    let client = Client::builder()
        .ech(EchMode::Require)
        .resolver(Resolver::from_uri(&uri, &options).unwrap())
        .tls(ClientTls::builder().trust(Trust::certificates([testbed.ca_der()]).unwrap()))
        .build()
        .unwrap();
    let mut response = client
        .get(testbed.url(LABEL).unwrap())
        .send()
        .await
        .unwrap();
    response.bytes().await.unwrap();
    let report = response.report();
    assert_eq!(report.ech.status, EchStatus::Accepted);
    let sent = sent.lock().unwrap().clone();
    assert!(!sent.is_empty());
    (report, sent)
}

/// A variable-length integer of QUIC (RFC 9000 §16).
fn varint(bytes: &[u8], at: &mut usize) -> usize {
    let length = 1 << (bytes[*at] >> 6);
    let mut value = usize::from(bytes[*at] & 0x3f);
    for byte in &bytes[*at + 1..*at + length] {
        value = value << 8 | usize::from(*byte);
    }
    *at += length;
    value
}

/// The TLS bytes in a client's Initials, which any observer can decrypt (RFC 9001 §5.2).
fn crypto_in_initials(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let mut keys = None;
    let mut crypto = Vec::new();
    for datagram in datagrams {
        let mut rest = datagram.clone();
        // Long header, type Initial (RFC 9000 §17.2.2).
        while rest.len() > 7 && rest[0] & 0xf0 == 0xc0 {
            let dcid = rest[6..6 + usize::from(rest[5])].to_vec();
            let mut at = 6 + dcid.len();
            at += 1 + usize::from(rest[at]);
            let token = varint(&rest, &mut at);
            at += token;
            let length = varint(&rest, &mut at);
            let next = rest.split_off(at + length);
            // Derived from the first one's, for all of the connection.
            let keys: &Keys = keys.get_or_insert_with(|| {
                Keys::initial(Version::V1, suite, suite.quic.unwrap(), &dcid, Side::Server)
            });
            let (header, payload) = rest.split_at_mut(at);
            let (number, sampled) = payload.split_at_mut(4);
            let protection = &keys.remote.header;
            protection
                .decrypt_in_place(&sampled[..protection.sample_len()], &mut header[0], number)
                .unwrap();
            let number_length = usize::from(header[0] & 3) + 1;
            let number = number[..number_length]
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            let (header, payload) = rest.split_at_mut(at + number_length);
            let frames = keys
                .remote
                .packet
                .decrypt_in_place(number, header, payload)
                .unwrap();
            read_frames(frames, &mut crypto);
            rest = next;
        }
    }
    crypto
}

/// Takes what CRYPTO frames hold; an Initial has few other kinds (RFC 9000 §12.4).
fn read_frames(frames: &[u8], crypto: &mut Vec<u8>) {
    let mut at = 0;
    while at < frames.len() {
        match varint(frames, &mut at) {
            0 | 1 => {}
            2 => {
                varint(frames, &mut at);
                varint(frames, &mut at);
                let ranges = varint(frames, &mut at);
                for _ in 0..2 * ranges + 1 {
                    varint(frames, &mut at);
                }
            }
            6 => {
                let offset = varint(frames, &mut at);
                let length = varint(frames, &mut at);
                let end = crypto.len().max(offset + length);
                crypto.resize(end, 0);
                crypto[offset..offset + length].copy_from_slice(&frames[at..at + length]);
                at += length;
            }
            // CONNECTION_CLOSE ends what can be said.
            _ => return,
        }
    }
}

#[tokio::test]
async fn over_encrypted_resolvers_the_name_is_nowhere() {
    let testbed = Testbed::builder().only([LABEL]).start().await.unwrap();
    for (uri, over_udp) in [
        (testbed.doh_uri(), false),
        (testbed.dot_uri(), false),
        (testbed.doq_uri(), true),
        (testbed.doh3_uri(), true),
    ] {
        let (report, sent) = fetch(&testbed, &uri, over_udp).await;
        assert!(report.dns.unwrap().protected, "{uri}");
        // The resolver's own name is to be seen; that it is shows that the search would find one.
        let shown = match over_udp {
            true => crypto_in_initials(&sent),
            false => sent.concat(),
        };
        assert!(contains(&shown, "dns.ech.test"), "{uri}");
        assert!(!contains(&shown, LABEL), "{uri}");
        assert!(sent.iter().all(|piece| !contains(piece, LABEL)), "{uri}");
    }
    for capture in testbed.captures() {
        assert!(!contains(&capture.bytes, LABEL));
    }
}

#[tokio::test]
async fn a_resolver_in_the_clear_is_asked_for_its_encrypted_form_alone() {
    for (alpn, scheme) in [("dot", "tls"), ("doq", "quic"), ("h2", "https")] {
        let builder = Testbed::builder().only([LABEL]).designate([alpn]);
        let testbed = builder.start().await.unwrap();
        for (uri, over_udp) in [(testbed.dns_uri(), true), (testbed.dns_tcp_uri(), false)] {
            let mode = DiscoverEncrypted::Require;
            let (report, sent) = fetch_with(&testbed, &uri, over_udp, mode).await;
            let dns = report.dns.unwrap();
            assert!(dns.protected, "{dns:?}");
            let used = format!("{scheme}://127.0.0.1:");
            assert!(dns.resolver.starts_with(&used), "{dns:?}");
            let sent = sent.concat();
            assert!(contains(&sent, "\x04_dns\x08resolver\x04arpa"));
            assert!(!contains(&sent, LABEL));
        }
        for capture in testbed.captures() {
            assert!(!contains(&capture.bytes, LABEL));
        }
    }
    // Without any to designate it stays what it is, and is reported so.
    let builder = Testbed::builder().only([LABEL]).designate([""; 0]);
    let testbed = builder.start().await.unwrap();
    let mode = DiscoverEncrypted::Try;
    let (report, sent) = fetch_with(&testbed, &testbed.dns_uri(), true, mode).await;
    let dns = report.dns.unwrap();
    assert!(
        !dns.protected && dns.resolver.starts_with("udp://"),
        "{dns:?}"
    );
    assert!(contains(&sent.concat(), LABEL));
}

#[tokio::test]
async fn in_the_clear_the_name_is_in_dns_and_the_report_says_so() {
    let testbed = Testbed::builder().only([LABEL]).start().await.unwrap();
    for (uri, over_udp) in [(testbed.dns_uri(), true), (testbed.dns_tcp_uri(), false)] {
        let (report, sent) = fetch(&testbed, &uri, over_udp).await;
        assert!(!report.dns.unwrap().protected, "{uri}");
        assert!(sent.iter().any(|piece| contains(piece, LABEL)), "{uri}");
    }
}
