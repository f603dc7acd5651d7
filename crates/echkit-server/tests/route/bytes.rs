//! What passes after the hello: all of it, both ways, and ends one by one.

use std::time::Duration;

use echkit_server::route::{Backend, RouteLimits, RouteTable, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{Bed, SECRET, Setup, data, echo};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_data_passes_unchanged_both_ways_at_the_same_time() {
    let mut bed = Bed::new().await;
    let data = data(24 << 20);
    let streams = [
        bed.connect(bed.offering(), SECRET).await.unwrap(),
        bed.connect(bed.offering(), SECRET).await.unwrap(),
    ];
    let [a, b] = streams.map(|stream| echo(stream, &data));
    let (a, b) = tokio::join!(a, b);
    assert!(a == data && b == data, "bytes were changed");
    for _ in 0..2 {
        let ended = bed.ended().await;
        assert_eq!(ended.end, "closed");
        assert!(ended.to_server > 24 << 20 && ended.to_client > 24 << 20);
    }
}

/// A router before a server without TLS, after a plain hello.
async fn raw(limits: RouteLimits) -> (TcpStream, TcpStream, Router) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = Backend::new("raw", [server.local_addr().unwrap().to_string()]).unwrap();
    let table = RouteTable::new(std::sync::Arc::new(backend));
    let keys = echkit::server::EchKeys::default();
    let router = Router::new(table, echkit::server::EchKeyHandle::new(keys)).with_limits(limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = router.clone();
    tokio::spawn(async move { serving.serve(listener, echkit_server::Drain::new()).await });
    let hello =
        echkit_test::in_memory::edit::first_flight(echkit_test::in_memory::Pki::new().client(None));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&hello).await.unwrap();
    let (mut server, _) = server.accept().await.unwrap();
    let mut got = vec![0; hello.len()];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(got, hello);
    // What is no ServerHello ends the router's part too.
    server.write_all(&[21, 3, 3, 0, 2, 1, 0]).await.unwrap();
    client.read_exact(&mut [0; 7]).await.unwrap();
    (client, server, router)
}

#[tokio::test]
async fn each_side_closes_on_its_own() {
    let (mut client, mut server, _router) = raw(RouteLimits::default()).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"question");
    // The other direction is open still.
    server.write_all(&data(200_000)).await.unwrap();
    server.shutdown().await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert!(got == data(200_000));
}

#[tokio::test]
async fn what_a_server_says_before_it_goes_arrives_while_the_client_sends() {
    let (mut client, mut server, _router) = raw(RouteLimits::default()).await;
    server.write_all(b"enough").await.unwrap();
    drop(server);
    let upload = data(8 << 20);
    // It ends when the router takes no more.
    let (mut reads, mut writes) = client.split();
    let sending = async {
        let _ = writes.write_all(&upload).await;
    };
    let mut got = Vec::new();
    let reading = async {
        let _ = reads.read_to_end(&mut got).await;
    };
    tokio::join!(sending, reading);
    assert_eq!(got, b"enough");
}

#[tokio::test]
async fn a_reset_ends_both_sides() {
    let (client, mut server, router) = raw(RouteLimits::default()).await;
    // With nothing that waits to be sent, closing resets.
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(matches!(server.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    while router.counts().open() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_passes_is_closed() {
    let mut limits = RouteLimits::default();
    limits.idle_timeout = Duration::from_millis(300);
    let mut bed = Bed::with(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let mut stream = bed.connect(bed.offering(), SECRET).await.unwrap();
    assert_eq!(bed.ended().await.end, "idle");
    let read = stream.read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}
