//! What hostile clients can do, and that others are served meanwhile. Prints figures
//! (`--nocapture`).

use std::time::{Duration, Instant};

use echkit::server::EchKeys;
use echkit_proto::tls_record::wrap_handshake;
use echkit_server::route::RouteLimits;
use echkit_test::in_memory::ech_key;
use echkit_test::in_memory::edit::first_flight;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{Bed, SECRET, Setup, echo};

/// A bed with these limits of hellos under way: altogether, and for one address.
async fn bed(hellos: usize, per_address: usize, change: impl FnOnce(&mut RouteLimits)) -> Bed {
    let mut limits = RouteLimits::default();
    limits.hellos = hellos;
    limits.hellos_per_address = per_address;
    change(&mut limits);
    Bed::with(Setup {
        limits,
        accept_proxy: true,
        ..Setup::default()
    })
    .await
}

/// A header that says that this host connected.
fn from(host: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, host, 198, 51, 100, 7, 0x0f, 0xa0, 1, 187]);
    header
}

async fn connect_from(bed: &Bed, host: u8) -> TcpStream {
    let mut tcp = TcpStream::connect(bed.address).await.unwrap();
    tcp.write_all(&from(host)).await.unwrap();
    tcp
}

/// A client that means well, from this host; how long it took.
async fn is_served(bed: &Bed, host: u8) -> Duration {
    let begun = Instant::now();
    let tcp = connect_from(bed, host).await;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(bed.offering()));
    let name = rustls::pki_types::ServerName::try_from(SECRET).unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    assert_eq!(echo(stream, b"good").await, b"good");
    begun.elapsed()
}

/// Waits until the router holds as many connections.
async fn until_open(bed: &Bed, count: u64) {
    while bed.router.counts().open() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn slow_hellos_of_one_address_leave_room_for_others() {
    let mut bed = bed(64, 8, |_| {}).await;
    let hello = first_flight(bed.offering());
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut tcp = connect_from(&bed, 1).await;
        tcp.write_all(&hello[..9]).await.unwrap();
        slow.push(tcp);
    }
    until_open(&bed, 8).await;
    // Of the same address no more are taken: they are closed without a word.
    for _ in 0..20 {
        let mut more = connect_from(&bed, 1).await;
        assert!(matches!(more.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        assert_eq!(bed.ended().await.end, "too_many");
    }
    let took = is_served(&bed, 2).await;
    println!("8 slow hellos held, 20 more refused, another client served in {took:?}");
    assert_eq!(bed.ended().await.end, "closed");
    // A hello that is done frees its place: the first of them goes on.
    slow[0].write_all(&hello[9..]).await.unwrap();
    let mut answer = [0; 5];
    slow[0].read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[0], 22, "a ServerHello");
    slow.push(connect_from(&bed, 1).await);
    until_open(&bed, 9).await;
}

#[tokio::test]
async fn a_flood_that_says_nothing_is_bounded_and_passes() {
    // The total is full: others wait in the queue of the system until the first are given up.
    let limit = Duration::from_millis(700);
    let mut bed = bed(32, 32, |limits| limits.hello_timeout = limit).await;
    let mut flood = Vec::new();
    for n in 0..96_u8 {
        flood.push(connect_from(&bed, n % 3).await);
    }
    let mut most = 0;
    let took = {
        let served = is_served(&bed, 100);
        tokio::pin!(served);
        loop {
            tokio::select! {
                took = &mut served => break took,
                () = tokio::task::yield_now() => most = most.max(bed.router.counts().open()),
            }
        }
    };
    println!("96 silent clients: at most {most} at once, another client served in {took:?}");
    assert!(most <= 32, "{most} at once");
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..97 {
        *ends.entry(bed.ended().await.end).or_insert(0) += 1;
    }
    assert_eq!(ends, [("closed", 1), ("hello_timeout", 96)].into());
}

#[tokio::test]
async fn records_of_one_byte_are_taken_up_to_a_bound() {
    let mut bed = bed(64, 64, |_| {}).await;
    let hello = first_flight(bed.offering());
    // Such a hello is answered, if it is a usual one …
    let tiny = wrap_handshake(&hello[5..], 1);
    let begun = Instant::now();
    let mut tcp = connect_from(&bed, 1).await;
    tcp.write_all(&tiny).await.unwrap();
    let mut answer = [0; 5];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[0], 22);
    println!(
        "a hello in {} records: {:?}",
        hello.len() - 5,
        begun.elapsed()
    );
    drop(tcp);
    bed.ended().await;
    // … and refused once its records take more than twice what a hello may.
    let endless = wrap_handshake(&[&[1, 0, 0xff, 0xf0][..], &[0; 0xfff0]].concat(), 1);
    let mut tcp = connect_from(&bed, 1).await;
    let _ = tcp.write_all(&endless).await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(
        answer.is_empty() || answer == [21, 3, 3, 0, 2, 2, 50],
        "{answer:?}"
    );
    assert_eq!(bed.ended().await.end, "refused");
    is_served(&bed, 2).await;
}

#[tokio::test]
async fn duplicate_config_ids_cost_a_bounded_time() {
    let mut bed = bed(64, 64, |_| {}).await;
    // As many keys with one id as are allowed, none of which opens the offer.
    let keys: Vec<_> = (0..echkit::server::MAX_SAME_ID)
        .map(|_| ech_key(7))
        .collect();
    bed.router.keys().store(EchKeys::new(keys).unwrap());
    let hello = first_flight(bed.offering());
    let begun = Instant::now();
    const HELLOS: u32 = 100;
    for _ in 0..HELLOS {
        let mut tcp = connect_from(&bed, 1).await;
        tcp.write_all(&hello).await.unwrap();
        let mut answer = [0; 5];
        tcp.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[0], 22, "the public server answers");
        drop(tcp);
        assert_eq!(bed.ended().await.backend.as_deref(), Some("public"));
    }
    let each = begun.elapsed() / HELLOS;
    let (_, opened) = bed
        .router
        .counts()
        .hellos()
        .find(|(word, _)| *word == "not_opened")
        .unwrap();
    assert_eq!(opened, u64::from(HELLOS));
    println!(
        "{} keys of one config_id: {each:?} for each hello",
        echkit::server::MAX_SAME_ID
    );
}

#[tokio::test]
async fn hostile_inner_hellos_of_64_kb_are_refused_one_by_one() {
    let mut bed = bed(64, 64, |_| {}).await;
    let hellos = hostile::hellos(&bed.key);
    for (what, hello, alert) in hellos {
        let begun = Instant::now();
        let mut tcp = connect_from(&bed, 1).await;
        tcp.write_all(&wrap_handshake(&hello, 16_384))
            .await
            .unwrap();
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer).await;
        println!("{what}, {} bytes: {:?}", hello.len(), begun.elapsed());
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, alert], "{what}");
        assert_eq!(bed.ended().await.end, "refused", "{what}");
    }
    is_served(&bed, 2).await;
}

#[tokio::test]
async fn connections_are_bounded_for_each_address_and_altogether() {
    let mut bed = bed(64, 64, |limits| {
        limits.connections = 6;
        limits.connections_per_address = 3;
    })
    .await;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(bed.offering()));
    let name = rustls::pki_types::ServerName::try_from(SECRET).unwrap();
    let mut open = Vec::new();
    for host in [1, 1, 1, 2, 2] {
        let tcp = connect_from(&bed, host).await;
        open.push(connector.connect(name.clone(), tcp).await.unwrap());
    }
    let tcp = connect_from(&bed, 1).await;
    assert!(connector.connect(name.clone(), tcp).await.is_err());
    assert_eq!(bed.ended().await.end, "too_many");
    let tcp = connect_from(&bed, 2).await;
    open.push(connector.connect(name.clone(), tcp).await.unwrap());
    // The seventh waits, and is served when another ends.
    let waiting = is_served(&bed, 3);
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "served above the limit");
    drop(open.pop());
    waiting.await;
}

/// ClientHellos whose inner hello is as long and as costly as it can be.
mod hostile {
    use echkit_proto::hello::{ClientHello, EchExtension};
    use echkit_proto::hpke::{Suite, setup_sender};
    use echkit_proto::key::EchKey;

    /// What each is, the hello, and the alert that it gets.
    pub(super) fn hellos(key: &EchKey) -> Vec<(&'static str, Vec<u8>, u8)> {
        let body = |extensions: &[u8]| {
            let mut inner = vec![3, 3];
            inner.extend([7; 32]);
            inner.extend([0, 0, 2, 0x13, 1, 1, 0]);
            inner.extend((extensions.len() as u16).to_be_bytes());
            inner.extend_from_slice(extensions);
            inner
        };
        let many: Vec<u8> = (0..15_000_u16)
            .flat_map(|kind| [&(0x4000 + kind).to_be_bytes()[..], &[0, 0]].concat())
            .collect();
        let references: Vec<u8> = (0..120_u16)
            .flat_map(|n| (0x5000 + n).to_be_bytes())
            .collect();
        let mut outer_list = vec![
            0xfd,
            0,
            0,
            references.len() as u8 + 1,
            references.len() as u8,
        ];
        outer_list.extend(&references);
        let mut padding = body(&[]);
        padding.resize(60_000, 0);
        *padding.last_mut().unwrap() = 1;
        vec![
            ("15,000 extensions", sealed(key, &body(&many), 0), 47),
            (
                "120 references to the end of 1,500 extensions",
                sealed(key, &body(&outer_list), 1_500),
                47,
            ),
            (
                "60,000 bytes of padding, the last one not zero",
                sealed(key, &padding, 0),
                47,
            ),
        ]
    }

    /// An outer hello with `encoded` sealed in it, and so many extensions of its own.
    fn sealed(key: &EchKey, encoded: &[u8], extensions: u16) -> Vec<u8> {
        let contents = key.contents();
        let suite = contents.cipher_suites[0];
        let hpke = Suite {
            kem: contents.kem,
            sym: suite,
        };
        let info = key.config().hpke_info();
        let (enc, mut sender) = setup_sender(hpke, &contents.public_key, &info).unwrap();
        let payload_len = encoded.len() + 16;
        let build = |payload: &[u8]| {
            let mut block = Vec::new();
            for n in 0..extensions {
                block.extend((0x6000 + n).to_be_bytes());
                block.extend([0, 0]);
            }
            let mut ech = vec![0];
            ech.extend(suite.kdf.0.to_be_bytes());
            ech.extend(suite.aead.0.to_be_bytes());
            ech.push(key.config_id());
            ech.extend((enc.len() as u16).to_be_bytes());
            ech.extend(&enc);
            ech.extend((payload.len() as u16).to_be_bytes());
            ech.extend(payload);
            block.extend([0xfe, 0x0d]);
            block.extend((ech.len() as u16).to_be_bytes());
            block.extend(ech);
            let mut hello = vec![3, 3];
            hello.extend([9; 32]);
            hello.extend([0, 0, 2, 0x13, 1, 1, 0]);
            hello.extend((block.len() as u16).to_be_bytes());
            hello.extend(block);
            let len = hello.len() as u32;
            [&[1][..], &len.to_be_bytes()[1..], &hello].concat()
        };
        let empty = build(&vec![0; payload_len]);
        let aad = ClientHello::parse(empty).unwrap().outer_aad().unwrap();
        let sealed = build(&sender.seal(&aad, encoded).unwrap());
        let hello = ClientHello::parse(sealed.clone()).unwrap();
        assert!(matches!(hello.ech(), Ok(Some(EchExtension::Outer(_)))));
        sealed
    }
}
