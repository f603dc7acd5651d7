//! Flags of `ech publish` at a real Knot, each against what DNS has afterwards.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bed::Ended;
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use publish_bed::{NameServer, SITE, Software, Web};
use tokio::net::TcpStream;

mod bed;
mod publish_bed;

/// A second site of the zone, at the same server.
const SECOND: &str = "second-site.zone.test";

struct Zone {
    dns: NameServer,
    web: Web,
}

impl Zone {
    async fn start() -> Option<Self> {
        let web = Web::start().await;
        let lines = format!(
            "{}second-site 1 IN HTTPS 1 . port={} ipv4hint=127.0.0.1 alpn=h2\n\
             second-site 1 IN A 127.0.0.1\n",
            web.lines(),
            web.port
        );
        let dns = NameServer::start(Software::Knot, &lines).await?;
        Some(Self { dns, web })
    }

    /// `ech publish` with the zone's resolver and port, and no `--server`.
    async fn publish(&self, arguments: &[&str]) -> Ended {
        let (dns, ca) = (
            format!("udp://{}", self.dns.address),
            self.web.path("ca.pem"),
        );
        let port = self.dns.address.port().to_string();
        let fixed = [
            "publish",
            "--dns",
            &dns,
            "--ns-port",
            &port,
            "--cacert",
            &ca,
        ];
        bed::run(&[&fixed[..], arguments].concat()).await
    }

    async fn list(&self, name: &str) -> Option<EchConfigList> {
        self.dns.records(name).await[0].params.ech.clone()
    }

    fn published(&self) -> Option<EchConfigList> {
        self.web.keys.load().unwrap().retry_configs().cloned()
    }
}

fn some_list() -> EchConfigList {
    let key = EchKey::generate(&KeyParams::new("public.test").unwrap()).unwrap();
    EchConfigList::from(key.config().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_server_is_the_one_that_the_soa_record_names() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let (keys, tsig) = (zone.web.path("keys"), zone.web.path("update.key"));
    let ended = zone
        .publish(&[SITE, "--keys", &keys, "--tsig", &tsig, "--json"])
        .await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.json()["sites"][0]["action"], "sent");
    assert_eq!(zone.list(SITE).await, zone.published());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sites_share_a_list() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let (keys, tsig) = (zone.web.path("keys"), zone.web.path("update.key"));
    // The web server has no certificate for the second name: nothing is checked here.
    let sites = [SITE, SECOND, "--no-check", "--keys", &keys, "--tsig", &tsig];
    let ended = zone.publish(&[&sites[..], &["--json"]].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let document = ended.json();
    let told = document["sites"].as_array().unwrap();
    assert!(
        told.iter().all(|site| site["action"] == "sent") && told.len() == 2,
        "{document}"
    );
    for name in [SITE, SECOND] {
        assert_eq!(zone.list(name).await, zone.published(), "{name}");
    }
    let kept = zone.dns.records(SECOND).await;
    assert_eq!(
        kept[0].params.alpn,
        vec![b"h2".to_vec()],
        "what else is there stays"
    );
    // One file cannot hold the way back of two.
    let state = zone.web.path("state.json");
    let ended = zone
        .publish(&[&sites[..], &["--state", &state]].concat())
        .await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("--state"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_leads_back_without_a_key_directory() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let (state, tsig) = (zone.web.path("state.json"), zone.web.path("update.key"));
    let fixed = [SITE, "--no-check", "--tsig", &tsig, "--state", &state];
    let lists = [some_list(), some_list()];
    for list in &lists {
        let text = list.to_base64();
        let ended = zone
            .publish(&[&fixed[..], &["--ech-config", &text]].concat())
            .await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(zone.list(SITE).await.as_ref(), Some(list));
    }
    for back in [&lists[0], &lists[1]] {
        let ended = zone.publish(&[&fixed[..], &["--rollback"]].concat()).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(zone.list(SITE).await.as_ref(), Some(back));
    }
    // Without either there is no way back, and that is said.
    let ended = zone
        .publish(&[SITE, "--no-check", "--tsig", &tsig, "--rollback"])
        .await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("--state FILE"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_a_hook_hands_it_the_list_of_before() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let (state, log) = (zone.web.path("state.json"), zone.web.path("log"));
    // What a provider's interface would do: the records are put into DNS by the hook.
    let hook = format!(
        "printf '%s' \"$ECH_CONFIG_LIST\" > '{log}' && '{}' publish {SITE} --no-check --tsig '{}' \
         --server {} --dns udp://{} --ech-config \"$ECH_CONFIG_LIST\"",
        env!("CARGO_BIN_EXE_ech"),
        zone.web.path("update.key"),
        zone.dns.address,
        zone.dns.address,
    );
    let fixed = [SITE, "--no-check", "--exec", &hook, "--state", &state];
    let lists = [some_list().to_base64(), some_list().to_base64()];
    for list in &lists {
        let ended = zone
            .publish(&[&fixed[..], &["--ech-config", list]].concat())
            .await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), *list);
    }
    let ended = zone.publish(&[&fixed[..], &["--rollback"]].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), lists[0]);
    let now = zone.list(SITE).await.unwrap();
    assert_eq!(now.to_base64(), lists[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_asks_encrypted_resolvers_too() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    // DNS over TLS is DNS over TCP inside TLS (RFC 7858): this front is all that it takes.
    let site = zone.web.authority.issue(&["resolver.test"]);
    let config = rustls::ServerConfig::builder_with_provider(echkit::server::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(site.chain(), site.key.clone_key())
        .unwrap();
    let acceptor =
        echkit::server::Acceptor::new(Arc::new(config), echkit::server::EchKeys::default());
    let acceptor = acceptor.unwrap();
    let dns = zone.dns.address;
    let front = echkit_test::lab::listen(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            let (Ok(mut accepted), Ok(mut server)) =
                (acceptor.accept(tcp).await, TcpStream::connect(dns).await)
            else {
                return;
            };
            let _ = tokio::io::copy_bidirectional(&mut accepted.stream, &mut server).await;
        }
    })
    .await;
    let resolver = format!("tls://resolver.test:{}#127.0.0.1", front.port());
    let (keys, tsig) = (zone.web.path("keys"), zone.web.path("update.key"));
    let fixed = [
        SITE,
        "--keys",
        &keys,
        "--tsig",
        &tsig,
        "--json",
        "--wait",
        "--resolver",
    ];
    let ended = zone.publish(&[&fixed[..], &[&resolver]].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let shown = ended.json()["sites"][0]["shown_by"].to_string();
    assert!(shown.contains(&resolver), "{shown}");
    // One whose certificate is for another name shows nothing.
    let wrong = format!("tls://other.test:{}#127.0.0.1", front.port());
    let ended = zone
        .publish(&[&fixed[..], &[&wrong, "--max-time", "3"]].concat())
        .await;
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.contains(&wrong) || ended.stderr.contains("other.test"),
        "{ended:?}"
    );
}
