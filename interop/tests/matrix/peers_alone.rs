//! Peers against each other: the matrix itself must be able to tell outcomes apart.

use echkit_interop::{EchWord, Peer, PeerClient, PeerServer};

use crate::cell::{Cell, Lab, Outcome, PEERS, hold, suite};

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for server in PEERS {
        for client in PEERS {
            let name = |what| format!("peers_alone::{client}_client_{server}_server::{what}");
            cells.push(Cell::new(name("accept"), move |lab| {
                accepted(lab, server, client)
            }));
            cells.push(Cell::new(name("stale"), move |lab| {
                stale(lab, server, client)
            }));
        }
    }
    cells
}

fn accepted(lab: &Lab, server: Peer, client: Peer) -> Outcome {
    let key = lab.key(server, suite::X25519)?;
    let running = PeerServer {
        keys: vec![key.path.clone()],
        hello_retry: true,
        ..PeerServer::default()
    }
    .start(&lab.peers, server, &lab.pki)
    .map_err(|error| error.to_string())?;
    let words = PeerClient::offering(&key.list)
        .run(&lab.peers, client, &lab.pki, running.address)
        .map_err(|error| error.to_string())?;
    let word = words.first().ok_or("no word")?;
    hold!(word.ech == EchWord::Accepted, "accepted", word.output);
    hold!(word.hello_retry, "hello retry", word.output);
    hold!(word.version == "TLSv1.3", "TLS 1.3", word.output);
    let retries = running
        .hello_retries(1)
        .map_err(|error| error.to_string())?;
    hold!(retries == 1, "hello retry", running.output());
    Ok(())
}

fn stale(lab: &Lab, server: Peer, client: Peer) -> Outcome {
    let (key, stale) = (
        lab.key(server, suite::P256)?,
        lab.key(server, suite::X25519)?,
    );
    let running = PeerServer {
        keys: vec![key.path.clone()],
        ..PeerServer::default()
    }
    .start(&lab.peers, server, &lab.pki)
    .map_err(|error| error.to_string())?;
    let words = PeerClient::offering(&stale.list)
        .run(&lab.peers, client, &lab.pki, running.address)
        .map_err(|error| error.to_string())?;
    let word = words.first().ok_or("no word")?;
    hold!(word.ech == EchWord::NotAccepted, "rejected", word.output);
    hold!(
        word.retry_configs.as_deref() == Some(&key.list[..]),
        "the server's key in retry_configs",
        word.output
    );
    running
        .wait_for_rejections(1)
        .map_err(|error| error.to_string())
}
