//! Our acceptor against peers as clients. Each cell compares our outcome with the peer's word.

pub(crate) mod listener;

use data_encoding::BASE64;
use echkit::server::EchOutcome;
use echkit_interop::{ClientWord, EchWord, Offer, PUBLIC_NAME, Peer, PeerClient, SECRET_NAME};
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, EchKeyFile};

use crate::cell::{Cell, Lab, Outcome, PEERS, Skip, hold, suite};
use crate::keys::our_key;
use listener::{Listener, Seen};

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for peer in PEERS {
        let name = |what: &str| format!("{peer}_client_our_server::{what}");
        for (kem, suite) in suite::COMMON {
            cells.push(Cell::new(name(&format!("accept_{kem}")), move |lab| {
                accept(lab, peer, our_key(suite)?, false)
            }));
            let title = name(&format!("accept_{kem}_key_made_by_{peer}"));
            cells.push(Cell::new(title, move |lab| {
                accept(lab, peer, key_of(lab, peer, suite)?, false)
            }));
        }
        cells.push(match peer {
            Peer::Go => Cell::new(name("accept_x_wing"), move |lab| {
                accept(lab, peer, our_key(suite::X_WING)?, false)
            }),
            Peer::OpenSsl => Cell::skipped(name("accept_x_wing"), Skip::OpenSslLacksXWing),
        });
        let mut add = |what: &str, run: fn(&Lab, Peer) -> Outcome| {
            cells.push(Cell::new(name(what), move |lab| run(lab, peer)));
        };
        add("hello_retry_accept", |lab, peer| {
            accept(lab, peer, our_key(suite::X25519)?, true)
        });
        add("stale_key_retry", |lab, peer| stale(lab, peer, false));
        add("hello_retry_stale_key_retry", |lab, peer| {
            stale(lab, peer, true)
        });
        add("retired_key_still_opens", retired);
        add("server_without_keys", without_keys);
        add("no_ech", |lab, peer| {
            plain(lab, peer, &PeerClient::default(), "TLSv1.3")
        });
        add("resumption", resumption);
        add("tls12_only", |lab, peer| {
            let client = PeerClient {
                tls12: true,
                ..PeerClient::default()
            };
            plain(lab, peer, &client, "TLSv1.2")
        });
        match peer {
            Peer::OpenSsl => {
                add("grease", |lab, peer| grease(lab, peer, false));
                add("hello_retry_grease", |lab, peer| grease(lab, peer, true));
                add("tls12_in_the_inner_hello_is_refused", inner_tls12);
                add("other_outer_name", other_outer_name);
                add("no_outer_name", no_outer_name);
            }
            Peer::Go => cells.extend([
                Cell::skipped(name("grease"), Skip::GoSendsNoGrease),
                Cell::skipped(name("hello_retry_grease"), Skip::GoSendsNoGrease),
                Cell::skipped(
                    name("tls12_in_the_inner_hello_is_refused"),
                    Skip::GoOffersNoInnerTls12,
                ),
                Cell::skipped(name("other_outer_name"), Skip::GoHasNoOuterName),
                Cell::skipped(name("no_outer_name"), Skip::GoHasNoOuterName),
            ]),
        }
    }
    cells
}

fn list_of(key: &EchKey) -> Result<Vec<u8>, String> {
    let list = EchConfigList::from_configs(vec![key.config().clone()]);
    Ok(list.map_err(|error| error.to_string())?.encode())
}

/// A key that a peer made, read by us.
fn key_of(lab: &Lab, maker: Peer, suite: (u16, u16, u16)) -> Result<EchKey, String> {
    let made = lab.key(maker, suite)?;
    let text = std::fs::read_to_string(&made.path).map_err(|error| error.to_string())?;
    let file = EchKeyFile::from_pem(&text).map_err(|error| error.to_string())?;
    let key = file.keys().first().ok_or("no key in the file")?;
    Ok(key.clone())
}

/// Runs a peer's client, and gives its words with what we saw, connection by connection.
fn run(
    lab: &Lab,
    peer: Peer,
    at: &Listener,
    client: &PeerClient,
) -> Result<Vec<(ClientWord, Seen)>, String> {
    let before = at.seen().len();
    let words = client
        .run(&lab.peers, peer, &lab.pki, at.address)
        .map_err(|error| error.to_string())?;
    let seen = at.wait_for(before + words.len())?.split_off(before);
    Ok(words.into_iter().zip(seen).collect())
}

fn run_one(
    lab: &Lab,
    peer: Peer,
    at: &Listener,
    client: &PeerClient,
) -> Result<(ClientWord, Seen), String> {
    let mut both = run(lab, peer, at, client)?;
    both.pop().ok_or_else(|| "no connection".to_owned())
}

fn shown(word: &ClientWord, seen: &Seen) -> String {
    format!("{seen:?}\n{}", word.output)
}

/// What must hold whenever we accepted.
fn hold_accepted(word: &ClientWord, seen: &Seen, outer: Option<&str>) -> Outcome {
    hold!(
        word.ech == EchWord::Accepted && word.answered,
        "the peer's word",
        shown(word, seen)
    );
    let Some(EchOutcome::Accepted {
        inner_sni,
        outer_sni,
        ..
    }) = &seen.outcome
    else {
        return Err(format!("not accepted by us: {}", shown(word, seen)));
    };
    hold!(
        inner_sni.as_deref() == Some(SECRET_NAME) && outer_sni.as_deref() == outer,
        "names",
        shown(word, seen)
    );
    Ok(())
}

fn accept(lab: &Lab, peer: Peer, key: EchKey, hello_retry: bool) -> Outcome {
    let list = list_of(&key)?;
    let at = Listener::start(lab, vec![key], Vec::new(), hello_retry)?;
    let (word, seen) = run_one(lab, peer, &at, &PeerClient::offering(&list))?;
    hold_accepted(&word, &seen, Some(PUBLIC_NAME))?;
    hold!(
        word.hello_retry == hello_retry,
        "HelloRetryRequest",
        word.output
    );
    Ok(())
}

fn stale(lab: &Lab, peer: Peer, hello_retry: bool) -> Outcome {
    let (key, stale) = (our_key(suite::P256)?, our_key(suite::X25519)?);
    let current = list_of(&key)?;
    let at = Listener::start(lab, vec![key], Vec::new(), hello_retry)?;
    let client = PeerClient::offering(&list_of(&stale)?);
    let (word, seen) = run_one(lab, peer, &at, &client)?;
    hold!(
        word.ech == EchWord::NotAccepted && !word.answered,
        "the peer's word on the stale key",
        shown(&word, &seen)
    );
    hold!(
        word.hello_retry == hello_retry,
        "HelloRetryRequest",
        word.output
    );
    hold!(
        matches!(&seen.outcome, Some(EchOutcome::Rejected { retry_configs: true, outer_sni, .. })
            if outer_sni.as_deref() == Some(PUBLIC_NAME)),
        "our outcome",
        shown(&word, &seen)
    );
    hold!(
        seen.error
            .as_deref()
            .is_some_and(|error| error.contains("EncryptedClientHelloRequired")),
        "the peer ended it with ech_required",
        shown(&word, &seen)
    );
    let retry = word
        .retry_configs
        .clone()
        .ok_or("the peer got no retry_configs")?;
    hold!(
        retry == current,
        "the peer got our retry_configs",
        format!("{}\n{}", BASE64.encode(&current), shown(&word, &seen))
    );
    let (word, seen) = run_one(lab, peer, &at, &PeerClient::offering(&retry))?;
    hold_accepted(&word, &seen, Some(PUBLIC_NAME))
}

fn retired(lab: &Lab, peer: Peer) -> Outcome {
    let (key, old) = (our_key(suite::P256)?, our_key(suite::X25519)?);
    let list = list_of(&old)?;
    let at = Listener::start(lab, vec![key], vec![old], false)?;
    let (word, seen) = run_one(lab, peer, &at, &PeerClient::offering(&list))?;
    hold_accepted(&word, &seen, Some(PUBLIC_NAME))
}

fn without_keys(lab: &Lab, peer: Peer) -> Outcome {
    let list = list_of(&our_key(suite::X25519)?)?;
    let at = Listener::start(lab, Vec::new(), Vec::new(), false)?;
    let (word, seen) = run_one(lab, peer, &at, &PeerClient::offering(&list))?;
    hold!(
        word.ech == EchWord::NotAccepted && word.retry_configs.is_none() && !word.answered,
        "the peer's word",
        shown(&word, &seen)
    );
    hold!(
        matches!(
            seen.outcome,
            Some(EchOutcome::Rejected {
                retry_configs: false,
                ..
            })
        ),
        "our outcome",
        shown(&word, &seen)
    );
    Ok(())
}

fn grease(lab: &Lab, peer: Peer, hello_retry: bool) -> Outcome {
    let key = our_key(suite::X25519)?;
    let at = Listener::start(lab, vec![key], Vec::new(), hello_retry)?;
    let client = PeerClient {
        offer: Offer::Grease,
        ..PeerClient::default()
    };
    let (word, seen) = run_one(lab, peer, &at, &client)?;
    hold!(
        word.ech == EchWord::NotAccepted && word.answered,
        "the peer's word",
        shown(&word, &seen)
    );
    hold!(
        matches!(&seen.outcome, Some(EchOutcome::Rejected { retry_configs: true, outer_sni, .. })
            if outer_sni.as_deref() == Some(SECRET_NAME)),
        "GREASE is served by its outer name",
        shown(&word, &seen)
    );
    hold!(
        word.hello_retry == hello_retry,
        "HelloRetryRequest",
        word.output
    );
    Ok(())
}

/// A client without ECH, of which our server must take no notice.
fn plain(lab: &Lab, peer: Peer, client: &PeerClient, version: &str) -> Outcome {
    let at = Listener::start(lab, vec![our_key(suite::X25519)?], Vec::new(), false)?;
    let (word, seen) = run_one(lab, peer, &at, client)?;
    hold!(
        word.ech == EchWord::NotOffered && word.answered && word.version == version,
        "the peer's word",
        shown(&word, &seen)
    );
    hold!(
        seen.outcome == Some(EchOutcome::NotOffered),
        "our outcome",
        shown(&word, &seen)
    );
    Ok(())
}

fn resumption(lab: &Lab, peer: Peer) -> Outcome {
    let key = our_key(suite::X25519)?;
    let client = PeerClient {
        resume: true,
        ..PeerClient::offering(&list_of(&key)?)
    };
    let at = Listener::start(lab, vec![key], Vec::new(), false)?;
    let both = run(lab, peer, &at, &client)?;
    hold!(both.len() == 2, "two connections", both.len());
    for ((word, seen), resumed) in both.iter().zip([false, true]) {
        hold_accepted(word, seen, Some(PUBLIC_NAME))?;
        hold!(
            word.resumed == resumed && seen.resumed == resumed,
            "resumption",
            shown(word, seen)
        );
    }
    Ok(())
}

/// RFC 9849 §7.1: an inner hello that offers TLS 1.2 is an illegal_parameter.
fn inner_tls12(lab: &Lab, peer: Peer) -> Outcome {
    let key = our_key(suite::X25519)?;
    let client = PeerClient {
        also_tls12: true,
        ..PeerClient::offering(&list_of(&key)?)
    };
    let at = Listener::start(lab, vec![key], Vec::new(), false)?;
    let (word, seen) = run_one(lab, peer, &at, &client)?;
    hold!(!word.answered, "no answer", shown(&word, &seen));
    hold!(
        word.output.contains("fatal illegal_parameter"),
        "the alert",
        shown(&word, &seen)
    );
    Ok(())
}

fn other_outer_name(lab: &Lab, peer: Peer) -> Outcome {
    with_extra(
        lab,
        peer,
        &["-ech_outer_sni", "other.example"],
        Some("other.example"),
    )
}

fn no_outer_name(lab: &Lab, peer: Peer) -> Outcome {
    with_extra(lab, peer, &["-ech_no_outer_sni"], None)
}

fn with_extra(lab: &Lab, peer: Peer, extra: &[&'static str], outer: Option<&str>) -> Outcome {
    let key = our_key(suite::X25519)?;
    let client = PeerClient {
        extra: extra.to_vec(),
        ..PeerClient::offering(&list_of(&key)?)
    };
    let at = Listener::start(lab, vec![key], Vec::new(), false)?;
    let (word, seen) = run_one(lab, peer, &at, &client)?;
    hold_accepted(&word, &seen, outer)
}
