//! How connections end that are not forwarded, or no longer.

use std::time::Duration;

use echkit_server::route::{Backend, ForwardedHello, RouteLimits, RouteTable};
use echkit_test::in_memory::edit::{first_flight, with_ech_body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{Bed, SECRET, Setup, echo};

/// All that a client gets who sends `bytes` and closes its side, or keeps it open.
async fn answer(bed: &Bed, bytes: &[u8], close: bool) -> Vec<u8> {
    let mut tcp = TcpStream::connect(bed.address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    if close {
        tcp.shutdown().await.unwrap();
    }
    let mut got = Vec::new();
    let _ = tcp.read_to_end(&mut got).await;
    got
}

#[tokio::test]
async fn what_is_not_forwarded_gets_its_alert() {
    let mut bed = Bed::new().await;
    let hello = first_flight(bed.offering());
    for (bytes, close, alert, end) in [
        (with_ech_body(&hello, &[1]), false, Some(47), "refused"),
        (with_ech_body(&hello, &[9]), false, Some(47), "refused"),
        (with_ech_body(&hello, &[0, 0]), false, Some(50), "refused"),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            false,
            Some(10),
            "refused",
        ),
        (hello[..100].to_vec(), true, Some(50), "refused"),
        (Vec::new(), true, None, "nothing"),
    ] {
        let got = answer(&bed, &bytes, close).await;
        let expected = alert.map(|alert| vec![21, 3, 3, 0, 2, 2, alert]);
        assert_eq!(got, expected.unwrap_or_default());
        let ended = bed.ended().await;
        assert_eq!((ended.end, ended.backend), (end, None));
    }
    assert_eq!(bed.seen(), []);
}

#[tokio::test]
async fn a_client_that_dawdles_is_given_up() {
    let mut limits = RouteLimits::default();
    limits.hello_timeout = Duration::from_millis(300);
    let mut bed = Bed::with(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let hello = first_flight(bed.offering());
    for bytes in [&hello[..0], &hello[..3], &hello[..200]] {
        let mut tcp = TcpStream::connect(bed.address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        assert_eq!(bed.ended().await.end, "hello_timeout");
        assert!(matches!(tcp.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_backend_that_is_down_is_told_by_an_alert_and_another_address_is_used() {
    let mut bed = Bed::new().await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone_at = gone.local_addr().unwrap().to_string();
    drop(gone);
    let before = bed.router.table();
    let alive = before
        .inner(SECRET)
        .unwrap()
        .addresses()
        .next()
        .unwrap()
        .to_owned();
    let set = |addresses: Vec<String>| {
        let backend = std::sync::Arc::new(Backend::new("moved", addresses).unwrap());
        let mut names = echkit_server::route::NameTable::default();
        names.insert(SECRET, backend.clone()).unwrap();
        bed.router
            .set_table(RouteTable::new(backend).with_inner_names(names));
    };
    set(vec![gone_at.clone()]);
    let error = bed.connect(bed.offering(), SECRET).await.unwrap_err();
    assert!(error.to_string().contains("InternalError"), "{error}");
    set(vec![gone_at, alive]);
    for _ in 0..2 {
        let stream = bed.connect(bed.offering(), SECRET).await.unwrap();
        assert_eq!(echo(stream, b"x").await, b"x");
    }
    assert_eq!(bed.ended().await.end, "no_backend");
    assert_eq!(bed.ended().await.end, "closed");
}

#[tokio::test]
async fn a_new_table_and_new_keys_count_for_connections_that_begin_then() {
    let mut bed = Bed::new().await;
    let open = bed.connect(bed.offering(), SECRET).await.unwrap();
    let table = bed.router.table();
    let public = std::sync::Arc::clone(table.outer(None));
    bed.router.set_table(RouteTable::new(public));
    let error = bed.connect(bed.offering(), SECRET).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert_eq!(bed.ended().await.end, "unknown_name");
    bed.router.keys().store(echkit::server::EchKeys::default());
    // The public server has the key still, and opens the offer by itself.
    let stream = bed.connect(bed.offering(), SECRET).await.unwrap();
    assert_eq!(echo(stream, b"x").await, b"x");
    let ended = bed.ended().await;
    assert_eq!(ended.backend.as_deref(), Some("public"));
    let Some(ForwardedHello::Rejected { reason, .. }) = ended.hello else {
        panic!("{ended:?}");
    };
    assert_eq!(reason, echkit::server::RejectReason::NoKeys);
    // The one that was open is not touched.
    assert_eq!(echo(open, b"still here").await, b"still here");
    assert_eq!(bed.ended().await.end, "closed");
}

#[tokio::test]
async fn a_server_that_ends_takes_nobody_new_and_finishes_what_is_open() {
    let mut bed = Bed::new().await;
    let open = bed.connect(bed.offering(), SECRET).await.unwrap();
    bed.drain.begin();
    // The listener is closed once the accepting task has seen it.
    while TcpStream::connect(bed.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(echo(open, b"last words").await, b"last words");
    assert_eq!(bed.ended().await.end, "closed");
    assert_eq!(bed.drain.finish(Duration::from_secs(60)).await, 0);
}

#[tokio::test]
async fn connections_that_outlast_the_drain_are_cut() {
    let bed = Bed::new().await;
    let mut open = bed.connect(bed.offering(), SECRET).await.unwrap();
    assert_eq!(bed.drain.finish(Duration::from_millis(100)).await, 1);
    assert!(matches!(open.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}
