//! Ten thousand names at once, asked of resolvers that lose, shuffle, truncate and make things up:
//! every question ends, answered or failed, within bounded sockets and memory.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echkit::discover::discover;
use echkit::dns::{QueryError, RecordType, Resolver, ResolverOptions};
use echkit::origin::Origin;
use echkit_proto::codec::Reader;
use echkit_proto::svcb::DomainName;
use echkit_test::clock::PacedClock;
use echkit_test::dns::{self, TTL, https};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

const NAMES: usize = 10_000;
/// As many as a resolver says that it opens.
const MAX_SOCKETS: usize = 256;
/// Answers wait for each other for this long, and leave in another order.
const SHUFFLE: Duration = Duration::from_millis(4);

/// Held by each test, since the process's sockets and memory are counted.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Lost,
    Truncated,
    AmidGarbage,
}

/// The same for the same number and try in each run: what splitmix64 makes of the two.
fn fate(number: usize, attempt: usize) -> Fate {
    let mut z = ((number << 8 | attempt) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    match (z ^ (z >> 31)) % 20 {
        0..4 => Fate::Lost,
        4..6 => Fate::Truncated,
        6..8 => Fate::AmidGarbage,
        _ => Fate::Answered,
    }
}

fn name(number: usize) -> DomainName {
    format!("n{number}.test").parse().unwrap()
}

fn address(number: usize) -> Vec<u8> {
    let [.., a, b, c] = number.to_be_bytes();
    vec![10, a, b, c]
}

/// The number in the name of a query, and the answer.
fn answer(query: &[u8], truncated: bool) -> (usize, u16, Vec<u8>) {
    let mut reader = Reader::starting_at(query, 12);
    let name = DomainName::read(&mut reader).unwrap();
    let kind = reader.u16().unwrap();
    let end = reader.position() + 2;
    let label = std::str::from_utf8(name.labels().next().unwrap()).unwrap();
    let number = label[1..].parse().unwrap();
    let rdata = match RecordType(kind) {
        RecordType::A => Some(address(number)),
        RecordType::HTTPS => Some(https("1 . alpn=h2")),
        _ => None,
    };
    let rdata = rdata.filter(|_| !truncated);
    let mut out = query[..2].to_vec();
    out.extend(if truncated {
        [0x83, 0x80]
    } else {
        [0x81, 0x80]
    });
    out.extend([0, 1, 0, u8::from(rdata.is_some()), 0, 0, 0, 0]);
    out.extend(&query[12..end]);
    if let Some(rdata) = rdata {
        out.extend(b"\xc0\x0c");
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(TTL.to_be_bytes());
        out.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
        out.extend(rdata);
    }
    (number, kind, out)
}

/// How often each question came.
type Tries = Arc<Mutex<HashMap<(usize, u16), usize>>>;

/// A resolver over UDP and TCP that does all of it.
async fn unruly() -> (SocketAddr, Tries) {
    let tries = Tries::default();
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (Arc::new(udp), tcp);
        }
    };
    let server = udp.local_addr().unwrap();
    let (later, mut due) = mpsc::unbounded_channel::<(Vec<u8>, SocketAddr)>();
    let (socket, counted) = (Arc::clone(&udp), Arc::clone(&tries));
    tokio::spawn(async move {
        let mut buffer = vec![0; 65535];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let query = &buffer[..length];
            let (number, kind, whole) = answer(query, false);
            let attempt = {
                let mut tries = counted.lock().unwrap();
                let count = tries.entry((number, kind)).or_default();
                *count += 1;
                *count
            };
            match fate(number, attempt) {
                Fate::Lost => continue,
                Fate::Truncated => later.send((answer(query, true).2, peer)).unwrap(),
                Fate::AmidGarbage => {
                    let mut forged = whole.clone();
                    forged[0] ^= 0x55;
                    let mut other = answer(query, false).2;
                    other[14] ^= 1;
                    for garbage in [vec![0xa5; 300], Vec::new(), forged, other, whole] {
                        later.send((garbage, peer)).unwrap();
                    }
                }
                Fate::Answered => later.send((whole, peer)).unwrap(),
            }
        }
    });
    tokio::spawn(async move {
        let mut rng = StdRng::seed_from_u64(7);
        let mut held = Vec::new();
        while due.recv_many(&mut held, 1024).await > 0 {
            tokio::time::sleep(SHUFFLE).await;
            while let Ok(more) = due.try_recv() {
                held.push(more);
            }
            held.shuffle(&mut rng);
            for (message, peer) in held.drain(..) {
                // The asker may be gone.
                let _ = udp.send_to(&message, peer).await;
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut query = vec![0; usize::from(length)];
                    stream.read_exact(&mut query).await.unwrap();
                    let message = answer(&query, false).2;
                    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
                    if stream
                        .write_all(&[&length[..], &message].concat())
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (server, tries)
}

/// The most file descriptors that were open at a time, and resident memory in KiB, while running.
struct Watch {
    ended: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, usize)>,
}

impl Watch {
    fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut most = (0, 0);
            while !flag.load(Ordering::Relaxed) {
                most = (most.0.max(descriptors()), most.1.max(resident()));
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        Self { ended, thread }
    }

    fn end(self) -> (usize, usize) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// 0 where the system does not say.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Asks for every name at once; gives the numbers without answer, and why.
async fn ask_all(resolver: &Resolver) -> Vec<(usize, QueryError)> {
    let mut running = tokio::task::JoinSet::new();
    for number in 0..NAMES {
        let resolver = resolver.clone();
        running.spawn(async move {
            let answer = resolver.query(&name(number), RecordType::A).await;
            (number, answer)
        });
    }
    let mut ended = 0;
    let mut failed = Vec::new();
    while let Some(one) = running.join_next().await {
        ended += 1;
        match one.unwrap() {
            (number, Ok(answer)) => assert_eq!(answer.rdata, [address(number)]),
            (number, Err(error)) => failed.push((number, error)),
        }
    }
    assert_eq!(ended, NAMES);
    failed
}

#[tokio::test]
async fn ten_thousand_names_end_with_an_unruly_resolver() {
    let _alone = ALONE.lock().await;
    let _clock = PacedClock::with_rounds(2);
    let (server, tries) = unruly().await;
    let options = ResolverOptions::default()
        .with_timeout(Duration::from_secs(3))
        .with_cache(0);
    let resolver = Resolver::from_uri(&format!("udp://{server}"), &options).unwrap();
    let (descriptors, resident) = (descriptors(), resident());
    let watch = Watch::start();
    let failed = ask_all(&resolver).await;
    let (most_descriptors, most_resident) = watch.end();
    // Those for which chance lost every try must fail; others only where time ran out as well.
    let unlucky = |number: usize| (1..=4).all(|attempt| fate(number, attempt) == Fate::Lost);
    let unlucky: Vec<_> = (0..NAMES).filter(|number| unlucky(*number)).collect();
    assert!(!unlucky.is_empty());
    for number in &unlucky {
        assert!(failed.iter().any(|(other, _)| other == number), "{number}");
    }
    for (number, error) in &failed {
        assert!(
            matches!(error, QueryError::Timeout { .. }),
            "{number}: {error}"
        );
    }
    assert!(failed.len() < NAMES / 50, "{} failed", failed.len());
    // The server's side of TCP connections is in this process too.
    let sockets = most_descriptors - descriptors;
    assert!(sockets <= 2 * MAX_SOCKETS + 16, "{sockets} sockets");
    let grown = most_resident.saturating_sub(resident) / 1024;
    assert!(grown < 256, "{grown} MiB");
    let mut by_tries = [0; 6];
    for count in tries.lock().unwrap().values() {
        by_tries[(*count).min(5)] += 1;
    }
    println!(
        "{NAMES} names: {} failed; answered or given up after 1, 2, 3, 4 tries: {:?}; at most \
         {sockets} sockets and {grown} MiB",
        failed.len(),
        &by_tries[1..5]
    );
}

#[tokio::test]
async fn an_unruly_resolver_never_makes_records_go_away() {
    let _alone = ALONE.lock().await;
    let _clock = PacedClock::with_rounds(2);
    let (server, _) = unruly().await;
    let options = ResolverOptions::default().with_timeout(Duration::from_secs(3));
    let resolver = Resolver::from_uri(&format!("udp://{server}"), &options).unwrap();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..500 {
        let resolver = resolver.clone();
        running.spawn(async move {
            let origin = Origin::parse(&format!("https://{}", name(number))).unwrap();
            discover(&resolver, &origin).await
        });
    }
    let mut found = 0;
    while let Some(discovery) = running.join_next().await {
        let discovery = discovery.unwrap();
        match discovery.https.as_str() {
            "found" => found += 1,
            other => assert_eq!(other, "failed", "{discovery:?}"),
        }
    }
    assert!(found > 450, "{found}");
}

#[tokio::test]
async fn ten_thousand_names_over_one_connection_end_in_any_order() {
    /// One in a hundred is never answered.
    const LOST: usize = 100;
    let _alone = ALONE.lock().await;
    let _clock = PacedClock::with_rounds(2);
    let (config, tls) = dns::tls(&["dns.test"], b"dot");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let most = Arc::new(AtomicUsize::new(0));
    let outstanding = Arc::clone(&most);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, outstanding) = (acceptor.clone(), Arc::clone(&outstanding));
            tokio::spawn(async move {
                let stream = acceptor.accept(tcp).await.unwrap();
                let (mut reader, mut writer) = tokio::io::split(stream);
                let (later, mut due) = mpsc::unbounded_channel::<Vec<u8>>();
                tokio::spawn(async move {
                    let mut rng = StdRng::seed_from_u64(7);
                    let mut held = Vec::new();
                    while due.recv_many(&mut held, 1024).await > 0 {
                        tokio::time::sleep(SHUFFLE).await;
                        while let Ok(more) = due.try_recv() {
                            held.push(more);
                        }
                        outstanding.fetch_max(held.len(), Ordering::Relaxed);
                        held.shuffle(&mut rng);
                        for message in held.drain(..) {
                            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
                            let frame = [&length[..], &message].concat();
                            if writer.write_all(&frame).await.is_err() {
                                return;
                            }
                        }
                        let _ = writer.flush().await;
                    }
                });
                while let Ok(length) = reader.read_u16().await {
                    let mut query = vec![0; usize::from(length)];
                    if reader.read_exact(&mut query).await.is_err() {
                        return;
                    }
                    let (number, _, message) = answer(&query, false);
                    if number % LOST != 0 {
                        let _ = later.send(message);
                    }
                }
            });
        }
    });
    let options = ResolverOptions::default()
        .with_tls(Arc::new(tls))
        .with_timeout(Duration::from_secs(5))
        .with_cache(0);
    let uri = format!("tls://dns.test:{port}#127.0.0.1");
    let resolver = Resolver::from_uri(&uri, &options).unwrap();
    let mut failed = ask_all(&resolver).await;
    failed.sort_by_key(|(number, _)| *number);
    let numbers: Vec<_> = failed.iter().map(|(number, _)| *number).collect();
    let lost: Vec<_> = (0..NAMES).step_by(LOST).collect();
    assert_eq!(numbers, lost);
    for (_, error) in failed {
        assert!(matches!(error, QueryError::Timeout { .. }), "{error}");
    }
    let most = most.load(Ordering::Relaxed);
    assert!(
        (2..=MAX_SOCKETS).contains(&most),
        "{most} questions at a time"
    );
}
