//! The listener: clients that stall, bounds, and handlers that know what became of ECH.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Router, routing};
use echkit::http::ClientBuilder;
use echkit::server::{
    AcceptError, Acceptor, ConnectionInfo, EchKeyHandle, EchKeys, EchOutcome, Listener,
};
use echkit::{Client, EchMode};
use echkit_proto::config::EchConfigList;
use echkit_test::lab::{self, HIDDEN, PUBLIC, Pki, ech_key, list};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A listener that waits for an hour for each client.
async fn patient(pki: &Pki, alpn: &[u8]) -> (Listener, SocketAddr, EchConfigList) {
    let key = ech_key();
    let config = list(&key);
    let provider = (*echkit::server::provider()).clone();
    let mut tls = pki.server_with(&[HIDDEN, PUBLIC], provider, rustls::ALL_VERSIONS);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let keys = EchKeyHandle::new(EchKeys::new(vec![key]).unwrap());
    let acceptor = Acceptor::new(Arc::new(tls), keys).unwrap();
    let acceptor = acceptor.with_timeout(Duration::from_secs(3600));
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    (Listener::new(tcp, acceptor), address, config)
}

fn builder(pki: &Pki, address: SocketAddr) -> ClientBuilder {
    Client::builder()
        .tls(pki.tls())
        .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
}

#[tokio::test]
async fn a_client_that_stalls_holds_nobody_up() {
    let pki = Pki::new();
    let (mut listener, address, _) = patient(&pki, b"http/1.1").await;
    // Silent from the start, and in the middle of a record.
    let mut stalled = Vec::new();
    for part in [&b""[..], &[22, 3, 1, 2, 0, 1, 0]] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(part).await.unwrap();
        stalled.push(tcp);
    }
    tokio::spawn(async move {
        loop {
            let (accepted, _) = listener.accept().await;
            tokio::spawn(lab::answer(accepted));
        }
    });
    let client = builder(&pki, address).build().unwrap();
    for _ in 0..3 {
        let mut response = client
            .get(&format!("https://{HIDDEN}/"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.bytes().await.unwrap(), "hello");
    }
    // They are still waited for.
    for mut tcp in stalled {
        assert_eq!(
            tcp.try_read(&mut [0]).unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock
        );
        tcp.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn handshakes_at_the_same_time_are_bounded_and_failures_are_told() {
    const BOUND: usize = 2;
    const CLIENTS: usize = 5;
    let pki = Pki::new();
    let (listener, address, _) = patient(&pki, b"http/1.1").await;
    let failed = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&failed);
    let mut listener = listener
        .with_max_handshakes(BOUND)
        .on_failure(move |address, error| {
            assert!(address.ip().is_loopback());
            assert!(matches!(
                error,
                AcceptError::Io(_) | AcceptError::Handshake(_)
            ));
            told.fetch_add(1, Ordering::SeqCst);
        });
    let mut clients = VecDeque::new();
    for _ in 0..CLIENTS {
        clients.push_back(TcpStream::connect(address).await.unwrap());
    }
    let mut most = 0;
    // Each that leaves makes room for the next, until the last.
    while let Some(client) = clients.pop_front() {
        let waiting = BOUND.min(clients.len() + 1);
        let gone = CLIENTS - clients.len() - 1;
        until(&mut listener, &mut most, |listener| {
            listener.handshakes() == waiting && failed.load(Ordering::SeqCst) == gone
        })
        .await;
        drop(client);
        until(&mut listener, &mut most, |_| {
            failed.load(Ordering::SeqCst) == gone + 1
        })
        .await;
    }
    assert_eq!(most, BOUND);
}

/// Lets the listener work until `reached`; no client finishes its handshake.
async fn until(listener: &mut Listener, most: &mut usize, reached: impl Fn(&Listener) -> bool) {
    while !reached(listener) {
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("no client finishes its handshake"),
            () = tokio::task::yield_now() => {}
        }
        *most = (*most).max(listener.handshakes());
    }
}

#[tokio::test]
async fn dropping_the_listener_ends_its_handshakes() {
    let pki = Pki::new();
    let (mut listener, address, _) = patient(&pki, b"http/1.1").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    until(&mut listener, &mut 0, |listener| listener.handshakes() == 1).await;
    drop(listener);
    assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
}

async fn page(ConnectInfo(info): ConnectInfo<ConnectionInfo>) -> String {
    assert!(info.address.ip().is_loopback());
    match info.ech {
        EchOutcome::Accepted {
            inner_sni,
            outer_sni,
            ..
        } => {
            format!("{} behind {}", inner_sni.unwrap(), outer_sni.unwrap())
        }
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn axums_handlers_know_what_became_of_ech() {
    let pki = Pki::new();
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let (listener, address, config) = patient(&pki, alpn).await;
        let site = Router::new().route("/", routing::get(page));
        let site = site.into_make_service_with_connect_info::<ConnectionInfo>();
        tokio::spawn(axum::serve(listener, site).into_future());
        let url = format!("https://{HIDDEN}/");
        let hidden = builder(&pki, address)
            .ech(EchMode::Require)
            .ech_config(config);
        let open = builder(&pki, address).ech(EchMode::Off);
        for (client, said) in [
            (hidden, format!("{HIDDEN} behind {PUBLIC}")),
            (open, "NotOffered".to_owned()),
        ] {
            let mut response = client.build().unwrap().get(&url).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), said);
        }
    }
}
