//! What is reported, and from where.

use echkit::discover::{DiscoverOptions, DnsReport, discover_with};
use echkit::dns::Resolver;
use echkit::origin::Origin;

use super::zone::{A, HTTPS, address, good_ech, records, run};

#[tokio::test]
async fn the_report_has_the_agreed_shape() {
    let ech = good_ech();
    let zone = vec![
        ("a.test", A, address(1)),
        (
            "a.test",
            HTTPS,
            records(&[&format!("1 . alpn=h2 port=18443 ech={ech}")]),
        ),
    ];
    let (found, server) = run(zone, "https://a.test").await;
    let json = serde_json::to_value(DnsReport::from(&found)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "resolver": server.udp(), "proxy": null, "protected": false, "query_name": "a.test",
            "aliases": [], "https": "found", "svcb_reliant": true,
            "records": [{
                "priority": 1, "target": ".", "port": 18443, "alpn": ["h2"],
                "no_default_alpn": false, "ipv4hint": [], "ipv6hint": [], "ech": ech,
                "usable": true, "configs": [{ "config_id": 7, "why_not": null }],
                "why_not": null,
            }],
            "https_upgrade": false, "warnings": [],
        })
    );
}

#[tokio::test]
async fn discovery_may_run_on_any_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let resolver = Resolver::system();
    let origin = Origin::parse("https://127.0.0.1").unwrap();
    let options = DiscoverOptions::default();
    let found = is_send(discover_with(&resolver, &origin, &options)).await;
    assert_eq!(found.endpoints.len(), 1);
}
