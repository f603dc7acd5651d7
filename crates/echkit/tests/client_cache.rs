//! Retry configs that serve later connections, and asking for them on purpose.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use echkit::cache::ConfigCache;
use echkit::clock::Clock;
use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::http::ClientBuilder;
use echkit::report::{EchReport, EchSource, EchStatus};
use echkit::server::{EchKeyHandle, EchKeys};
use echkit::{Client, EchMode};
use echkit_proto::config::{EchConfig, EchConfigList};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::contains;
use echkit_test::dns::{Reply, Script, Server, TTL, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, Relay, ech_key, list, serve, serve_ech_by_turns};

/// A site whose key is another than the one that its record may have.
struct Site {
    pki: Pki,
    relay: Relay,
    keys: EchKeyHandle,
    clock: Clock,
}

impl Site {
    async fn start() -> Self {
        let pki = Pki::new();
        let keys = EchKeyHandle::new(EchKeys::new(vec![ech_key()]).unwrap());
        let names = [HIDDEN, PUBLIC];
        let server = serve_ech_by_turns(&pki, &names, &[false], keys.clone()).await;
        Self {
            relay: Relay::to(server).await,
            pki,
            keys,
            clock: Clock::by_hand(),
        }
    }

    /// DNS with a record that has this key.
    async fn publish(&self, key: &EchKey) -> Server {
        let port = self.relay.address.port();
        let ech = list(key).to_base64();
        zone(Reply::Records(vec![https(&format!(
            "1 . port={port} ech={ech}"
        ))]))
        .await
    }

    fn builder(&self, dns: &Server) -> ClientBuilder {
        let options = ResolverOptions::default().with_clock(self.clock.clone());
        Client::builder()
            .tls(self.pki.tls())
            .keep_alive(None)
            .resolver(Resolver::from_uri(&dns.udp(), &options).unwrap())
    }

    fn cache(&self) -> ConfigCache {
        ConfigCache::with_clock(self.clock.clone())
    }

    /// A cache that an earlier program left behind: `configs` for the record with `published`.
    fn cache_with(&self, published: &EchKey, configs: &EchConfigList) -> ConfigCache {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.json");
        let tomorrow = SystemTime::now() + Duration::from_secs(24 * 3600);
        let entry = serde_json::json!({
            "host": HIDDEN,
            "port": 443,
            "published": list(published).to_base64(),
            "configs": configs.to_base64(),
            "until": tomorrow.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
        });
        let document = serde_json::json!({ "version": 1, "entries": [entry] });
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).unwrap();
        file.write_all(document.to_string().as_bytes()).unwrap();
        let cache = ConfigCache::open_with_clock(&path, self.clock.clone()).unwrap();
        assert_eq!(cache.entries().len(), 1);
        cache
    }

    /// The URL of the site where no record gives its port.
    fn url(&self) -> String {
        format!("https://{HIDDEN}:{}/", self.relay.address.port())
    }
}

/// The zone of the hidden name: its address is 127.0.0.1.
async fn zone(records: Reply) -> Server {
    let address = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    Server::start(Script::new([
        (HIDDEN, RecordType::HTTPS, records),
        (HIDDEN, RecordType::A, address),
        (HIDDEN, RecordType::AAAA, Reply::NoData { soa: true }),
    ]))
    .await
}

async fn fetch(client: &Client, url: &str) -> EchReport {
    let mut response = client.get(url).send().await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), "hello");
    response.report().ech
}

/// Where the config came from, and how many retries it took; ECH must have been accepted.
async fn source(client: &Client) -> (EchSource, u32) {
    let ech = fetch(client, &format!("https://{HIDDEN}/")).await;
    assert_eq!(ech.status, EchStatus::Accepted, "{ech:?}");
    (ech.source, ech.retries)
}

#[tokio::test]
async fn a_retry_is_needed_once_while_the_record_lives() {
    for mode in [EchMode::Prefer, EchMode::Require] {
        let site = Site::start().await;
        let dns = site.publish(&ech_key()).await;
        let builder = site.builder(&dns).ech(mode);
        let client = builder.cache(site.cache()).build().unwrap();
        assert_eq!(source(&client).await, (EchSource::Retry, 1));
        for _ in 0..3 {
            assert_eq!(source(&client).await, (EchSource::Cache, 0));
        }
        let kept = client.connector().cache().entries();
        assert_eq!(
            (kept.len(), kept[0].host.as_str(), kept[0].port),
            (1, HIDDEN, 443)
        );
        assert!(kept[0].left <= Duration::from_secs(TTL.into()));
        site.clock.advance(Duration::from_secs(TTL.into()));
        assert_eq!(source(&client).await, (EchSource::Retry, 1));
        site.relay.assert_hidden(HIDDEN);
    }
}

#[tokio::test]
async fn another_record_is_asked_by_its_own_configs() {
    let site = Site::start().await;
    let cache = site.cache();
    let (old, new) = (ech_key(), ech_key());
    for (key, expected) in [
        (&old, (EchSource::Retry, 1)),
        (&old, (EchSource::Cache, 0)),
        (&new, (EchSource::Retry, 1)),
        (&old, (EchSource::Cache, 0)),
    ] {
        let dns = site.publish(key).await;
        let client = site.builder(&dns).cache(cache.clone()).build().unwrap();
        assert_eq!(source(&client).await, expected);
    }
}

#[tokio::test]
async fn a_rejection_of_kept_configs_is_handled_as_fresh() {
    let site = Site::start().await;
    let dns = site.publish(&ech_key()).await;
    let client = site.builder(&dns).cache(site.cache()).build().unwrap();
    assert_eq!(source(&client).await, (EchSource::Retry, 1));
    site.keys.store(EchKeys::new(vec![ech_key()]).unwrap());
    assert_eq!(source(&client).await, (EchSource::Retry, 1));
    assert_eq!(source(&client).await, (EchSource::Cache, 0));
    site.relay.assert_hidden(HIDDEN);
}

/// `key`'s config behind one that is well formed and cannot be sealed to: X25519 shares no secret
/// with a point of low order.
fn behind_one_of_low_order(key: &EchKey) -> EchConfigList {
    let mut contents = key.contents().clone();
    contents.config_id = key.config_id().wrapping_add(1);
    contents.public_key = vec![0; 32];
    let bad = EchConfig::try_from(contents).unwrap();
    EchConfigList::from_configs(vec![bad, key.config().clone()]).unwrap()
}

fn assert_gave_way(ech: &EchReport, source: EchSource, key: &EchKey) {
    assert_eq!((ech.status, ech.source), (EchStatus::Accepted, source));
    assert_eq!(ech.config_id, Some(key.config_id()));
    let told = |warning: &String| warning.contains("cannot be used");
    assert!(ech.warnings.iter().any(told), "{ech:?}");
}

#[tokio::test]
async fn a_cached_config_that_cannot_be_sealed_to_gives_way_to_the_next() {
    for mode in [EchMode::Prefer, EchMode::Require] {
        let site = Site::start().await;
        let key = site.keys.load().keys()[0].clone();
        let published = ech_key();
        let dns = site.publish(&published).await;
        let cache = site.cache_with(&published, &behind_one_of_low_order(&key));
        let client = site.builder(&dns).ech(mode).cache(cache).build().unwrap();
        let ech = fetch(&client, &format!("https://{HIDDEN}/")).await;
        assert_gave_way(&ech, EchSource::Cache, &key);
        site.relay.assert_hidden(HIDDEN);
    }
}

#[tokio::test]
async fn a_retry_config_that_cannot_be_sealed_to_gives_way_to_the_next() {
    for mode in [EchMode::Prefer, EchMode::Require] {
        let site = Site::start().await;
        let key = ech_key();
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let keys = keys.with_retry_configs(Some(behind_one_of_low_order(&key)));
        site.keys.store(keys.unwrap());
        let dns = site.publish(&ech_key()).await;
        let client = site.builder(&dns).ech(mode).cache(site.cache()).build();
        let client = client.unwrap();
        let ech = fetch(&client, &format!("https://{HIDDEN}/")).await;
        assert_gave_way(&ech, EchSource::Retry, &key);
        // It is kept as it was sent.
        let ech = fetch(&client, &format!("https://{HIDDEN}/")).await;
        assert_gave_way(&ech, EchSource::Cache, &key);
        site.relay.assert_hidden(HIDDEN);
    }
}

#[tokio::test]
async fn a_cached_config_with_the_hidden_name_outside_is_offered_in_prefer_alone() {
    for (mode, source) in [
        (EchMode::Require, EchSource::Dns),
        (EchMode::Prefer, EchSource::Cache),
    ] {
        let site = Site::start().await;
        let published = site.keys.load().keys()[0].clone();
        let exposing = EchKey::generate(&KeyParams::new(HIDDEN).unwrap()).unwrap();
        let both = vec![(*published).clone(), exposing.clone()];
        site.keys.store(EchKeys::new(both).unwrap());
        let dns = site.publish(&published).await;
        let cache = site.cache_with(&published, &list(&exposing));
        let client = site.builder(&dns).ech(mode).cache(cache).build().unwrap();
        let ech = fetch(&client, &format!("https://{HIDDEN}/")).await;
        assert_eq!((ech.status, ech.source), (EchStatus::Accepted, source));
        let warned = |warning: &String| warning.contains("the name that ECH must hide");
        assert_eq!(ech.warnings.iter().any(warned), mode == EchMode::Prefer);
        assert_eq!(site.relay.shows(HIDDEN), mode == EchMode::Prefer);
    }
}

#[tokio::test]
async fn without_a_cache_every_connection_is_retried() {
    let site = Site::start().await;
    let dns = site.publish(&ech_key()).await;
    let client = site.builder(&dns).no_cache().build().unwrap();
    for _ in 0..2 {
        assert_eq!(source(&client).await, (EchSource::Retry, 1));
    }
    assert!(client.connector().cache().entries().is_empty());
}

#[tokio::test]
async fn a_file_serves_the_next_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.json");
    let site = Site::start().await;
    let dns = site.publish(&ech_key()).await;
    for expected in [(EchSource::Retry, 1), (EchSource::Cache, 0)] {
        let cache = ConfigCache::open_with_clock(&path, site.clock.clone()).unwrap();
        let client = site.builder(&dns).cache(cache).build().unwrap();
        assert_eq!(source(&client).await, expected);
    }
    assert!(path.exists());
}

#[tokio::test]
async fn a_list_given_by_hand_leaves_nothing_behind() {
    let site = Site::start().await;
    let dns = site.publish(&ech_key()).await;
    let builder = site.builder(&dns).ech_config(list(&ech_key()));
    let client = builder.cache(site.cache()).build().unwrap();
    for _ in 0..2 {
        assert_eq!(source(&client).await, (EchSource::Retry, 1));
    }
    assert!(client.connector().cache().entries().is_empty());
}

#[tokio::test]
async fn a_server_without_a_record_is_asked_for_its_configs_on_request() {
    let site = Site::start().await;
    let dns = zone(Reply::NoData { soa: true }).await;
    // As GREASE, unless asked for.
    let client = site.builder(&dns).build().unwrap();
    assert_eq!(fetch(&client, &site.url()).await.status, EchStatus::Grease);
    let builder = site.builder(&dns).learn(true);
    let client = builder.cache(site.cache()).build().unwrap();
    let before = site.relay.captured().len();
    let first = fetch(&client, &site.url()).await;
    assert_eq!(
        (first.status, first.source, first.retries),
        (EchStatus::Accepted, EchSource::Learned, 1)
    );
    let second = fetch(&client, &site.url()).await;
    assert_eq!(
        (second.status, second.source, second.retries),
        (EchStatus::Accepted, EchSource::Cache, 0)
    );
    // The name was shown once, by the first of three connections.
    let shown: Vec<bool> = site.relay.captured()[before..]
        .iter()
        .map(|sent| contains(sent, HIDDEN))
        .collect();
    assert_eq!(shown, [true, false, false]);
}

#[tokio::test]
async fn a_server_that_has_nothing_to_teach_is_reached_with_grease() {
    let pki = Pki::new();
    let server = serve(pki.server(&[HIDDEN])).await;
    let dns = zone(Reply::NoData { soa: true }).await;
    let resolver = Resolver::from_uri(&dns.udp(), &ResolverOptions::default()).unwrap();
    let client = Client::builder()
        .tls(pki.tls())
        .resolver(resolver)
        .learn(true)
        .build()
        .unwrap();
    let ech = fetch(&client, &format!("https://{HIDDEN}:{}/", server.port())).await;
    assert_eq!(
        (ech.status, ech.source),
        (EchStatus::Grease, EchSource::None)
    );
    assert!(
        ech.warnings.iter().any(|warning| warning.contains("learn")),
        "{ech:?}"
    );
    assert!(client.connector().cache().entries().is_empty());
}

#[test]
fn learning_contradicts_every_mode_but_prefer() {
    for mode in [EchMode::Off, EchMode::Grease, EchMode::Require] {
        let error = Client::builder().ech(mode).learn(true).build().unwrap_err();
        assert!(error.to_string().contains("learn"), "{error}");
    }
    let error = Client::builder().retry(false).learn(true).build();
    assert!(error.is_err());
}
