//! The cases of the testbed with a peer in place of each case's server.
//!
//! DNS, names, ports and expectations are the testbed's; its server hands every connection over
//! to the peer, which has the same keys and certificates, and captures what the client sends.

use data_encoding::HEXLOWER;
use echkit::Client;
use echkit::dns::{Resolver, ResolverOptions};
use echkit::policy::EchMode;
use echkit::tls::{ClientTls, Trust};
use echkit_interop::{EchWord, Page, Peer, PeerServer, Running, Sites};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_testbed::{Blueprint, Case, Expected, ExpectedStatus, Identity, ServerWord, Testbed};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cell::{Cell, Lab, Outcome, PEERS, Skip};

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for case in echkit_testbed::list() {
        for peer in PEERS {
            for mode in [EchMode::Prefer, EchMode::Require] {
                let case = case.name.clone();
                let name = format!("testbed_{peer}_server::{case}_{mode}");
                cells.push(match why_not(peer, &case) {
                    Some(why) => Cell::skipped(name, why),
                    None => Cell::new(name, move |lab| run(lab, peer, &case, mode)),
                });
            }
        }
    }
    cells
}

/// Which servers of the testbed a peer cannot replace.
fn why_not(peer: Peer, case: &str) -> Option<Skip> {
    match (peer, case) {
        (Peer::OpenSsl, "stale-retry") => Some(Skip::OpenSslHoldsItsKeys),
        (Peer::OpenSsl, "x-wing") => Some(Skip::OpenSslLacksXWing),
        _ => None,
    }
}

/// One fetch, and what came of it.
pub(crate) struct Fetched {
    exit_code: u8,
    pub(crate) report: Value,
    http_status: Option<u16>,
    pub(crate) body: Option<String>,
}

fn run(lab: &Lab, peer: Peer, name: &str, mode: EchMode) -> Outcome {
    let runtime = Runtime::new().map_err(text)?;
    runtime.block_on(async {
        let testbed = Testbed::builder()
            .only([name])
            .start()
            .await
            .map_err(text)?;
        let case = testbed.case(name).ok_or("the case is served")?;
        let expected = match mode {
            EchMode::Require => &case.expect.require,
            _ => &case.expect.prefer,
        };
        let blueprint = testbed.blueprint(name).map_err(text)?;
        let at = stand_in(lab, peer, &blueprint)?;
        testbed.hand_over(name, at.address).map_err(text)?;

        let client = client(&testbed, mode)?;
        let fetched = fetch(&client, case).await?;
        drop(client);
        testbed.quiet().await;
        let mut wrong = differences(peer, case, expected, &fetched)?;
        wrong.extend(on_the_wire(&testbed, case, expected));
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{}\n{:#}\n{}",
                wrong.join("\n"),
                fetched.report,
                at.output()
            )),
        }
    })
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Starts a peer as the case's server.
fn stand_in(lab: &Lab, peer: Peer, blueprint: &Blueprint) -> Result<Running, String> {
    stand_in_with(lab, peer, blueprint, true)
}

/// The same, with its keys in retry_configs or without.
pub(crate) fn stand_in_with(
    lab: &Lab,
    peer: Peer,
    blueprint: &Blueprint,
    retry: bool,
) -> Result<Running, String> {
    let folder = lab.folder()?;
    let write = |name: &str, what: &str| {
        let path = folder.join(name);
        std::fs::write(&path, what).map_err(text)?;
        Ok::<_, String>(path)
    };
    let files = |name: &str, identity: &Identity| {
        let chain = write(&format!("{name}.pem"), &identity.certificate)?;
        Ok::<_, String>((chain, write(&format!("{name}.key"), &identity.key)?))
    };
    let sites = Sites {
        secret_name: blueprint.host.clone(),
        public: files("public", &blueprint.public)?,
        secret: files("secret", &blueprint.site)?,
    };
    let mut server = PeerServer {
        hello_retry: blueprint.hello_retry,
        tls12: blueprint.tls12,
        alpn: blueprint.alpn.clone(),
        ..PeerServer::default()
    };
    let mut keys: Vec<_> = blueprint.keys.iter().map(|key| (key, key)).collect();
    // A peer keeps its keys. Published without its private key, one never opens a hello either.
    let strange = [never_held(blueprint)?, never_held(blueprint)?];
    if blueprint.new_key_each_time {
        keys = vec![(&strange[0], &strange[1])];
    }
    // OpenSSL reads every file of the folder.
    let key_folder = lab.folder()?;
    for (number, (published, held)) in keys.into_iter().enumerate() {
        match peer {
            _ if !retry => {
                let path = key_folder.join(format!("{number}.pem.ech"));
                std::fs::write(&path, key_file(published, held)?).map_err(text)?;
                server.decrypt_only.push(path);
            }
            Peer::OpenSsl => {
                let path = key_folder.join(format!("{number}.pem.ech"));
                std::fs::write(&path, key_file(published, held)?).map_err(text)?;
                server.keys.push(path);
            }
            Peer::Go => server.raw_keys.push(format!(
                "{}:{}",
                HEXLOWER.encode(published.config().encoded()),
                HEXLOWER.encode(&held.private_key_bytes().map_err(text)?)
            )),
        }
    }
    server.start_with(&lab.peers, peer, &sites).map_err(text)
}

fn never_held(blueprint: &Blueprint) -> Result<EchKey, String> {
    let params = KeyParams::new(&blueprint.public_name).map_err(text)?;
    EchKey::generate(&params).map_err(text)
}

/// A file of RFC 9934 with the config of one key and the private key of another, or of the same.
fn key_file(published: &EchKey, held: &EchKey) -> Result<String, String> {
    const CONFIG: &str = "-----BEGIN ECHCONFIG-----";
    let (published, held) = (
        published.to_pem().map_err(text)?,
        held.to_pem().map_err(text)?,
    );
    let (Some((_, config)), Some((private, _))) =
        (published.split_once(CONFIG), held.split_once(CONFIG))
    else {
        return Err("a key file without a config".to_owned());
    };
    Ok(format!("{private}{CONFIG}{config}"))
}

pub(crate) fn client(testbed: &Testbed, mode: EchMode) -> Result<Client, String> {
    let resolver =
        Resolver::from_uri(&testbed.dns_uri(), &ResolverOptions::default()).map_err(text)?;
    let trust = Trust::certificates([testbed.ca_der()]).map_err(text)?;
    Client::builder()
        .ech(mode)
        .resolver(resolver)
        .tls(ClientTls::builder().trust(trust))
        .build()
        .map_err(text)
}

pub(crate) async fn fetch(client: &Client, case: &Case) -> Result<Fetched, String> {
    match client.get(&case.url).send().await {
        Ok(mut response) => {
            let body = response.bytes().await.map_err(text)?;
            Ok(Fetched {
                exit_code: 0,
                report: serde_json::to_value(response.report()).map_err(text)?,
                http_status: Some(response.status().as_u16()),
                body: Some(String::from_utf8_lossy(&body).into_owned()),
            })
        }
        Err(error) => Ok(Fetched {
            exit_code: echkit_cli::exit_code(error.kind()),
            report: serde_json::to_value(error.report()).map_err(text)?,
            http_status: None,
            body: None,
        }),
    }
}

/// Each way in which the fetch is not as the case says.
fn differences(
    peer: Peer,
    case: &Case,
    expected: &Expected,
    got: &Fetched,
) -> Result<Vec<String>, String> {
    let (report, ech) = (&got.report, &got.report["ech"]);
    let mut pairs = vec![
        ("exit code", json!(expected.exit_code), json!(got.exit_code)),
        (
            "http status",
            json!(expected.http_status),
            json!(got.http_status),
        ),
        (
            "dns.https",
            json!(expected.https),
            report["dns"]["https"].clone(),
        ),
        ("ech.status", json!(expected.status), ech["status"].clone()),
        ("ech.source", json!(expected.source), ech["source"].clone()),
        (
            "ech.retries",
            json!(expected.retries),
            ech["retries"].clone(),
        ),
        (
            "there is an error",
            json!(expected.exit_code != 0),
            json!(!report["error"].is_null()),
        ),
    ];
    if let Some(body) = &got.body {
        let page = Page::read(peer, body)?;
        let word = match (expected.server, peer) {
            (Some(ServerWord::Accepted), _) => EchWord::Accepted,
            // Go's page does not tell a rejection from nothing.
            (Some(ServerWord::Rejected), Peer::OpenSsl) => EchWord::NotAccepted,
            _ => EchWord::NotOffered,
        };
        pairs.push((
            "the peer's word",
            json!(format!("{word:?}")),
            json!(format!("{:?}", page.ech)),
        ));
        pairs.push((
            "HelloRetryRequest",
            json!(expected.hello_retry),
            report["tls"]["hello_retry"].clone(),
        ));
        let accepted = expected.status == ExpectedStatus::Accepted;
        let outer = match accepted {
            true => &case.public_name,
            false => &case.host,
        };
        pairs.push(("outer SNI", json!(outer), ech["outer_sni"].clone()));
        if accepted {
            pairs.push(("inner SNI", json!(case.host), ech["inner_sni"].clone()));
            pairs.push((
                "the name that the peer served",
                json!(case.host),
                json!(page.server_name),
            ));
        }
    }
    Ok(pairs
        .into_iter()
        .filter(|(_, expected, got)| expected != got)
        .map(|(what, expected, got)| format!("{what}: expected {expected}, got {got}"))
        .collect())
}

/// What the wire shows that it must not, or does not show that it must.
fn on_the_wire(testbed: &Testbed, case: &Case, expected: &Expected) -> Vec<String> {
    let captures = testbed.captures();
    let mut wrong = Vec::new();
    if expected.silent != captures.is_empty() {
        wrong.push(format!("{} connections were made", captures.len()));
    }
    let shown = captures.iter().any(|capture| capture.contains(&case.host));
    if expected.hidden == shown {
        wrong.push(format!("the hidden name was readable: {shown}"));
    }
    if captures.iter().any(|capture| capture.truncated) {
        wrong.push("the capture is not whole".to_owned());
    }
    wrong
}
