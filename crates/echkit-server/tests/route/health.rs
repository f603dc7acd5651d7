//! Health checks of backends.

use std::sync::Arc;
use std::time::Duration;

use echkit_server::route::{Backend, HealthChecks};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// As often as checks are made here, and as long as one may take.
const EVERY: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_address_that_goes_down_is_told_and_one_that_comes_back() {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let (a, b) = (listen().await.unwrap(), listen().await.unwrap());
    let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let backend = Backend::new("app", [at_a, at_b].map(|at| at.to_string())).unwrap();
    let backend = Arc::new(backend);
    let (tell, mut told) = mpsc::unbounded_channel();
    let checks = HealthChecks::start(vec![Arc::clone(&backend)], EVERY, LIMIT, move |change| {
        let _ = tell.send(change);
    });
    // The first check of each finds it up, which is no news.
    a.accept().await.unwrap();
    drop(a);
    let change = told.recv().await.unwrap();
    assert_eq!(change.backend, "app");
    assert_eq!(change.address, at_a.to_string());
    assert!(change.failure.is_some());
    assert_eq!(backend.health().collect::<Vec<_>>(), [false, true]);
    let again = TcpListener::bind(at_a).await.unwrap();
    let change = told.recv().await.unwrap();
    assert_eq!((change.address, change.failure), (at_a.to_string(), None));
    assert!(backend.health().all(|up| up));
    // Nothing is checked any more once it is dropped.
    drop(checks);
    assert!(told.recv().await.is_none());
    drop((again, b));
}

#[tokio::test]
async fn a_backend_with_proxy_headers_gets_one_of_type_local() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let backend = Backend::new("app", [at]).unwrap().with_proxy_header(true);
    let _checks = HealthChecks::start(vec![Arc::new(backend)], EVERY, LIMIT, |_| {});
    let (mut tcp, _) = listener.accept().await.unwrap();
    let mut got = Vec::new();
    tcp.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
}
