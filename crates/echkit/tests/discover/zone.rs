//! Scripted zones, and what is discovered in them.

use std::sync::LazyLock;
use std::time::Duration;

use data_encoding::BASE64;
use echkit::discover::{DiscoverOptions, Discovery, Endpoint, EndpointKind, discover_with};
use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::origin::Origin;
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_test::dns::{Reply, Script, Server, https, v4};

pub(super) const HTTPS: RecordType = RecordType::HTTPS;
pub(super) const A: RecordType = RecordType::A;
pub(super) const AAAA: RecordType = RecordType::AAAA;

pub(super) type Zone = Vec<(&'static str, RecordType, Reply)>;

pub(super) fn records(texts: &[&str]) -> Reply {
    Reply::Records(texts.iter().map(|text| https(text)).collect())
}

pub(super) fn address(last: u8) -> Reply {
    Reply::Records(vec![v4(last)])
}

/// A list that can be used.
pub(super) fn good_ech() -> String {
    BASE64.encode(&ECH_LIST)
}

/// A list of one config with an unknown version.
pub(super) fn odd_ech() -> String {
    BASE64.encode(b"\0\x06\xab\xcd\0\x02xx")
}

pub(super) static ECH_LIST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let params = KeyParams::new("public.test").unwrap().with_config_id(7);
    let key = EchKey::generate(&params).unwrap();
    EchConfigList::from(key.config().clone()).encode()
});

pub(super) async fn run(zone: Zone, url: &str) -> (Discovery, Server) {
    run_with(zone, url, &DiscoverOptions::default()).await
}

pub(super) async fn run_with(
    zone: Zone,
    url: &str,
    options: &DiscoverOptions,
) -> (Discovery, Server) {
    let server = Server::start(Script::new(zone)).await;
    let timeout = Duration::from_secs(20);
    let resolver_options = ResolverOptions::default().with_timeout(timeout);
    let resolver = Resolver::from_uri(&server.udp(), &resolver_options).unwrap();
    let origin = Origin::parse(url).unwrap();
    (discover_with(&resolver, &origin, options).await, server)
}

/// Kind, target, port and whether ECH can be used, in order.
pub(super) fn places(discovery: &Discovery) -> Vec<(EndpointKind, String, u16, bool)> {
    let place = |e: &Endpoint| (e.kind, e.target.to_string(), e.port, e.can_offer_ech());
    discovery.endpoints.iter().map(place).collect()
}
