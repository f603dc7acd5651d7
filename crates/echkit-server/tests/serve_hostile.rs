//! Hostile clients of the HTTPS server: the limits that docs/serve.md states hold, and others are
//! served meanwhile. Prints what was tried and what it came to.
#![allow(clippy::unwrap_used)]

mod serve_bed;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use echkit::wire::WireRecorder;
use echkit_proto::config::EchConfig;
use echkit_proto::hpke::{Suite, setup_sender};
use hyper::StatusCode;
use serve_bed::{Bed, PATIENCE, PUBLIC, SECRET, start};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A connection from another address of this machine.
async fn from(address: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(server).await.unwrap()
}

/// Reads until the other side is gone; how much came.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    rest.len()
}

async fn served(bed: &Bed, address: SocketAddr) {
    let client = bed.client(address).build().unwrap();
    let got = client.get(&format!("https://{SECRET}/")).send();
    let got = tokio::time::timeout(PATIENCE, got).await.unwrap().unwrap();
    assert_eq!(got.status(), StatusCode::OK);
}

/// Tries until a connection has made room.
async fn served_again(bed: &Bed, address: SocketAddr) {
    let wait = async {
        loop {
            let client = bed.client(address).build().unwrap();
            let got = client.get(&format!("https://{SECRET}/")).send().await;
            if got.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn an_address_that_opens_connections_and_says_little_holds_its_share_alone() {
    let bed = Bed::new();
    let mut config = bed.config();
    config.limits.handshakes = 100;
    config.limits.handshakes_per_address = 10;
    // Longer than the test: nothing ends by time.
    config.limits.handshake_time = Duration::from_secs(3600);
    let server = start(config).await;
    let mut open = Vec::new();
    for n in 0..200_u32 {
        let mut stream = from([127, 0, 0, 2], server.address).await;
        // Half of them say nothing at all, half begin a hello.
        if n % 2 == 0 {
            let _ = stream.write_all(&[22]).await;
        }
        open.push(stream);
    }
    served(&bed, server.address).await;
    // All beyond the share are closed; those within wait.
    let mut held = 0;
    for stream in &mut open {
        let mut byte = [0];
        let wait = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut byte)).await;
        held += usize::from(wait.is_err());
    }
    println!("200 half-open connections of one address: {held} held, others served");
    assert!((1..=10).contains(&held), "{held}");
}

#[tokio::test]
async fn a_flood_of_many_addresses_delays_others_by_no_more_than_its_handshakes_may_take() {
    let bed = Bed::new();
    let mut config = bed.config();
    config.limits.handshakes = 20;
    config.limits.handshakes_per_address = 5;
    config.limits.handshake_time = Duration::from_millis(300);
    let server = start(config).await;
    let mut open = Vec::new();
    for n in 0..40 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 10 + n / 2], 0).into()).unwrap();
        // In the queue of the system until there is room.
        open.push(socket.connect(server.address).await.unwrap());
    }
    let begun = Instant::now();
    served(&bed, server.address).await;
    println!(
        "40 silent connections of 20 addresses, room for 20: served after {:?}",
        begun.elapsed()
    );
    for stream in &mut open {
        closed(stream).await;
    }
}

#[tokio::test]
async fn connections_of_one_address_have_a_bound() {
    let bed = Bed::new();
    let mut config = bed.config();
    config.limits.connections_per_address = 5;
    let server = start(config).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(bed.stream(server.address, SECRET, b"http/1.1").await);
    }
    let mut more = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(closed(&mut more).await, 0);
    // Another address is served, and this one again once a connection has ended.
    let mut other = from([127, 0, 0, 3], server.address).await;
    other.write_all(b"not TLS at all\r\n").await.unwrap();
    assert!(closed(&mut other).await > 0, "an alert");
    drop(held.pop());
    served_again(&bed, server.address).await;
}

#[tokio::test]
async fn a_hello_in_records_of_one_byte_is_answered() {
    let bed = Bed::new();
    let server = start(bed.config()).await;
    let recorder = WireRecorder::default();
    let client = bed
        .client(server.address)
        .record(recorder.clone())
        .build()
        .unwrap();
    client
        .get(&format!("https://{SECRET}/"))
        .send()
        .await
        .unwrap();
    let sent = recorder.connections()[0].sent();
    let len = usize::from(u16::from_be_bytes([sent[3], sent[4]]));
    let hello = &sent[5..5 + len];
    let mut records = Vec::new();
    for byte in hello {
        records.extend_from_slice(&[22, 3, 1, 0, 1, *byte]);
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    for record in records.chunks(6) {
        stream.write_all(record).await.unwrap();
    }
    let mut first = [0; 6];
    stream.read_exact(&mut first).await.unwrap();
    println!(
        "a hello in {} records of one byte: answered after {:?}",
        hello.len(),
        begun.elapsed()
    );
    // A record of handshake with a ServerHello: it was opened.
    assert_eq!((first[0], first[5]), (22, 2));
}

#[tokio::test]
async fn hostile_inner_hellos_of_64_kb_cost_little_and_others_are_served() {
    let bed = Bed::new();
    let server = start(bed.config()).await;
    let list = bed.list();
    let config = &list.configs()[0];
    let inners: [(&str, Vec<u8>); 4] = [
        ("13,000 extensions", inner_hello(&many_extensions(13_000))),
        (
            "an outer reference to each of 127 extensions",
            inner_hello(&outer_reference()),
        ),
        (
            "the same extension 13,000 times",
            inner_hello(&[0xaa, 0xaa, 0, 0].repeat(13_000)),
        ),
        ("zeros", vec![0; 55_000]),
    ];
    for (what, inner) in inners {
        let hello = outer_hello(config, &inner);
        let begun = Instant::now();
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(&hello).await.unwrap();
            streams.push(stream);
        }
        served(&bed, server.address).await;
        for stream in &mut streams {
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!((answer[0], answer[5]), (21, 2), "{what}: a fatal alert");
        }
        println!(
            "20 hellos of {} bytes with {what}: refused, others served, in {:?}",
            hello.len(),
            begun.elapsed()
        );
    }
}

fn many_extensions(count: u16) -> Vec<u8> {
    (0x1000..0x1000 + count)
        .flat_map(|kind| [kind.to_be_bytes(), [0, 0]].concat())
        .collect()
}

/// ech_outer_extensions with 127 types that the outer hello has not.
fn outer_reference() -> Vec<u8> {
    let types: Vec<u8> = (0x2000..0x207f_u16).flat_map(u16::to_be_bytes).collect();
    let len = u16::try_from(types.len() + 1).unwrap().to_be_bytes();
    [&[0xfd, 0x00][..], &len, &[types.len() as u8], &types].concat()
}

/// An EncodedClientHelloInner with these extensions, after the marker of an inner hello.
fn inner_hello(extensions: &[u8]) -> Vec<u8> {
    let extensions = [&[0xfe, 0x0d, 0, 1, 1][..], extensions].concat();
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    body
}

/// A record sequence with an outer hello whose offer opens to `inner`.
fn outer_hello(config: &EchConfig, inner: &[u8]) -> Vec<u8> {
    let contents = config.contents().unwrap();
    let info = config.hpke_info();
    let (enc, mut sender) = setup_sender(Suite::MANDATORY, &contents.public_key, &info).unwrap();
    let with_payload = |payload: &[u8]| {
        let mut ech = vec![0, 0, 1, 0, 1, contents.config_id];
        ech.extend_from_slice(&u16::try_from(enc.len()).unwrap().to_be_bytes());
        ech.extend_from_slice(&enc);
        ech.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        ech.extend_from_slice(payload);
        let name = PUBLIC.as_bytes();
        let len = u16::try_from(name.len()).unwrap();
        let mut sni = (len + 3).to_be_bytes().to_vec();
        sni.push(0);
        sni.extend_from_slice(&len.to_be_bytes());
        sni.extend_from_slice(name);
        let mut extensions = Vec::new();
        for (kind, body) in [(0_u16, &sni), (43, &vec![2, 3, 4]), (0xfe0d, &ech)] {
            extensions.extend_from_slice(&kind.to_be_bytes());
            extensions.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
            extensions.extend_from_slice(body);
        }
        let mut hello = vec![3, 3];
        hello.extend_from_slice(&[9; 32]);
        hello.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
        hello.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
        hello.extend_from_slice(&extensions);
        hello
    };
    let aad = with_payload(&vec![0; inner.len() + 16]);
    let sealed = sender.seal(&aad, inner).unwrap();
    let body = with_payload(&sealed);
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1, len[1], len[2], len[3]][..], &body].concat();
    let record = |part: &[u8]| {
        let len = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, len[0], len[1]][..], part].concat()
    };
    message.chunks(16_384).flat_map(record).collect()
}

#[tokio::test]
async fn a_head_that_drips_is_ended_by_time_and_an_idle_connection_too() {
    let bed = Bed::new();
    let mut config = bed.config();
    config.limits.head_time = Duration::from_millis(200);
    config.limits.idle_time = Duration::from_millis(2000);
    let server = start(config).await;
    let begun = Instant::now();
    let mut drip = bed.stream(server.address, SECRET, b"http/1.1").await;
    let mut sent = 0;
    // A byte now and then, which keeps no time-out of idle connections from passing.
    let end = async {
        let head = format!("GET / HTTP/1.1\r\nHost: {SECRET}\r\nX: ");
        drip.write_all(head.as_bytes()).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if drip.write_all(b"x").await.is_err() || drip.flush().await.is_err() {
                break;
            }
            sent += 1;
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
    println!(
        "a head that drips: ended after {:?} and {sent} bytes",
        begun.elapsed()
    );
    // An idle one lives longer than a head may take, and not for ever; over both versions.
    for alpn in [&b"http/1.1"[..], b"h2"] {
        // Before the server's clock begins.
        let begun = Instant::now();
        let mut idle = bed.stream(server.address, SECRET, alpn).await;
        closed(&mut idle).await;
        let lived = begun.elapsed();
        assert!(lived >= Duration::from_millis(2000), "{lived:?}");
        println!("an idle connection: ended after {lived:?}");
    }
    // Over HTTP/2 frames alone keep no connection.
    let begun = Instant::now();
    let mut drip = bed.stream(server.address, SECRET, b"h2").await;
    drip.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    drip.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    drip.write_all(&frame(1, 0, 1, &[0; 10_000])[..12])
        .await
        .unwrap();
    let (mut read, mut write) = tokio::io::split(drip);
    let send = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if write.write_all(&[0]).await.is_err() || write.flush().await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = send => {}
        _ = closed(&mut read) => {}
    }
    println!(
        "a head that drips over HTTP/2: ended after {:?}",
        begun.elapsed()
    );
    served(&bed, server.address).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_response_is_ended() {
    let bed = Bed::new();
    bed.write(&format!("{SECRET}/large"), &vec![b'x'; 64 << 20]);
    let mut config = bed.config();
    config.limits.idle_time = Duration::from_millis(500);
    config.limits.connections_per_address = 1;
    let server = start(config).await;
    let mut stuck = bed.stream(server.address, SECRET, b"http/1.1").await;
    let request = format!("GET /large HTTP/1.1\r\nHost: {SECRET}\r\n\r\n");
    stuck.write_all(request.as_bytes()).await.unwrap();
    stuck.read_exact(&mut [0; 100]).await.unwrap();
    // It holds the only connection of this address until it is ended.
    served_again(&bed, server.address).await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A request for `/` in HPACK, without indexing.
fn request_head() -> Vec<u8> {
    let mut head = vec![0x82, 0x87, 0x84, 0x01, u8::try_from(SECRET.len()).unwrap()];
    head.extend_from_slice(SECRET.as_bytes());
    head
}

/// Sends frames until the server has enough; how many bytes it took.
async fn flood(
    bed: &Bed,
    server: SocketAddr,
    most: usize,
    mut next: impl FnMut(u32) -> Vec<u8>,
) -> usize {
    let mut stream = bed.stream(server, SECRET, b"h2").await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let mut sent = 0;
    let send = async {
        for n in 0.. {
            let bytes = next(n);
            sent += bytes.len();
            if sent > most || write.write_all(&bytes).await.is_err() || write.flush().await.is_err()
            {
                break;
            }
        }
    };
    // Its answers are taken, so that nothing waits for them.
    tokio::select! {
        () = send => {}
        _ = closed(&mut read) => {}
    }
    sent
}

#[tokio::test]
async fn floods_over_http_2_are_ended() {
    const MOST: usize = 16 << 20;
    let bed = Bed::new();
    let server = start(bed.config()).await;
    let begins = frame(1, 0, 1, &request_head());
    // A head without an end: fields that are new each time.
    let continued = flood(&bed, server.address, MOST, |n| match n {
        0 => begins.clone(),
        n => {
            let mut field = vec![0x00, 8];
            field.extend_from_slice(format!("x{n:07}").as_bytes());
            field.push(100);
            field.extend_from_slice(&[b'y'; 100]);
            frame(9, 0, 1, &field)
        }
    })
    .await;
    assert!(continued < MOST);
    println!("CONTINUATION: ended after {continued} bytes");
    let empty = flood(&bed, server.address, MOST, |n| match n {
        0 => begins.clone(),
        _ => frame(9, 0, 1, &[]),
    })
    .await;
    assert!(empty < MOST);
    println!("empty CONTINUATION: ended after {empty} bytes");
    // These are requests, each soon over; what matters is that others are served meanwhile.
    let resets = flood(&bed, server.address, 1 << 20, |n| {
        let stream = 2 * n + 1;
        [
            frame(1, 5, stream, &request_head()),
            frame(3, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    });
    let others = async {
        for _ in 0..5 {
            served(&bed, server.address).await;
        }
    };
    let (resets, ()) = tokio::join!(resets, others);
    println!("streams begun and reset: {resets} bytes taken, others served");
    served(&bed, server.address).await;
}
