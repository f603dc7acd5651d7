//! Our client-facing server between clients and backend servers, each of three implementations.
//! Each cell compares the client's word with what the router reports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use data_encoding::BASE64;
use echkit::http::Client;
use echkit::policy::EchMode;
use echkit::report::EchStatus;
use echkit::server::{Acceptor, EchKeyHandle, EchKeys, EchServer};
use echkit::tls::{ClientTls, Trust};
use echkit_interop::{
    ClientWord, EchWord, Offer, PUBLIC_NAME, Peer, PeerClient, PeerServer, Running, SECRET_NAME,
};
use echkit_proto::config::EchConfigList;
use echkit_proto::key::EchKey;
use echkit_server::Drain;
use echkit_server::route::{Backend, ForwardedHello, NameTable, RouteTable, Router};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::cell::{Cell, Lab, Outcome, PEERS, Skip, hold, suite};
use crate::keys::our_key;
use crate::our_server::listener::server_config;

/// Far above what a connection needs on the slowest machine; only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose client, or whose backend server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Echkit,
    Peer(Peer),
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Echkit => f.write_str("echkit"),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

const OPENSSL: Side = Side::Peer(Peer::OpenSsl);

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let sides = [Side::Echkit, Side::Peer(PEERS[0]), Side::Peer(PEERS[1])];
    for client in sides {
        for backend in sides {
            let name = |what: &str| format!("split_mode_{client}_client_{backend}_backend::{what}");
            let mut add = |what: &str, run: fn(&Lab, Side, Side) -> Outcome| {
                cells.push(Cell::new(name(what), move |lab| run(lab, client, backend)));
            };
            add("accept", |lab, client, backend| {
                accept(lab, client, backend, false)
            });
            add("hello_retry_accept", |lab, client, backend| {
                accept(lab, client, backend, true)
            });
        }
        // The server of the public name has the keys, and answers what the router did not open.
        for public in sides {
            let name = |what: &str| format!("split_mode_{client}_client_{public}_public::{what}");
            let title = name("hello_retry_stale_key");
            cells.push(match client == OPENSSL && public == OPENSSL {
                true => Cell::skipped(title, Skip::OpenSslRejectsItsHelloRetry),
                false => Cell::new(title, move |lab| stale(lab, client, public, true)),
            });
            let mut add = |what: &str, run: fn(&Lab, Side, Side) -> Outcome| {
                cells.push(Cell::new(name(what), move |lab| run(lab, client, public)));
            };
            add("stale_key", |lab, client, public| {
                stale(lab, client, public, false)
            });
            add("no_ech", no_ech);
        }
        cells.push(Cell::new(
            format!("split_mode_{client}_client::unknown_name"),
            move |lab| unknown_name(lab, client),
        ));
    }
    // Go's client sends none, and its server takes none. Ours: crates/echkit-server/tests.
    let name = format!("split_mode_{OPENSSL}_client_{OPENSSL}_backend::early_data");
    cells.push(Cell::new(name, early_data));
    cells
}

/// What a router told of a connection.
#[derive(Debug)]
struct Told {
    hello: Option<ForwardedHello>,
    backend: Option<String>,
    end: String,
}

/// A router, and the servers behind it.
struct Split {
    address: SocketAddr,
    told: Receiver<Told>,
    runtime: Runtime,
    /// Peers end when they are dropped.
    peers: Vec<Running>,
}

impl Split {
    /// A router with `key` before a backend of [`SECRET_NAME`], if one is given, and the server of
    /// the public name.
    fn start(
        lab: &Lab,
        client: Side,
        key: &EchKey,
        backend: Option<(Side, bool)>,
        public: (Side, bool),
    ) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let mut peers = Vec::new();
        let mut server = |name: &str, (side, hello_retry): (Side, bool), keys: bool| {
            let at = match side {
                Side::Peer(peer) => {
                    let running = peer_server(lab, peer, key, keys, hello_retry)?;
                    let at = running.address;
                    peers.push(running);
                    at
                }
                Side::Echkit => our_server(lab, &runtime, page(client), key, keys, hello_retry)?,
            };
            let backend = Backend::new(name, [at.to_string()]);
            backend.map(Arc::new).map_err(|error| error.to_string())
        };
        let mut names = NameTable::default();
        if let Some(backend) = backend {
            let backend = server("backend", backend, false)?;
            names
                .insert(SECRET_NAME, backend)
                .map_err(|error| error.to_string())?;
        }
        let table = RouteTable::new(server("public", public, true)?).with_inner_names(names);
        Self::route(table, key, runtime, peers)
    }

    /// A router with `key` before this backend of [`SECRET_NAME`], which answers for the public name
    /// too.
    fn before(key: &EchKey, backend: Running) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let at = Backend::new("backend", [backend.address.to_string()]);
        let at = at.map(Arc::new).map_err(|error| error.to_string())?;
        let mut names = NameTable::default();
        names
            .insert(SECRET_NAME, Arc::clone(&at))
            .map_err(|error| error.to_string())?;
        let table = RouteTable::new(at).with_inner_names(names);
        Self::route(table, key, runtime, vec![backend])
    }

    fn route(
        table: RouteTable,
        key: &EchKey,
        runtime: Runtime,
        peers: Vec<Running>,
    ) -> Result<Self, String> {
        let keys = EchKeys::new(vec![key.clone()]).map_err(|error| error.to_string())?;
        let (tell, told) = channel();
        let tell = std::sync::Mutex::new(tell);
        let router = Router::new(table, EchKeyHandle::new(keys)).on_end(move |connection| {
            let told = Told {
                hello: connection.hello.clone(),
                backend: connection.backend.as_ref().map(|b| b.name().to_owned()),
                end: connection.end.to_string(),
            };
            if let Ok(tell) = tell.lock() {
                let _ = tell.send(told);
            }
        });
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        runtime.spawn(async move { router.serve(listener, Drain::new()).await });
        Ok(Self {
            address,
            told,
            runtime,
            peers,
        })
    }

    /// The next connection that has ended.
    fn told(&self) -> Result<Told, String> {
        self.told
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("the router told of no end\n{}", self.output()))
    }

    fn output(&self) -> String {
        let output: Vec<String> = self.peers.iter().map(Running::output).collect();
        output.join("\n")
    }
}

fn peer_server(
    lab: &Lab,
    peer: Peer,
    key: &EchKey,
    keys: bool,
    hello_retry: bool,
) -> Result<Running, String> {
    let mut server = PeerServer {
        hello_retry,
        ..PeerServer::default()
    };
    if keys {
        let path = lab.folder()?.join("key.pem.ech");
        let text = key.to_pem().map_err(|error| error.to_string())?;
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        server.keys.push(path);
    }
    server
        .start(&lab.peers, peer, &lab.pki)
        .map_err(|error| error.to_string())
}

/// In backend role, or with keys.
fn our_server(
    lab: &Lab,
    runtime: &Runtime,
    body: String,
    key: &EchKey,
    keys: bool,
    hello_retry: bool,
) -> Result<SocketAddr, String> {
    let config = server_config(&lab.pki, hello_retry).map_err(|error| error.to_string())?;
    let server = match keys {
        true => {
            let keys = EchKeys::new(vec![key.clone()]).map_err(|error| error.to_string())?;
            EchServer::new(config, keys)
        }
        false => EchServer::backend(config),
    };
    let acceptor = Acceptor::from(server.map_err(|error| error.to_string())?);
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    runtime.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(answer(acceptor.clone(), tcp, body.clone()));
        }
    });
    Ok(address)
}

async fn answer(acceptor: Acceptor, tcp: TcpStream, body: String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut accepted) = acceptor.accept(tcp).await else {
        return;
    };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if !matches!(accepted.stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = accepted.stream.write_all(head.as_bytes()).await;
    let _ = accepted.stream.write_all(body.as_bytes()).await;
    let _ = accepted.stream.shutdown().await;
}

/// One line that repeats nowhere. It needs many records, but for OpenSSL, which prints what it says
/// about each record in between.
fn page(client: Side) -> String {
    let count = match client {
        Side::Peer(Peer::OpenSsl) => 2_000,
        _ => 40_000_u32,
    };
    let numbers: Vec<String> = (0..count).map(|n| format!("{n:x}")).collect();
    format!(
        "{{\"peer\":\"echkit\",\"numbers\":\"{}\"}}\n",
        numbers.join("-")
    )
}

/// What a client says.
struct Word {
    ech: EchWord,
    answered: bool,
    hello_retry: bool,
    retry_configs: Option<Vec<u8>>,
    body: String,
    output: String,
}

impl From<ClientWord> for Word {
    fn from(word: ClientWord) -> Self {
        let page = ["HTTP/1.0 200", "HTTP/1.1 200"];
        Self {
            ech: word.ech,
            answered: word.answered || page.iter().any(|line| word.output.contains(line)),
            hello_retry: word.hello_retry,
            retry_configs: word.retry_configs,
            body: word.body,
            output: word.output,
        }
    }
}

fn visit(lab: &Lab, side: Side, split: &Split, offer: Option<&[u8]>) -> Result<Word, String> {
    match side {
        Side::Echkit => ours(lab, split, offer),
        Side::Peer(peer) => {
            let client = PeerClient {
                offer: offer.map_or(Offer::Nothing, |list| Offer::List(list.to_vec())),
                ..PeerClient::default()
            };
            let words = client
                .run(&lab.peers, peer, &lab.pki, split.address)
                .map_err(|error| error.to_string())?;
            let word = words.into_iter().next();
            word.map(Word::from).ok_or_else(|| "no word".to_owned())
        }
    }
}

/// Our client stops at a rejection, as the others do.
fn ours(lab: &Lab, split: &Split, offer: Option<&[u8]>) -> Result<Word, String> {
    let roots = lab.pki.roots().map_err(|error| error.to_string())?;
    let to = split.address.ip().to_string();
    let mode = if offer.is_some() {
        EchMode::Require
    } else {
        EchMode::Off
    };
    let mut builder = Client::builder()
        .ech(mode)
        .retry(false)
        .tls(ClientTls::builder().trust(Trust::roots(roots)))
        .connect_to(SECRET_NAME, 443, to, split.address.port());
    if let Some(list) = offer {
        let list = EchConfigList::parse(list).map_err(|error| error.to_string())?;
        builder = builder.ech_config(list);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    split.runtime.block_on(async {
        let url = format!("https://{SECRET_NAME}/");
        let (report, result) = match client.get(&url).send().await {
            Ok(mut response) => {
                let body = response.bytes().await.map_err(|error| error.to_string())?;
                (
                    response.report(),
                    Ok(String::from_utf8_lossy(&body).into_owned()),
                )
            }
            Err(error) => {
                let report = error.report().ok_or_else(|| error.to_string())?;
                (report.clone(), Err(error.to_string()))
            }
        };
        Ok(Word {
            ech: match report.ech.status {
                EchStatus::Accepted => EchWord::Accepted,
                EchStatus::NotOffered => EchWord::NotOffered,
                _ => EchWord::NotAccepted,
            },
            answered: result.is_ok(),
            hello_retry: report.tls.as_ref().is_some_and(|tls| tls.hello_retry),
            retry_configs: report
                .ech
                .retry_configs
                .as_ref()
                .and_then(|list| BASE64.decode(list.as_bytes()).ok()),
            output: format!("{report:#?}\n{result:?}"),
            body: result.unwrap_or_default(),
        })
    })
}

fn list_of(key: &EchKey) -> Vec<u8> {
    EchConfigList::from(key.config().clone()).encode()
}

fn accept(lab: &Lab, client: Side, backend: Side, hello_retry: bool) -> Outcome {
    let key = our_key(suite::X25519)?;
    let split = Split::start(
        lab,
        client,
        &key,
        Some((backend, hello_retry)),
        (Side::Echkit, false),
    )?;
    let word = visit(lab, client, &split, Some(&list_of(&key)))?;
    let told = split.told()?;
    let shown = || format!("{}\n{told:?}\n{}", word.output, split.output());
    hold!(word.ech == EchWord::Accepted, "the client's word", shown());
    hold!(word.answered, "an answer", shown());
    hold!(
        word.hello_retry == hello_retry,
        "HelloRetryRequest as planned",
        shown()
    );
    hold!(
        told.backend.as_deref() == Some("backend"),
        "the backend",
        shown()
    );
    // A client or server that is done may reset the connection, and loses nothing by that.
    let ended = told.end == "closed" || told.end.starts_with("a connection failed");
    hold!(ended, "the end", shown());
    let Some(ForwardedHello::Accepted {
        inner_name,
        outer_name,
        ..
    }) = &told.hello
    else {
        return Err(format!("not accepted\n{}", shown()));
    };
    hold!(
        inner_name.as_deref() == Some(SECRET_NAME),
        "the name inside",
        shown()
    );
    hold!(
        outer_name.as_deref() == Some(PUBLIC_NAME),
        "the name outside",
        shown()
    );
    if backend == Side::Echkit {
        hold!(
            word.body.trim_end() == page(client).trim_end(),
            "every byte",
            word.body.len()
        );
    }
    Ok(())
}

/// OpenSSL resumes a session through the router, and its first bytes come with the hello.
fn early_data(lab: &Lab) -> Outcome {
    /// Which fit into one record, and into what a server takes early.
    const LINES: usize = 500;
    let early: Vec<String> = (0..LINES).map(|n| format!("early line {n}")).collect();
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = our_key(suite::X25519)?;
    let folder = lab.folder()?;
    let backend = PeerServer {
        early_data: true,
        ..PeerServer::default()
    };
    let backend = backend
        .start(&lab.peers, Peer::OpenSsl, &lab.pki)
        .map_err(|error| text(&error))?;
    let split = Split::before(&key, backend)?;
    let file = folder.join("early");
    std::fs::write(&file, early.join("\n") + "\n").map_err(|error| text(&error))?;
    let (first, second) = PeerClient::offering(&list_of(&key))
        .run_early(&lab.peers, &lab.pki, split.address, &file)
        .map_err(|error| text(&error))?;
    let shown = || format!("{}\n{}\n{}", first.output, second.output, split.output());
    hold!(first.ech == EchWord::Accepted, "the first", shown());
    hold!(second.ech == EchWord::Accepted, "the second", shown());
    hold!(second.resumed, "resumed", shown());
    let accepted = second.output.contains("Early data was accepted");
    hold!(accepted, "early data", shown());
    let backend = split.peers.first().ok_or("the backend runs")?;
    backend
        .wait_for_line(&early[LINES - 1])
        .map_err(|error| text(&error))?;
    let output = backend.output();
    let came: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("early line"))
        .collect();
    hold!(came == early, "every byte", output);
    for _ in 0..2 {
        let told = split.told()?;
        let accepted = matches!(told.hello, Some(ForwardedHello::Accepted { .. }));
        hold!(accepted, "the router's word", format!("{told:?}"));
    }
    Ok(())
}

fn stale(lab: &Lab, client: Side, public: Side, hello_retry: bool) -> Outcome {
    let (key, stale) = (our_key(suite::X25519)?, our_key(suite::X25519)?);
    let split = Split::start(
        lab,
        client,
        &key,
        Some((Side::Echkit, false)),
        (public, hello_retry),
    )?;
    let word = visit(lab, client, &split, Some(&list_of(&stale)))?;
    let told = split.told()?;
    let shown = || format!("{}\n{told:?}\n{}", word.output, split.output());
    hold!(
        word.ech == EchWord::NotAccepted,
        "the client's word",
        shown()
    );
    hold!(!word.answered, "no answer", shown());
    hold!(
        told.backend.as_deref() == Some("public"),
        "the backend",
        shown()
    );
    hold!(
        matches!(told.hello, Some(ForwardedHello::Rejected { .. })),
        "the hello",
        shown()
    );
    let Some(retry) = word.retry_configs else {
        return Err(format!("no retry_configs\n{}", shown()));
    };
    hold!(retry == list_of(&key), "the configs of the key", shown());
    let word = visit(lab, client, &split, Some(&retry))?;
    hold!(
        word.ech == EchWord::Accepted && word.answered,
        "then",
        word.output
    );
    hold!(
        split.told()?.backend.as_deref() == Some("backend"),
        "then",
        word.output
    );
    Ok(())
}

fn no_ech(lab: &Lab, client: Side, public: Side) -> Outcome {
    let key = our_key(suite::X25519)?;
    let split = Split::start(
        lab,
        client,
        &key,
        Some((Side::Echkit, false)),
        (public, false),
    )?;
    let word = visit(lab, client, &split, None)?;
    let told = split.told()?;
    let shown = || format!("{}\n{told:?}\n{}", word.output, split.output());
    hold!(
        word.answered && word.ech == EchWord::NotOffered,
        "the client's word",
        shown()
    );
    hold!(
        told.backend.as_deref() == Some("public"),
        "the backend",
        shown()
    );
    hold!(
        matches!(told.hello, Some(ForwardedHello::NotOffered { .. })),
        "the hello",
        shown()
    );
    Ok(())
}

fn unknown_name(lab: &Lab, client: Side) -> Outcome {
    let key = our_key(suite::X25519)?;
    let split = Split::start(lab, client, &key, None, (Side::Echkit, false))?;
    let word = visit(lab, client, &split, Some(&list_of(&key)))?;
    let told = split.told()?;
    let shown = || format!("{}\n{told:?}", word.output);
    hold!(!word.answered, "no answer", shown());
    // OpenSSL writes it with an underscore, Go with a blank, rustls as one word.
    let said = word.output.to_lowercase().replace(['_', ' '], "");
    let alert = said.contains("unrecognizedname") || said.contains("unrecognisedname");
    hold!(alert, "the alert", shown());
    hold!(told.backend.is_none(), "no backend", shown());
    Ok(())
}
