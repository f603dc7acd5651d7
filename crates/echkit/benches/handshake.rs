//! Full handshakes, client and server side timed apart, against stock rustls in the same run.
//!
//! Every variant is run in small batches that take turns, and the fastest batch of each counts:
//! the ratios then hold on a machine whose speed drifts. X25519, AES-128-GCM, a P-256
//! certificate, no resumption; both ends in one thread, in memory.
//!
//! A second table says where the time that ECH adds goes.
//!
//! `cargo bench -p echkit --bench handshake` prints the tables; `ECHKIT_BENCH_ROUNDS` sets how
//! often each variant gets its turn (200).
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "handshake/stages.rs"]
mod stages;

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echkit::server::{self, EchKeys, EchServer};
use echkit::tls::{ClientHandshake, ClientTls, EchOffer, TlsTarget, Trust};
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::pki::Site;
use rustls::client::{EchConfig, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

const NAME: &str = "secret.example";
const PUBLIC: &str = "public.example";
const BATCH: u32 = 20;

fn main() {
    // `cargo test --benches` only asks whether it starts.
    let rounds = match std::env::args().any(|arg| arg == "--test") {
        true => 1,
        false => std::env::var("ECHKIT_BENCH_ROUNDS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(200),
    };
    let bench = Bench::new();
    let variants = [
        ("stock rustls, plain", Client::Stock, Server::Stock),
        ("plain", Client::Stock, Server::Ours),
        ("echkit client, plain", Client::Plain, Server::Stock),
        ("GREASE, rejected", Client::Grease, Server::Ours),
        ("stale key, rejected", Client::Stale, Server::Ours),
        ("ECH accepted", Client::Offer, Server::Ours),
        ("rustls' own ECH client", Client::StockOffer, Server::Ours),
    ];
    let mut best = [Cost::MAX; 7];
    for _ in 0..rounds {
        for (best, (_, client, server)) in best.iter_mut().zip(&variants) {
            let mut batch = Cost::ZERO;
            for _ in 0..BATCH {
                batch.add(bench.handshake(*client, *server));
            }
            best.take_less(batch.per(BATCH));
        }
    }
    let stock = best[0];
    println!("minimum of {rounds} batches of {BATCH} handshakes, microseconds");
    println!(
        "{:<24}{:>10}{:>9}{:>10}{:>9}",
        "", "client", "ratio", "server", "ratio"
    );
    for ((name, ..), cost) in variants.iter().zip(&best) {
        println!(
            "{name:<24}{:>10.1}{:>8.2}x{:>10.1}{:>8.2}x",
            micros(cost.client),
            micros(cost.client) / micros(stock.client),
            micros(cost.server),
            micros(cost.server) / micros(stock.server),
        );
    }
    println!();
    stages::table(&bench, rounds);
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[derive(Clone, Copy)]
struct Cost {
    client: Duration,
    server: Duration,
}

impl Cost {
    const ZERO: Self = Self {
        client: Duration::ZERO,
        server: Duration::ZERO,
    };
    const MAX: Self = Self {
        client: Duration::MAX,
        server: Duration::MAX,
    };

    fn add(&mut self, other: Self) {
        self.client += other.client;
        self.server += other.server;
    }

    fn per(self, count: u32) -> Self {
        Self {
            client: self.client / count,
            server: self.server / count,
        }
    }

    fn take_less(&mut self, other: Self) {
        self.client = self.client.min(other.client);
        self.server = self.server.min(other.server);
    }
}

#[derive(Clone, Copy)]
enum Client {
    Stock,
    Plain,
    Grease,
    Stale,
    Offer,
    /// rustls with its own HPKE, its configuration made once.
    StockOffer,
}

#[derive(Clone, Copy)]
enum Server {
    Stock,
    Ours,
}

struct Bench {
    stock_client: Arc<ClientConfig>,
    stock_ech_client: Arc<ClientConfig>,
    stock_server: Arc<ServerConfig>,
    ours_client: ClientTls,
    ours_server: EchServer,
    key: EchKey,
    published: EchOffer,
    stale: EchOffer,
}

/// X25519 and AES-128-GCM, nothing else to choose from.
fn narrowed(mut provider: CryptoProvider) -> Arc<CryptoProvider> {
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    provider
        .cipher_suites
        .retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

impl Bench {
    fn new() -> Self {
        let site = Site::self_signed(&[NAME, PUBLIC]);
        let (chain, roots) = (site.chain(), site.roots());
        let stock = narrowed(aws_lc_rs::default_provider());

        let mut client = ClientConfig::builder_with_provider(stock.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        let server = |provider, chain: Vec<CertificateDer<'static>>| {
            let mut config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, site.key.clone_key())
                .unwrap();
            config.send_tls13_tickets = 0;
            Arc::new(config)
        };
        let published = EchKey::generate(&KeyParams::new(PUBLIC).unwrap()).unwrap();
        let list = EchConfigList::from(published.config().clone()).encode();
        let ech = EchConfig::new(list.into(), aws_lc_rs::hpke::ALL_SUPPORTED_SUITES).unwrap();
        let mut ech_client = ClientConfig::builder_with_provider(stock.clone())
            .with_ech(ech.into())
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        ech_client.resumption = Resumption::disabled();
        let lost = EchKey::generate(&KeyParams::new(PUBLIC).unwrap()).unwrap();
        let wrapped = narrowed(CryptoProvider::clone(&server::provider()));
        Self {
            stock_client: Arc::new(client),
            stock_ech_client: Arc::new(ech_client),
            stock_server: server(stock.clone(), chain.clone()),
            ours_client: ClientTls::builder()
                .provider(stock)
                .trust(Trust::roots(roots))
                .build()
                .unwrap(),
            key: published.clone(),
            published: offer(&published),
            stale: offer(&lost),
            ours_server: EchServer::new(
                server(wrapped, chain),
                server::EchKeyHandle::new(EchKeys::new(vec![published]).unwrap()),
            )
            .unwrap(),
        }
    }

    /// One handshake, and what it cost each side.
    fn handshake(&self, client: Client, server: Server) -> Cost {
        let mut cost = Cost::ZERO;
        let mut client = timed(&mut cost.client, || self.client(client));
        let mut server = timed(&mut cost.server, || self.server(server));
        loop {
            let to_server = timed(&mut cost.client, || client.output());
            let to_client = timed(&mut cost.server, || server.exchange(&to_server));
            timed(&mut cost.client, || client.input(&to_client));
            if to_server.is_empty() && to_client.is_empty() {
                break;
            }
        }
        timed(&mut cost.client, || drop(client));
        timed(&mut cost.server, || drop(server));
        cost
    }

    fn client(&self, client: Client) -> ClientEnd {
        let name = ServerName::try_from(NAME).unwrap();
        let offer = match client {
            Client::Stock | Client::StockOffer => {
                let config = Arc::clone(match client {
                    Client::Stock => &self.stock_client,
                    _ => &self.stock_ech_client,
                });
                return ClientEnd::Stock(Box::new(ClientConnection::new(config, name).unwrap()));
            }
            Client::Plain => EchOffer::None,
            Client::Grease => EchOffer::Grease,
            Client::Stale => self.stale.clone(),
            Client::Offer => self.published.clone(),
        };
        let mut target = TlsTarget::new(name);
        target.offer = offer;
        let started = self.ours_client.handshake(&target).unwrap();
        ClientEnd::Ours(Box::new(started))
    }

    fn server(&self, server: Server) -> ServerEnd {
        match server {
            Server::Stock => {
                let config = Arc::clone(&self.stock_server);
                ServerEnd::Plain(Box::new(ServerConnection::new(config).unwrap()))
            }
            Server::Ours => ServerEnd::Ours(Some(Box::new(self.ours_server.handshake()))),
        }
    }
}

fn offer(key: &EchKey) -> EchOffer {
    let list = EchConfigList::from(key.config().clone());
    EchOffer::real(list.select().chosen.unwrap())
}

fn timed<T>(total: &mut Duration, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = run();
    *total += start.elapsed();
    value
}

enum ClientEnd {
    Stock(Box<ClientConnection>),
    Ours(Box<ClientHandshake>),
}

impl ClientEnd {
    fn output(&mut self) -> Vec<u8> {
        match self {
            Self::Stock(connection) => written((&mut **connection).into()),
            Self::Ours(ours) => {
                let ClientHandshake {
                    connection, guard, ..
                } = ours.as_mut();
                let mut bytes = Vec::new();
                while connection.wants_write() {
                    connection.write_tls(&mut bytes).unwrap();
                }
                guard.push(&bytes).unwrap();
                let cleared = guard.cleared().to_vec();
                guard.sent(cleared.len());
                cleared
            }
        }
    }

    /// A rejection is an error at the end of the handshake, after its alert.
    fn input(&mut self, bytes: &[u8]) {
        let connection = match self {
            Self::Stock(connection) => connection,
            Self::Ours(ours) => &mut ours.connection,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            connection.read_tls(&mut rest).unwrap();
            let _ = connection.process_new_packets();
        }
    }
}

enum ServerEnd {
    Plain(Box<ServerConnection>),
    Ours(Option<Box<server::Handshake>>),
}

impl ServerEnd {
    fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain(connection) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    connection.read_tls(&mut rest).unwrap();
                    let _ = connection.process_new_packets();
                }
                let _ = connection.reader().read(&mut []);
                written((&mut **connection).into())
            }
            Self::Ours(handshake) => {
                let mut taken = handshake.take().unwrap();
                // The alert of a client that was rejected is an error here.
                let _ = taken.read(bytes);
                let mut out = taken.take_output();
                match taken.is_done() {
                    false => *handshake = Some(taken),
                    true => {
                        let (mut connection, _) = taken.finish().unwrap();
                        out.extend(written((&mut connection).into()));
                        *self = Self::Plain(Box::new(connection));
                    }
                }
                out
            }
        }
    }
}

/// Either side's connection.
enum Either<'a> {
    Client(&'a mut ClientConnection),
    Server(&'a mut ServerConnection),
}

impl<'a> From<&'a mut ClientConnection> for Either<'a> {
    fn from(connection: &'a mut ClientConnection) -> Self {
        Self::Client(connection)
    }
}

impl<'a> From<&'a mut ServerConnection> for Either<'a> {
    fn from(connection: &'a mut ServerConnection) -> Self {
        Self::Server(connection)
    }
}

fn written(connection: Either<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match connection {
        Either::Client(connection) => {
            while connection.wants_write() {
                connection.write_tls(&mut bytes).unwrap();
            }
        }
        Either::Server(connection) => {
            while connection.wants_write() {
                connection.write_tls(&mut bytes).unwrap();
            }
        }
    }
    bytes
}
