#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use data_encoding::BASE64;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::config::EchConfigList;
use crate::key::{EchKey, KeyParams};

/// A list of one usable config.
static GOOD: LazyLock<String> = LazyLock::new(|| {
    let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
    BASE64.encode(&EchConfigList::from(key.config().clone()).encode())
});
/// A list of one config of an unknown version.
const OTHER: &str = "AATx8QAA";

const ECH: Capabilities<'_> = Capabilities {
    alpn: &[b"h2", b"http/1.1"],
    ech: true,
};
const PLAIN: Capabilities<'_> = Capabilities {
    alpn: &[b"h2", b"http/1.1"],
    ech: false,
};

fn rrset(texts: &[&str]) -> Rrset {
    let records = texts.iter().map(|text| text.parse().unwrap()).collect();
    Rrset {
        owner: "owner.example".parse().unwrap(),
        records,
    }
}

fn resolve(texts: &[&str], client: &Capabilities<'_>, seed: u64) -> Resolution {
    rrset(texts).resolve(client, &mut StdRng::seed_from_u64(seed))
}

fn services(
    texts: &[&str],
    client: &Capabilities<'_>,
) -> (Vec<Service>, Vec<Option<RecordUnusable>>) {
    match resolve(texts, client, 1) {
        Resolution::Services { services, records } => (
            services,
            records.into_iter().map(|record| record.why_not).collect(),
        ),
        other => panic!("{other:?}"),
    }
}

fn order(services: &[Service]) -> Vec<usize> {
    services.iter().map(|service| service.record).collect()
}

#[test]
fn priority_orders_and_chance_breaks_ties() {
    let (found, _) = services(&["3 c.", "1 a.", "2 b."], &PLAIN);
    assert_eq!(order(&found), [1, 2, 0]);
    let mut firsts = HashSet::new();
    for seed in 0..64 {
        let equal = ["5 a.", "5 b.", "5 c.", "1 z."];
        let Resolution::Services { services, .. } = resolve(&equal, &PLAIN, seed) else {
            panic!("services were expected");
        };
        assert_eq!(services[0].record, 3);
        firsts.insert(services[1].record);
    }
    assert_eq!(firsts, HashSet::from([0, 1, 2]));
}

#[test]
fn an_alias_wins_over_services_and_chance_picks_among_aliases() {
    let mut targets = HashSet::new();
    for seed in 0..64 {
        match resolve(&["1 . alpn=h2", "0 a.", "0 b."], &ECH, seed) {
            Resolution::Alias { target } => targets.insert(target.to_string()),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(targets, HashSet::from(["a".to_owned(), "b".to_owned()]));
    let Resolution::Unavailable { records } = resolve(&["0 .", "1 . alpn=h2"], &ECH, 0) else {
        panic!("an alias to the root was expected");
    };
    let why_not: Vec<_> = records.into_iter().map(|record| record.why_not).collect();
    assert_eq!(
        why_not,
        [
            Some(RecordUnusable::ServiceUnavailable),
            Some(RecordUnusable::BesideAlias)
        ]
    );
    assert_eq!(resolve(&[], &ECH, 0), Resolution::Empty);
}

#[test]
fn a_dot_is_the_owner_and_the_default_alpn_is_added() {
    let (found, _) = services(
        &["1 . alpn=h2 port=8443 ipv4hint=192.0.2.1 ipv6hint=::1"],
        &PLAIN,
    );
    let service = &found[0];
    assert_eq!(service.target.to_string(), "owner.example");
    assert_eq!(service.port, Some(8443));
    assert_eq!(service.alpn, [&b"h2"[..], b"http/1.1"]);
    assert_eq!(service.hints.len(), 2);
    let (found, _) = services(&["1 . alpn=h2 no-default-alpn"], &PLAIN);
    assert_eq!(found[0].alpn, [b"h2"]);
    let (found, _) = services(&["1 ."], &PLAIN);
    assert_eq!(found[0].alpn, [b"http/1.1"]);
}

#[test]
fn incompatible_records_are_passed_over_with_their_reason() {
    let (found, why_not) = services(
        &[
            "1 . mandatory=key700 key700=x",
            "1 . alpn=h3 no-default-alpn",
            "1 . port=0",
            &format!("1 . mandatory=ech ech={OTHER}"),
            "1 . mandatory=alpn,port alpn=h2 port=1",
            "1 . key700=x",
            &format!("1 . mandatory=ech ech={}", *GOOD),
        ],
        &ECH,
    );
    assert_eq!(
        order(&found).into_iter().collect::<HashSet<_>>(),
        HashSet::from([4, 5, 6])
    );
    assert_eq!(
        why_not[0],
        Some(RecordUnusable::MandatoryUnknown(vec![SvcParamKey(700)]))
    );
    assert_eq!(
        why_not[1],
        Some(RecordUnusable::NoCommonAlpn(vec![b"h3".to_vec()]))
    );
    assert_eq!(why_not[2], Some(RecordUnusable::PortZero));
    assert_eq!(why_not[3], Some(RecordUnusable::MandatoryEchUnusable));
    assert!(why_not[0].as_ref().unwrap().to_string().contains("key700"));
    assert!(why_not[1].as_ref().unwrap().to_string().contains("h3"));
}

#[test]
fn a_client_without_ech_does_not_know_the_key() {
    let record = format!("1 . mandatory=ech ech={}", *GOOD);
    let (found, why_not) = services(&[&record], &PLAIN);
    assert!(found.is_empty());
    assert_eq!(
        why_not[0],
        Some(RecordUnusable::MandatoryUnknown(vec![SvcParamKey::ECH]))
    );
}

#[test]
fn usable_ech_comes_first_whatever_the_priority() {
    let (other, good) = (format!("2 b. ech={OTHER}"), format!("3 c. ech={}", *GOOD));
    let (found, _) = services(&["1 a.", &other, &good], &ECH);
    assert_eq!(order(&found), [2, 0, 1]);
    let (found, _) = services(&["1 a.", &other, &good], &PLAIN);
    assert_eq!(order(&found), [0, 1, 2]);
}

#[test]
fn reliance_needs_ech_in_every_compatible_record() {
    let (a, b) = (format!("1 a. ech={}", *GOOD), format!("2 b. ech={OTHER}"));
    let reliant = |texts: &[&str]| is_svcb_reliant(&services(texts, &ECH).0);
    assert!(
        reliant(&[&a, &b]),
        "a config that cannot be used still counts"
    );
    assert!(!reliant(&[&a, "2 b."]));
    assert!(
        reliant(&[&a, "2 b. alpn=h3 no-default-alpn"]),
        "incompatible ones do not count"
    );
    assert!(
        !reliant(&["2 b. alpn=h3 no-default-alpn"]),
        "nothing to rely on"
    );
}

#[test]
fn the_configs_of_a_record_are_judged_once_and_travel_with_its_endpoint() {
    let (usable, odd) = (format!("1 . ech={}", *GOOD), format!("2 . ech={OTHER}"));
    let Resolution::Services { services, records } = resolve(&[&usable, &odd], &ECH, 1) else {
        panic!("services were expected");
    };
    for service in &services {
        let judged = records[service.record].ech.as_ref().unwrap();
        let travels = service.ech.as_ref().unwrap();
        assert_eq!(travels, judged);
        // The same memory: a second judgement would have its own.
        assert!(std::ptr::eq(travels.list(), judged.list()));
    }
    assert_eq!(
        services[0].ech.as_ref().unwrap().chosen().unwrap().index(),
        0
    );
    assert!(!services[1].can_offer_ech());
    assert_eq!(services[1].ech.as_ref().unwrap().verdicts().len(), 1);
    // A client without ECH chooses nothing, whatever the list.
    let (services, _) = self::services(&[&usable], &PLAIN);
    assert!(services[0].ech.is_some() && !services[0].can_offer_ech());
}

#[test]
fn hints_come_in_random_order_ipv6_first_and_in_bounded_number() {
    let v4: Vec<_> = (0..1000u32).map(Ipv4Addr::from).collect();
    let v6: Vec<_> = (0..1000u128).map(Ipv6Addr::from).collect();
    let mut set = rrset(&["1 ."]);
    let mut firsts = HashSet::new();
    for seed in 0..32 {
        set.records[0].params.ipv4hint.clone_from(&v4);
        set.records[0].params.ipv6hint.clone_from(&v6);
        let resolution = set.resolve(&PLAIN, &mut StdRng::seed_from_u64(seed));
        let Resolution::Services { services, .. } = resolution else {
            panic!("services were expected");
        };
        let hints = &services[0].hints;
        assert_eq!(hints.len(), 2 * MAX_HINTS);
        assert!(hints[..MAX_HINTS].iter().all(IpAddr::is_ipv6));
        assert!(hints[MAX_HINTS..].iter().all(IpAddr::is_ipv4));
        firsts.insert((hints[0], hints[MAX_HINTS]));
    }
    assert!(firsts.len() > 16, "{}", firsts.len());
}

#[test]
fn one_malformed_record_spoils_the_set() {
    let owner: DomainName = "owner.example".parse().unwrap();
    let error = Rrset::parse(owner, [&b"\0\x01\0"[..], b"\0\x01\0\0"]).unwrap_err();
    assert_eq!(error.index, 1);
    assert!(error.to_string().contains("record 2"));
}

proptest! {
    #[test]
    fn every_record_is_either_an_endpoint_or_has_a_reason(
        picks in prop::collection::vec(0usize..6, 1..12), seed: u64,
    ) {
        let good = format!("4 . ech={}", *GOOD);
        let kinds = ["1 a.", "2 b. alpn=h3 no-default-alpn", "3 c. port=0", &good,
            "4 d. mandatory=key9 key9", "9 ."];
        let texts: Vec<_> = picks.iter().map(|pick| kinds[*pick]).collect();
        let Resolution::Services { services, records } = resolve(&texts, &ECH, seed) else {
            return Err(TestCaseError::fail("services were expected"));
        };
        let mut used: Vec<_> = order(&services);
        used.sort_unstable();
        let compatible: Vec<_> =
            (0..texts.len()).filter(|index| records[*index].why_not.is_none()).collect();
        prop_assert_eq!(used, compatible);
        for pair in services.windows(2) {
            let rank = |s: &Service| (!s.can_offer_ech(), s.priority);
            prop_assert!(rank(&pair[0]) <= rank(&pair[1]));
        }
    }
}
