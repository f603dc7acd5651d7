//! `ech publish` at a real Knot and a real BIND.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bed::Ended;
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::svcb::Record;
use publish_bed::{KEY, NameServer, OTHER_KEY, SITE, Software, Web, origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod bed;
mod publish_bed;

/// A zone at one DNS server, and the server with ECH that it leads to.
struct Zone {
    dns: NameServer,
    web: Web,
}

impl Zone {
    async fn start(software: Software) -> Option<Self> {
        let web = Web::start().await;
        let dns = NameServer::start(software, &web.lines()).await?;
        Some(Self { dns, web })
    }

    /// The first publishing is made.
    async fn published(software: Software) -> Option<Self> {
        let zone = Self::start(software).await?;
        let ended = zone.publish(&[]).await;
        assert_eq!(ended.code, 0, "{software:?}: {ended:?}");
        Some(zone)
    }

    /// `ech publish` of the key that is published in the directory.
    async fn publish(&self, more: &[&str]) -> Ended {
        self.publish_at(self.dns.address, more).await
    }

    async fn publish_at(&self, server: SocketAddr, more: &[&str]) -> Ended {
        let (keys, tsig) = (self.web.path("keys"), self.web.path("update.key"));
        let mut arguments = vec![SITE, "--keys", &keys];
        if !more.contains(&"--tsig") && !more.contains(&"--dry-run") {
            arguments.extend(["--tsig", &tsig]);
        }
        arguments.extend(more);
        self.raw(server, &arguments).await
    }

    async fn raw(&self, server: SocketAddr, arguments: &[&str]) -> Ended {
        let (server, ca) = (server.to_string(), self.web.path("ca.pem"));
        let dns = format!("udp://{}", self.dns.address);
        let fixed = [
            "publish", "--server", &server, "--dns", &dns, "--cacert", &ca,
        ];
        bed::run(&[&fixed[..], arguments].concat()).await
    }

    async fn records(&self) -> Vec<Record> {
        self.dns.records(SITE).await
    }

    /// The list that DNS has.
    async fn list(&self) -> Option<EchConfigList> {
        self.records().await[0].params.ech.clone()
    }

    /// A client that knows only the name has ECH accepted.
    async fn assert_accepted(&self) {
        let client = self.web.client(self.dns.address);
        let connection = client.connect(&origin(), &[b"http/1.1"]).await.unwrap();
        assert_eq!(connection.report().ech.status.to_string(), "accepted");
    }

    fn key_file(&self, name: &str, text: &str) -> String {
        let path = self.web.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn last_line(ended: &Ended) -> &str {
    ended.stderr.lines().last().unwrap_or_default()
}

/// A list that no server has the key of.
fn foreign_list() -> EchConfigList {
    let key = EchKey::generate(&KeyParams::new("public.test").unwrap()).unwrap();
    EchConfigList::from(key.config().clone())
}

/// A server in front of the DNS server, which does with the nth update what it is told.
async fn before_updates<F, R>(to: SocketAddr, on_update: F) -> SocketAddr
where
    F: Fn(usize) -> R + Send + Sync + 'static,
    R: Future<Output = Fate> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let updates = AtomicUsize::new(0);
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let length = client.read_u16().await.unwrap();
            let mut message = vec![0; length.into()];
            client.read_exact(&mut message).await.unwrap();
            let is_update = message[2] >> 3 == 5;
            let fate = match is_update {
                true => on_update(updates.fetch_add(1, Ordering::SeqCst)).await,
                false => Fate::Pass,
            };
            if fate == Fate::Lose {
                continue;
            }
            let mut server = TcpStream::connect(to).await.unwrap();
            let framed = [&length.to_be_bytes()[..], &message].concat();
            server.write_all(&framed).await.unwrap();
            let mut response = vec![0; server.read_u16().await.unwrap().into()];
            server.read_exact(&mut response).await.unwrap();
            if fate == Fate::LoseResponse {
                continue;
            }
            if fate == Fate::Forge {
                // NOERROR instead of what it was, or SERVFAIL instead of that.
                response[3] ^= 2;
            }
            let length = u16::try_from(response.len()).unwrap();
            let framed = [&length.to_be_bytes()[..], &response].concat();
            client.write_all(&framed).await.unwrap();
        }
    });
    address
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Lose,
    LoseResponse,
    Forge,
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ech_changes_and_a_client_that_knows_the_name_is_accepted() {
    for software in Software::ALL {
        let Some(zone) = Zone::start(software).await else {
            continue;
        };
        let before = zone.records().await;
        let printed = zone.publish(&["--dry-run", "--json"]).await;
        assert_eq!(printed.code, 0, "{printed:?}");
        assert_eq!(printed.json()["sites"][0]["action"], "printed");
        assert_eq!(zone.records().await, before, "printing sends nothing");
        let port = zone.dns.address.port().to_string();
        let resolver = format!("tcp://{}", zone.dns.address);
        let wait = [
            "--wait",
            "--resolver",
            &resolver,
            "--ns-port",
            &port,
            "--json",
        ];
        let ended = zone.publish(&wait).await;
        assert_eq!(ended.code, 0, "{software:?}: {ended:?}");
        let site = ended.json()["sites"][0].clone();
        assert_eq!(site["action"], "sent");
        assert_eq!(site["shown_by"].as_array().unwrap().len(), 2, "{site}");
        assert_eq!(site["accepted_by"].as_array().unwrap().len(), 1, "{site}");
        let list = zone.web.keys.load().unwrap().retry_configs().cloned();
        let after = zone.records().await;
        assert_eq!(after.len(), 2);
        for (mut old, new) in before.into_iter().zip(after) {
            old.params.ech = list.clone();
            assert_eq!(old, new, "{software:?}");
        }
        zone.assert_accepted().await;
        // Once more: there is nothing to send.
        let again = zone.publish(&["--json"]).await;
        assert_eq!(again.json()["sites"][0]["action"], "unchanged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_accepted_before_during_and_after_ten_rotations() {
    for software in Software::ALL {
        let Some(zone) = Zone::published(software).await else {
            continue;
        };
        zone.assert_accepted().await;
        let done = Arc::new(AtomicBool::new(false));
        // One resolver for all its connections, so that TTLs count.
        let client = zone.web.client(zone.dns.address);
        let visits = tokio::spawn({
            let done = done.clone();
            async move {
                let mut visits = 0;
                while !done.load(Ordering::SeqCst) {
                    let connection = client.connect(&origin(), &[b"http/1.1"]).await.unwrap();
                    assert_eq!(connection.report().ech.status.to_string(), "accepted");
                    visits += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                visits
            }
        });
        let hook = format!(
            "'{}' publish {SITE} --keys '{}' --tsig '{}' --server {} --dns udp://{} --cacert '{}'",
            env!("CARGO_BIN_EXE_ech"),
            zone.web.path("keys"),
            zone.web.path("update.key"),
            zone.dns.address,
            zone.dns.address,
            zone.web.path("ca.pem"),
        );
        let keys = zone.web.path("keys");
        let mut lists = vec![zone.list().await];
        while lists.len() <= 10 {
            let turn = [
                "rotate",
                &keys,
                "--once",
                "--json",
                "--every",
                "0.2",
                "--ttl",
                "1",
                "--retry-window",
                "5",
                "--lead",
                "0",
                "--publish-command",
                &hook,
            ];
            let ended = bed::run(&turn).await;
            assert_eq!(ended.code, 0, "{software:?}: {ended:?}");
            zone.web.reload();
            let list = zone.list().await;
            if lists.last() != Some(&list) {
                lists.push(list);
            }
        }
        done.store(true, Ordering::SeqCst);
        assert!(visits.await.unwrap() > 10, "{software:?}");
        zone.assert_accepted().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_update_keeps_the_old_key_and_says_why() {
    for software in Software::ALL {
        let Some(zone) = Zone::published(software).await else {
            continue;
        };
        let before = zone.list().await;
        let made = next_key(&zone).await;
        let secret = KEY.replace("c2VjcmV0c2VjcmV0", "d3Jvbmd3cm9uZ3dy");
        let name = KEY.replace("update.key", "unknown.key");
        // For a key that may not update the zone BIND says REFUSED, and Knot BADKEY.
        for (text, wanted) in [
            (secret.as_str(), "BADSIG"),
            (&name, "BADKEY"),
            (OTHER_KEY, ""),
        ] {
            let file = zone.key_file("bad.key", text);
            let ended = zone
                .publish(&["--tsig", &file, "--ech-config", &made])
                .await;
            assert_eq!(ended.code, 1, "{software:?}: {ended:?}");
            let line = last_line(&ended);
            assert!(line.contains(wanted) && line.contains(SITE), "{line}");
            assert!(
                !wanted.is_empty() || line.contains("REFUSED") || line.contains("BADKEY"),
                "{line}"
            );
            assert!(!ended.stderr.contains("c2VjcmV0") && !ended.stderr.contains("d3Jvbm"));
            assert_eq!(zone.list().await, before);
            zone.assert_accepted().await;
        }
        // A rotation whose publishing fails keeps its key.
        let keys = zone.web.path("keys");
        let turn = [
            "rotate",
            &keys,
            "--once",
            "--every",
            "0.05",
            "--lead",
            "0",
            "--ttl",
            "1",
            "--retry-window",
            "0",
            "--publish-command",
            "exit 1",
        ];
        assert_eq!(bed::run(&turn).await.code, 1);
        assert_eq!(
            zone.web.keys.load().unwrap().retry_configs().cloned(),
            before
        );
    }
}

/// The list of the key that is made and not published yet, which the server has loaded.
async fn next_key(zone: &Zone) -> String {
    let status = zone.web.keys.status().unwrap();
    let made = status.iter().find(|key| key.entry.state.as_str() == "made");
    let file = &made.unwrap().entry.file;
    format!("@{}", zone.web.path(&format!("keys/{file}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_update_is_sent_again_and_one_that_stays_lost_is_told() {
    for software in Software::ALL {
        let Some(zone) = Zone::published(software).await else {
            continue;
        };
        let (before, made) = (zone.list().await, next_key(&zone).await);
        let change = ["--ech-config", &made];
        let deaf = before_updates(zone.dns.address, |_| async { Fate::Lose }).await;
        let ended = zone.publish_at(deaf, &change).await;
        assert_eq!(ended.code, 7, "{software:?}: {ended:?}");
        assert!(
            last_line(&ended).contains("nothing was published"),
            "{ended:?}"
        );
        assert_eq!(zone.list().await, before);
        zone.assert_accepted().await;
        // Forged on the way: it does not count as made.
        let forger = before_updates(zone.dns.address, |_| async { Fate::Forge }).await;
        let wrong = zone.key_file("bad.key", OTHER_KEY);
        let ended = zone
            .publish_at(forger, &["--tsig", &wrong, "--ech-config", &made])
            .await;
        assert_eq!(ended.code, 1, "{software:?}: {ended:?}");
        assert_eq!(zone.list().await, before);
        // Lost once on the way there, and once on the way back.
        let lossy = before_updates(zone.dns.address, |nth| async move {
            match nth {
                0 => Fate::Lose,
                1 => Fate::LoseResponse,
                _ => Fate::Pass,
            }
        })
        .await;
        let ended = zone.publish_at(lossy, &change).await;
        assert_eq!(ended.code, 0, "{software:?}: {ended:?}");
        assert_ne!(zone.list().await, before);
        zone.assert_accepted().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_in_between_is_kept_and_told() {
    for software in Software::ALL {
        let Some(zone) = Zone::published(software).await else {
            continue;
        };
        let made = next_key(&zone).await;
        let edits = before_updates(zone.dns.address, {
            let (server, tsig) = (zone.dns.address, zone.web.path("update.key"));
            move |_| {
                let arguments = [
                    "publish",
                    SITE,
                    "--no-check",
                    "--ttl",
                    "1",
                    "--tsig",
                    &tsig,
                    "--server",
                    &server.to_string(),
                    "--dns",
                    &format!("udp://{server}"),
                    "--ech-config",
                    &foreign_list().to_base64(),
                ]
                .map(str::to_owned);
                async move {
                    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    assert_eq!(bed::run(&arguments).await.code, 0);
                    Fate::Pass
                }
            }
        })
        .await;
        let before = zone.list().await;
        let ended = zone.publish_at(edits, &["--ech-config", &made]).await;
        assert_eq!(ended.code, 1, "{software:?}: {ended:?}");
        let line = last_line(&ended);
        assert!(
            line.contains(SITE) && line.contains("changed meanwhile"),
            "{line}"
        );
        let edited = zone.list().await;
        assert_ne!(edited, before, "the edit is kept");
        let records = zone.records().await;
        assert!(records.iter().all(|record| record.params.ech == edited));
        // The way back leads from what was published, which is not there any more.
        let ended = zone.publish(&["--rollback"]).await;
        assert_eq!(ended.code, 1);
        assert!(
            last_line(&ended).contains("another program edited them"),
            "{ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_puts_back_record_and_key_and_a_second_one_undoes_it() {
    for software in Software::ALL {
        let Some(zone) = Zone::published(software).await else {
            continue;
        };
        let first = zone.list().await;
        let keys = zone.web.path("keys");
        let hook = format!(
            "'{}' publish {SITE} --keys '{keys}' --tsig '{}' --server {} --dns udp://{} --cacert '{}'",
            env!("CARGO_BIN_EXE_ech"),
            zone.web.path("update.key"),
            zone.dns.address,
            zone.dns.address,
            zone.web.path("ca.pem")
        );
        let turn = [
            "rotate",
            &keys,
            "--once",
            "--every",
            "1",
            "--lead",
            "0",
            "--ttl",
            "1",
            "--retry-window",
            "30",
            "--keep",
            "9",
            "--publish-command",
            &hook,
        ];
        let mut second = first.clone();
        while second == first {
            let ended = bed::run(&turn).await;
            assert_eq!(ended.code, 0, "{software:?}: {ended:?}");
            second = zone.list().await;
        }
        zone.web.reload();
        let published = || zone.web.keys.load().unwrap().retry_configs().cloned();
        for list in [&first, &second] {
            let ended = zone.publish(&["--rollback"]).await;
            assert_eq!(ended.code, 0, "{software:?}: {ended:?}");
            assert_eq!(zone.list().await, *list);
            assert_eq!(published(), *list, "the directory agrees with DNS");
            zone.web.reload();
            zone.assert_accepted().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_the_server_does_not_accept_is_not_published_nor_is_the_name_shown() {
    let Some(zone) = Zone::published(Software::Knot).await else {
        return;
    };
    let before = zone.list().await;
    let tsig = zone.web.path("update.key");
    let list = foreign_list().to_base64();
    let arguments = [SITE, "--ech-config", &list, "--tsig", &tsig];
    let ended = zone.raw(zone.dns.address, &arguments).await;
    assert_eq!(ended.code, 101, "{ended:?}");
    assert!(
        last_line(&ended).contains("nothing was published"),
        "{ended:?}"
    );
    assert_eq!(zone.list().await, before);

    // A server that hangs up after the hello: the name was not in it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut hello = vec![0; 4096];
        let length = tcp.read(&mut hello).await.unwrap();
        hello.truncate(length);
        hello
    });
    let lines = format!("hidden-site 1 IN HTTPS 1 . port={port} ipv4hint=127.0.0.1\n");
    let dns = NameServer::start(Software::Knot, &lines).await.unwrap();
    let zone = Zone { dns, web: zone.web };
    let ended = zone.publish(&[]).await;
    assert_ne!(ended.code, 0, "{ended:?}");
    assert_eq!(zone.list().await, None);
    let hello = heard.await.unwrap();
    assert!(hello.len() > 100 && !echkit_test::contains(&hello, SITE));
    assert!(echkit_test::contains(&hello, "public.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_and_names_who_lags() {
    let web = Web::start().await;
    // The second server is at a port where nothing listens.
    let lines = format!("@ 60 IN NS ns2\nns2 60 IN A 127.0.0.2\n{}", web.lines());
    let Some(dns) = NameServer::start(Software::Knot, &lines).await else {
        return;
    };
    let zone = Zone { dns, web };
    let port = zone.dns.address.port().to_string();
    let wait = ["--wait", "--max-time", "5", "--ns-port", &port];
    let ended = zone.publish(&wait).await;
    assert_eq!(ended.code, 28, "{ended:?}");
    let line = last_line(&ended);
    assert!(line.contains("ns2.zone.test (127.0.0.2:"), "{line}");
    assert!(!line.contains("127.0.0.1:"), "{line}");
    zone.assert_accepted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_refused_with_the_name_that_they_lead_to() {
    let Some(zone) = Zone::start(Software::Knot).await else {
        return;
    };
    let keys = zone.web.path("keys");
    for alias in ["alias.zone.test", "cname.zone.test"] {
        let ended = zone.raw(zone.dns.address, &[alias, "--keys", &keys]).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        let line = last_line(&ended);
        assert!(line.contains(alias) && line.contains(SITE), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_gets_the_record_and_a_port_has_its_own_owner() {
    let Some(zone) = Zone::start(Software::Bind).await else {
        return;
    };
    let (keys, log) = (zone.web.path("keys"), zone.web.path("log"));
    let hook = format!(
        "printf '%s|' \"$ECH_OWNER\" \"$ECH_ZONE\" \"$ECH_TTL\" \"$ECH_RECORDS\" > '{log}'"
    );
    let site = format!("{SITE}:8443");
    let arguments = [
        &site,
        "--keys",
        &keys,
        "--exec",
        &hook,
        "--no-check",
        "--alpn",
        "h2",
    ];
    let ended = zone.raw(zone.dns.address, &arguments).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = std::fs::read_to_string(&log).unwrap();
    let list = zone
        .web
        .keys
        .load()
        .unwrap()
        .retry_configs()
        .unwrap()
        .to_base64();
    let owner = format!("_8443._https.{SITE}.");
    assert_eq!(
        told,
        format!("{owner}|zone.test.|300|1 {SITE}. alpn=h2 ech={list}|")
    );
    let failing = [&site, "--keys", &keys, "--exec", "exit 3", "--no-check"];
    let ended = zone.raw(zone.dns.address, &failing).await;
    assert_eq!(ended.code, 1);
    assert!(last_line(&ended).contains("--exec failed"), "{ended:?}");
}
