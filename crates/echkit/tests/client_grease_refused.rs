//! Servers and middleboxes that do not bear a GREASE hello get one more connection without it; a
//! real offer never does.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use echkit::policy::Timeouts;
use echkit::report::{EchStatus, Report};
use echkit::{Client, EchMode, Error};
use echkit_proto::hello::ClientHello;
use echkit_proto::tls_record::whole_records;
use echkit_test::clock::PacedClock;
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, Relay, answer, ech_key, list};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a hello with an `encrypted_client_hello` extension.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Reset,
    Close,
    Silence,
    Alert(u8),
}

const DECODE_ERROR: u8 = 50;
const ILLEGAL_PARAMETER: u8 = 47;
const INTERNAL_ERROR: u8 = 80;
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;
const ACCESS_DENIED: u8 = 49;

/// Waits for a whole hello, and leaves it where it is.
async fn peek_hello(tcp: &TcpStream) -> ClientHello {
    let mut buffer = vec![0; 1 << 14];
    loop {
        let len = tcp.peek(&mut buffer).await.unwrap();
        if let Some(record) = whole_records(&buffer[..len]).next() {
            return ClientHello::parse(record.content()).unwrap();
        }
        tokio::task::yield_now().await;
    }
}

async fn serve(pki: &Pki, fault: Fault) -> SocketAddr {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(pki.server(&[HIDDEN, PUBLIC])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let hello = peek_hello(&tcp).await;
                if hello.ech().unwrap().is_none() {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        answer(stream).await;
                    }
                    return;
                }
                let mut read = vec![0; 5 + hello.bytes().len()];
                match fault {
                    // What is unread turns the end into a reset.
                    Fault::Reset => {}
                    Fault::Close => {
                        tcp.read_exact(&mut read).await.unwrap();
                    }
                    Fault::Silence => {
                        let _ = tcp.read_to_end(&mut read).await;
                    }
                    Fault::Alert(code) => {
                        tcp.read_exact(&mut read).await.unwrap();
                        let alert = [21, 3, 3, 0, 2, 2, code];
                        tcp.write_all(&alert).await.unwrap();
                        let _ = tcp.read_to_end(&mut read).await;
                    }
                }
            });
        }
    });
    address
}

fn client(pki: &Pki, address: SocketAddr, mode: EchMode) -> echkit::http::ClientBuilder {
    Client::builder()
        .tls(pki.tls())
        .ech(mode)
        .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
}

async fn fetch(client: &Client) -> Result<Report, Error> {
    let mut response = client.get(&format!("https://{HIDDEN}/")).send().await?;
    assert_eq!(response.bytes().await?, "hello");
    Ok(response.report())
}

const FAULTS: [Fault; 8] = [
    Fault::Reset,
    Fault::Close,
    Fault::Silence,
    Fault::Alert(DECODE_ERROR),
    Fault::Alert(ILLEGAL_PARAMETER),
    Fault::Alert(INTERNAL_ERROR),
    Fault::Alert(HANDSHAKE_FAILURE),
    Fault::Alert(PROTOCOL_VERSION),
];

#[tokio::test]
async fn a_server_that_does_not_bear_grease_gets_one_hello_without_it() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    for fault in FAULTS {
        let address = serve(&pki, fault).await;
        let client = client(&pki, address, EchMode::Prefer).build().unwrap();
        let report = fetch(&client).await.unwrap();
        assert_eq!(report.ech.status, EchStatus::NotOffered, "{fault:?}");
        assert_eq!(report.attempts.len(), 2, "{fault:?}");
        let [warning] = &report.ech.warnings[..] else {
            panic!("{fault:?}: {:?}", report.ech.warnings);
        };
        assert!(warning.contains("GREASE"), "{warning}");
        assert!(warning.contains("without"), "{warning}");
    }
}

#[tokio::test]
async fn an_alert_that_is_not_about_the_hellos_form_is_final() {
    let pki = Pki::new();
    let address = serve(&pki, Fault::Alert(ACCESS_DENIED)).await;
    let client = client(&pki, address, EchMode::Prefer).build().unwrap();
    let error = fetch(&client).await.unwrap_err();
    assert_eq!(error.report().unwrap().attempts.len(), 1);
}

#[tokio::test]
async fn a_real_offer_is_never_followed_by_a_hello_without_it() {
    let _clock = PacedClock::new();
    let pki = Pki::new();
    for mode in [EchMode::Prefer, EchMode::Require] {
        for fault in FAULTS {
            let relay = Relay::to(serve(&pki, fault).await).await;
            let mut timeouts = Timeouts::default();
            timeouts.handshake = Some(Duration::from_millis(300));
            let client = client(&pki, relay.address, mode)
                .ech_config(list(&ech_key()))
                .timeouts(timeouts)
                .build()
                .unwrap();
            let error = fetch(&client).await.unwrap_err();
            let report = error.report().unwrap();
            assert_eq!(report.ech.status, EchStatus::Failed, "{fault:?}: {error}");
            assert_eq!(report.attempts.len(), 1, "{fault:?}");
            assert_eq!(relay.captured().len(), 1, "{fault:?}");
            relay.assert_hidden(HIDDEN);
        }
    }
}
