//! Our client against peers as servers. Each cell compares our report with the peer's own page.

use data_encoding::HEXLOWER;
use echkit::http::Client;
use echkit::policy::EchMode;
use echkit::report::{EchSource, EchStatus, Report};
use echkit::tls::{ClientTls, Trust};
use echkit_interop::{EchWord, PUBLIC_NAME, Page, Peer, PeerKey, PeerServer, Running, SECRET_NAME};
use echkit_proto::config::EchConfigList;
use tokio::runtime::Runtime;

use crate::cell::{Cell, Lab, Outcome, PEERS, Skip, hold, suite};
use crate::keys::our_key;

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for peer in PEERS {
        let other = match peer {
            Peer::OpenSsl => Peer::Go,
            Peer::Go => Peer::OpenSsl,
        };
        let name = |what: &str| format!("our_client_{peer}_server::{what}");
        for (kem, suite) in suite::COMMON {
            let run = move |lab: &Lab| accept(lab, peer, &lab.key(peer, suite)?, false);
            cells.push(Cell::new(name(&format!("accept_{kem}")), run));
            let run = move |lab: &Lab| accept(lab, peer, &lab.key(other, suite)?, false);
            let title = name(&format!("accept_{kem}_key_made_by_{other}"));
            cells.push(Cell::new(title, run));
            let run = move |lab: &Lab| accept(lab, peer, &key_of_ours(lab, suite)?, false);
            let title = name(&format!("accept_{kem}_key_made_by_echkit"));
            cells.push(Cell::new(title, run));
        }
        cells.push(match peer {
            Peer::Go => Cell::new(name("accept_x_wing"), accept_x_wing),
            Peer::OpenSsl => Cell::skipped(name("accept_x_wing"), Skip::OpenSslLacksXWing),
        });
        let mut add = |what: &str, run: fn(&Lab, Peer) -> Outcome| {
            cells.push(Cell::new(name(what), move |lab| run(lab, peer)));
        };
        add("hello_retry_accept", |lab, peer| {
            accept(lab, peer, &lab.key(peer, suite::X25519)?, true)
        });
        add("stale_key_retry", |lab, peer| stale(lab, peer, false));
        add("hello_retry_stale_key_retry", |lab, peer| {
            stale(lab, peer, true)
        });
        add("no_retry_configs_prefer_goes_on", |lab, peer| {
            let keys = lab.key(peer, suite::P256)?;
            disabled(lab, peer, vec![keys.path], EchMode::Prefer)
        });
        add("no_retry_configs_require_ends", |lab, peer| {
            let keys = lab.key(peer, suite::P256)?;
            disabled(lab, peer, vec![keys.path], EchMode::Require)
        });
        add("server_without_ech_prefer_goes_on", |lab, peer| {
            disabled(lab, peer, Vec::new(), EchMode::Prefer)
        });
        add("server_without_ech_require_ends", |lab, peer| {
            disabled(lab, peer, Vec::new(), EchMode::Require)
        });
        add("grease", |lab, peer| grease(lab, peer, false));
        add("hello_retry_grease", |lab, peer| grease(lab, peer, true));
        add("no_ech", no_ech);
        add("resumption", resumption);
        add("tls12_only_without_ech", |lab, peer| {
            tls12(lab, peer, EchMode::Off)
        });
        add("tls12_only_after_grease", |lab, peer| {
            tls12(lab, peer, EchMode::Prefer)
        });
        add("tls12_only_is_no_answer_to_ech", tls12_refused);
    }
    cells
}

/// One request of ours, and what came of it.
struct Fetched {
    report: Report,
    /// The body, or what went wrong.
    result: Result<String, String>,
}

impl Fetched {
    fn page(&self, peer: Peer) -> Result<Page, String> {
        match &self.result {
            Ok(body) => Page::read(peer, body),
            Err(error) => Err(format!("no page: {error}\n{}", self.shown())),
        }
    }

    fn shown(&self) -> String {
        format!("{:#?}\n{:?}", self.report, self.result)
    }
}

/// A client of ours that finds the site at a peer's server.
struct Ours {
    runtime: Runtime,
    client: Client,
}

impl Ours {
    fn new(lab: &Lab, at: &Running, mode: EchMode, list: Option<&[u8]>) -> Result<Self, String> {
        let roots = lab.pki.roots().map_err(|error| error.to_string())?;
        let to = at.address.ip().to_string();
        let mut builder = Client::builder()
            .ech(mode)
            .tls(ClientTls::builder().trust(Trust::roots(roots)))
            // Each fetch is to show a handshake.
            .keep_alive(None)
            .connect_to(SECRET_NAME, 443, to, at.address.port());
        if let Some(list) = list {
            let list = EchConfigList::parse(list).map_err(|error| error.to_string())?;
            builder = builder.ech_config(list);
        }
        Ok(Self {
            runtime: Runtime::new().map_err(|error| error.to_string())?,
            client: builder.build().map_err(|error| error.to_string())?,
        })
    }

    fn get(&self) -> Result<Fetched, String> {
        let url = format!("https://{SECRET_NAME}/");
        self.runtime.block_on(async {
            match self.client.get(&url).send().await {
                Ok(mut response) => {
                    let body = response.bytes().await.map_err(|error| error.to_string())?;
                    Ok(Fetched {
                        report: response.report(),
                        result: Ok(String::from_utf8_lossy(&body).into_owned()),
                    })
                }
                Err(error) => Ok(Fetched {
                    report: error.report().ok_or_else(|| error.to_string())?.clone(),
                    result: Err(error.to_string()),
                }),
            }
        })
    }
}

fn start(lab: &Lab, peer: Peer, server: &PeerServer) -> Result<Running, String> {
    server
        .start(&lab.peers, peer, &lab.pki)
        .map_err(|error| error.to_string())
}

fn key_of_ours(lab: &Lab, suite: (u16, u16, u16)) -> Result<PeerKey, String> {
    let path = lab.folder()?.join("ours.pem.ech");
    let text = our_key(suite)?
        .to_pem()
        .map_err(|error| error.to_string())?;
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    PeerKey::read(&path)
}

/// What must hold whenever a peer accepted.
fn hold_accepted(peer: Peer, fetched: &Fetched, at: &Running) -> Outcome {
    let page = fetched.page(peer)?;
    let shown = || format!("{}\n{}", fetched.shown(), at.output());
    let ech = &fetched.report.ech;
    hold!(page.ech == EchWord::Accepted, "the peer accepted", shown());
    hold!(
        page.server_name.as_deref() == Some(SECRET_NAME),
        "the peer served the hidden name",
        shown()
    );
    if let Some(outer) = &page.outer_name {
        hold!(
            outer == PUBLIC_NAME,
            "the peer saw the public name",
            shown()
        );
    }
    hold!(ech.status == EchStatus::Accepted, "our report", shown());
    hold!(
        ech.inner_sni.as_deref() == Some(SECRET_NAME)
            && ech.outer_sni.as_deref() == Some(PUBLIC_NAME),
        "the names in our report",
        shown()
    );
    Ok(())
}

fn hold_hello_retries(at: &Running, handshakes: usize, expected: usize) -> Outcome {
    let retries = at
        .hello_retries(handshakes)
        .map_err(|error| error.to_string())?;
    hold!(
        retries == expected,
        "HelloRetryRequest as planned",
        at.output()
    );
    Ok(())
}

fn accept(lab: &Lab, peer: Peer, key: &PeerKey, hello_retry: bool) -> Outcome {
    let server = PeerServer {
        keys: vec![key.path.clone()],
        hello_retry,
        ..PeerServer::default()
    };
    accepted_by(lab, peer, &server, &key.list)
}

fn accept_x_wing(lab: &Lab) -> Outcome {
    let key = our_key(suite::X_WING)?;
    let list = EchConfigList::from_configs(vec![key.config().clone()])
        .map_err(|error| error.to_string())?;
    let raw = format!(
        "{}:{}",
        HEXLOWER.encode(key.config().encoded()),
        HEXLOWER.encode(&key.private_key_bytes().map_err(|error| error.to_string())?)
    );
    let server = PeerServer {
        raw_keys: vec![raw],
        ..PeerServer::default()
    };
    accepted_by(lab, Peer::Go, &server, &list.encode())
}

fn accepted_by(lab: &Lab, peer: Peer, server: &PeerServer, list: &[u8]) -> Outcome {
    let at = start(lab, peer, server)?;
    let fetched = Ours::new(lab, &at, EchMode::Require, Some(list))?.get()?;
    hold_accepted(peer, &fetched, &at)?;
    let ech = &fetched.report.ech;
    hold!(ech.source == EchSource::Manual, "source", fetched.shown());
    hold!(ech.retries == 0, "no retry", fetched.shown());
    let retried = fetched
        .report
        .tls
        .as_ref()
        .is_some_and(|tls| tls.hello_retry);
    hold!(retried == server.hello_retry, "report", fetched.shown());
    hold_hello_retries(&at, 1, usize::from(server.hello_retry))
}

fn stale(lab: &Lab, peer: Peer, hello_retry: bool) -> Outcome {
    let (key, stale) = (lab.key(peer, suite::P256)?, lab.key(peer, suite::X25519)?);
    let server = PeerServer {
        keys: vec![key.path],
        hello_retry,
        ..PeerServer::default()
    };
    let at = start(lab, peer, &server)?;
    let fetched = Ours::new(lab, &at, EchMode::Require, Some(&stale.list))?.get()?;
    hold_accepted(peer, &fetched, &at)?;
    let ech = &fetched.report.ech;
    hold!(ech.source == EchSource::Retry, "source", fetched.shown());
    hold!(ech.retries == 1, "one retry", fetched.shown());
    hold_hello_retries(&at, 2, if hello_retry { 2 } else { 0 })?;
    at.wait_for_rejections(1).map_err(|error| error.to_string())
}

/// A server that authenticates for the public name and sends no retry_configs.
fn disabled(
    lab: &Lab,
    peer: Peer,
    decrypt_only: Vec<std::path::PathBuf>,
    mode: EchMode,
) -> Outcome {
    let offered = lab.key(peer, suite::X25519)?;
    let server = PeerServer {
        decrypt_only,
        ..PeerServer::default()
    };
    let at = start(lab, peer, &server)?;
    let fetched = Ours::new(lab, &at, mode, Some(&offered.list))?.get()?;
    let status = fetched.report.ech.status;
    at.wait_for_rejections(1)
        .map_err(|error| error.to_string())?;
    let names = |handshakes| at.names(handshakes).map_err(|error| error.to_string());
    if mode == EchMode::Require {
        hold!(fetched.result.is_err(), "an error", fetched.shown());
        hold!(status == EchStatus::Rejected, "status", fetched.shown());
        hold!(
            names(1)? == [PUBLIC_NAME],
            "the peer read the public name alone",
            at.output()
        );
    } else {
        let page = fetched.page(peer)?;
        hold!(status == EchStatus::Disabled, "status", fetched.shown());
        hold!(page.ech != EchWord::Accepted, "page", fetched.shown());
        hold!(
            names(2)? == [PUBLIC_NAME, SECRET_NAME],
            "the public name with the offer, the site's own without ECH",
            at.output()
        );
    }
    Ok(())
}

fn grease(lab: &Lab, peer: Peer, hello_retry: bool) -> Outcome {
    let key = lab.key(peer, suite::X25519)?;
    let server = PeerServer {
        keys: vec![key.path],
        hello_retry,
        ..PeerServer::default()
    };
    let at = start(lab, peer, &server)?;
    let fetched = Ours::new(lab, &at, EchMode::Grease, None)?.get()?;
    let page = fetched.page(peer)?;
    let ech = &fetched.report.ech;
    hold!(ech.status == EchStatus::Grease, "status", fetched.shown());
    hold!(
        ech.outer_sni.as_deref() == Some(SECRET_NAME),
        "GREASE hides nothing",
        fetched.shown()
    );
    // Go's page does not tell GREASE from nothing.
    let expected = match peer {
        Peer::OpenSsl => EchWord::NotAccepted,
        Peer::Go => EchWord::NotOffered,
    };
    hold!(page.ech == expected, "page", fetched.shown());
    hold_hello_retries(&at, 1, usize::from(hello_retry))
}

fn no_ech(lab: &Lab, peer: Peer) -> Outcome {
    let key = lab.key(peer, suite::X25519)?;
    let server = PeerServer {
        keys: vec![key.path],
        ..PeerServer::default()
    };
    let at = start(lab, peer, &server)?;
    let fetched = Ours::new(lab, &at, EchMode::Off, None)?.get()?;
    let page = fetched.page(peer)?;
    let status = fetched.report.ech.status;
    hold!(status == EchStatus::NotOffered, "status", fetched.shown());
    hold!(page.ech == EchWord::NotOffered, "page", fetched.shown());
    Ok(())
}

fn resumption(lab: &Lab, peer: Peer) -> Outcome {
    let key = lab.key(peer, suite::X25519)?;
    let server = PeerServer {
        keys: vec![key.path],
        ..PeerServer::default()
    };
    let at = start(lab, peer, &server)?;
    let ours = Ours::new(lab, &at, EchMode::Require, Some(&key.list))?;
    for resumed in [false, true] {
        let fetched = ours.get()?;
        hold_accepted(peer, &fetched, &at)?;
        hold!(
            fetched.page(peer)?.resumed == resumed,
            "the peer's word on resumption",
            fetched.shown()
        );
        let reported = fetched.report.tls.as_ref().map(|tls| tls.resumed);
        hold!(reported == Some(resumed), "report", fetched.shown());
    }
    Ok(())
}

fn tls12(lab: &Lab, peer: Peer, mode: EchMode) -> Outcome {
    let server = PeerServer {
        tls12: true,
        ..PeerServer::default()
    };
    let at = start(lab, peer, &server)?;
    let fetched = Ours::new(lab, &at, mode, None)?.get()?;
    let page = fetched.page(peer)?;
    hold!(page.version == "TLSv1.2", "page", fetched.shown());
    let reported = fetched.report.tls.as_ref().map(|tls| &tls.version[..]);
    hold!(reported == Some("TLSv1.2"), "report", fetched.shown());
    Ok(())
}

/// ECH implies TLS 1.3: a server that speaks TLS 1.2 has failed, and has disabled nothing.
fn tls12_refused(lab: &Lab, peer: Peer) -> Outcome {
    let key = lab.key(peer, suite::X25519)?;
    let server = PeerServer {
        tls12: true,
        ..PeerServer::default()
    };
    for mode in [EchMode::Require, EchMode::Prefer] {
        let at = start(lab, peer, &server)?;
        let fetched = Ours::new(lab, &at, mode, Some(&key.list))?.get()?;
        hold!(fetched.result.is_err(), "an error", fetched.shown());
        let status = fetched.report.ech.status;
        hold!(status == EchStatus::Failed, "status", fetched.shown());
    }
    Ok(())
}
