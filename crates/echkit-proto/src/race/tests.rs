//! Single rules, in simulated time.
#![allow(clippy::unwrap_used)]

use super::*;

const V6: Family = Family::V6;
const V4: Family = Family::V4;
const OWN: Target = Target::OWN;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn v6(last: u16) -> IpAddr {
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

fn v4(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn ech(target: Target) -> RaceEndpoint<()> {
    RaceEndpoint::new(target, 443, ()).with_ech()
}

fn plain(target: Target) -> RaceEndpoint<()> {
    RaceEndpoint::new(target, 443, ())
}

/// A race whose first three questions were sent.
fn race() -> Race<()> {
    race_with(RaceSettings::default())
}

fn race_with(settings: RaceSettings) -> Race<()> {
    let mut race = Race::new(settings);
    while race.poll(at(0)).is_some() {}
    race
}

/// What was started, failing on anything else.
#[track_caller]
fn started(race: &mut Race<()>, ms: u64) -> (AttemptId, IpAddr) {
    match race.poll(at(ms)) {
        Some(Action::Start(start)) => (start.attempt, start.address.ip()),
        other => panic!("{other:?}, wake at {:?}", race.wake_at()),
    }
}

/// Nothing to do now, and again at this time.
#[track_caller]
fn idle(race: &mut Race<()>, ms: u64, wake: Option<u64>) {
    assert_eq!(race.poll(at(ms)), None);
    assert_eq!(race.wake_at(), wake.map(at));
}

#[test]
fn asks_for_everything_at_once_https_first() {
    let mut race = Race::<()>::new(RaceSettings::default());
    let mut asked = Vec::new();
    while let Some(action) = race.poll(at(0)) {
        asked.push(action);
    }
    let expected = [
        Query::Https,
        Query::Addresses(OWN, V6),
        Query::Addresses(OWN, V4),
    ];
    assert_eq!(asked, expected.map(Action::<()>::Ask));
}

#[test]
fn a_family_that_is_not_wanted_is_neither_asked_for_nor_used() {
    let mut race = Race::new(RaceSettings {
        v6: false,
        ..RaceSettings::default()
    });
    assert_eq!(race.poll(at(0)), Some(Action::Ask(Query::Https)));
    let asked = race.poll(at(0));
    assert_eq!(asked, Some(Action::Ask(Query::Addresses(OWN, V4))));
    race.settle(at(1), [plain(OWN).with_hints([v6(1), v4(9)])]);
    race.addresses(at(1), OWN, V6, [v6(2)]);
    // The hint for IPv4 counts at once: nothing better is due.
    assert_eq!(started(&mut race, 1).1, v4(9));
    race.addresses(at(2), OWN, V4, [v4(1)]);
    assert_eq!(started(&mut race, 251).1, v4(1));
    idle(&mut race, 1000, None);
}

#[test]
fn nothing_starts_before_the_https_answer() {
    let mut race = race();
    race.addresses(at(10), OWN, V6, [v6(1)]);
    race.addresses(at(10), OWN, V4, [v4(1)]);
    idle(&mut race, 10, None);
    idle(&mut race, 30_000, None);
    // Late, absent, malformed or failed: the caller says what follows from it.
    race.settle(at(31_000), [plain(OWN)]);
    assert_eq!(started(&mut race, 31_000).1, v6(1));
}

#[test]
fn given_up_while_the_https_answer_is_out_nothing_ever_starts() {
    let mut race = race();
    race.addresses(at(10), OWN, V6, [v6(1)]);
    race.give_up();
    idle(&mut race, 20, None);
    assert_eq!(race.outcome(), Some(Outcome::Lost));
    race.settle(at(30), [ech(OWN)]);
    idle(&mut race, 30, None);
}

#[test]
fn both_families_take_turns_every_250_ms_ipv6_first() {
    let mut race = race();
    race.addresses(at(5), OWN, V4, [v4(1), v4(2)]);
    race.addresses(at(5), OWN, V6, [v6(1), v6(2), v6(3)]);
    race.settle(at(5), [ech(OWN)]);
    let expected = [v6(1), v4(1), v6(2), v4(2), v6(3)];
    for (turn, address) in (0..).zip(expected) {
        assert_eq!(started(&mut race, 5 + 250 * turn).1, address);
        let last = address == v6(3);
        idle(
            &mut race,
            5 + 250 * turn,
            (!last).then_some(255 + 250 * turn),
        );
    }
}

#[test]
fn the_better_family_has_50_ms_from_the_first_address() {
    // It comes in time.
    let mut race = self::race();
    race.settle(at(30), [ech(OWN)]);
    race.addresses(at(30), OWN, V4, [v4(1)]);
    idle(&mut race, 30, Some(80));
    race.addresses(at(40), OWN, V6, [v6(1)]);
    assert_eq!(started(&mut race, 40).1, v6(1));
    // It does not, and is tried when it comes.
    let mut race = self::race();
    race.settle(at(30), [ech(OWN)]);
    race.addresses(at(30), OWN, V4, [v4(1), v4(2)]);
    idle(&mut race, 79, Some(80));
    assert_eq!(started(&mut race, 80).1, v4(1));
    race.addresses(at(180), OWN, V6, [v6(1)]);
    idle(&mut race, 180, Some(330));
    assert_eq!(started(&mut race, 330).1, v6(1));
    assert_eq!(started(&mut race, 580).1, v4(2));
    // There is none: no reason to wait.
    let mut race = self::race();
    race.settle(at(30), [ech(OWN)]);
    race.addresses(at(30), OWN, V4, [v4(1)]);
    race.addresses(at(35), OWN, V6, []);
    assert_eq!(started(&mut race, 35).1, v4(1));
    // The wait was over before the HTTPS answer came.
    let mut race = self::race();
    race.addresses(at(30), OWN, V4, [v4(1)]);
    race.settle(at(200), [ech(OWN)]);
    assert_eq!(started(&mut race, 200).1, v4(1));
    // The other family needs no wait.
    let mut race = self::race();
    race.settle(at(30), [ech(OWN)]);
    race.addresses(at(30), OWN, V6, [v6(1)]);
    assert_eq!(started(&mut race, 30).1, v6(1));
}

#[test]
fn broken_ipv6_costs_one_delay() {
    let mut race = race();
    race.settle(at(20), [ech(OWN)]);
    race.addresses(at(20), OWN, V6, [v6(1), v6(2)]);
    race.addresses(at(20), OWN, V4, [v4(1)]);
    let (dead, _) = started(&mut race, 20);
    let (alive, address) = started(&mut race, 270);
    assert_eq!(address, v4(1));
    race.won(alive);
    assert_eq!(race.poll(at(300)), Some(Action::Cancel(dead)));
    idle(&mut race, 300, None);
    assert_eq!(race.outcome(), Some(Outcome::Won(alive)));
}

#[test]
fn the_next_starts_at_once_when_one_fails() {
    let mut race = race();
    race.settle(at(20), [ech(OWN)]);
    race.addresses(at(20), OWN, V6, [v6(1)]);
    race.addresses(at(20), OWN, V4, [v4(1)]);
    let (first, _) = started(&mut race, 20);
    idle(&mut race, 21, Some(270));
    race.failed(at(22), first, Failure::Unreachable);
    let (second, _) = started(&mut race, 22);
    race.failed(at(23), second, Failure::Unreachable);
    idle(&mut race, 23, None);
    assert_eq!(race.outcome(), Some(Outcome::Lost));
}

#[test]
fn hints_serve_until_answers_come_and_then_give_way() {
    let mut race = race();
    let alt = Target(1);
    race.settle(at(30), [ech(alt).with_hints([v6(1), v4(1), v6(8), v4(8)])]);
    for family in [V6, V4] {
        let asked = race.poll(at(30));
        assert_eq!(asked, Some(Action::Ask(Query::Addresses(alt, family))));
    }
    assert_eq!(started(&mut race, 30).1, v6(1));
    race.addresses(at(40), alt, V6, [v6(1), v6(2)]);
    race.addresses(at(40), alt, V4, []);
    // v6(8) is not in the answer, and IPv4 has none any more.
    assert_eq!(started(&mut race, 280).1, v6(2));
    idle(&mut race, 2000, None);
}

#[test]
fn hints_stay_where_dns_has_no_address_at_all() {
    let mut race = race();
    race.settle(at(30), [ech(OWN).with_hints([v4(1)])]);
    race.addresses(at(30), OWN, V6, []);
    race.addresses(at(30), OWN, V4, []);
    assert_eq!(started(&mut race, 30).1, v4(1));
}

#[test]
fn an_endpoint_that_comes_first_has_50_ms_to_get_addresses() {
    let alt = Target(1);
    for (answer, first) in [(Some(70), v6(7)), (None, v6(1))] {
        let mut race = race();
        race.addresses(at(20), OWN, V6, [v6(1)]);
        race.addresses(at(20), OWN, V4, []);
        race.settle(at(30), [ech(alt), ech(OWN)]);
        while let Some(Action::Ask(_)) = race.poll(at(30)) {}
        idle(&mut race, 30, Some(80));
        match answer {
            Some(ms) => {
                race.addresses(at(ms), alt, V6, [v6(7)]);
                assert_eq!(started(&mut race, ms).1, first);
                assert_eq!(started(&mut race, ms + 250).1, v6(1));
            }
            None => assert_eq!(started(&mut race, 80).1, first),
        }
    }
}

#[test]
fn endpoints_follow_in_their_order() {
    let mut race = race();
    let (one, two) = (Target(1), Target(2));
    race.settle(at(30), [ech(two), ech(one), plain(OWN)]);
    while race.poll(at(30)).is_some() {}
    for target in [OWN, one, two] {
        race.addresses(at(35), target, V6, [v6(target.0 as u16)]);
        race.addresses(at(35), target, V4, [v4(target.0 as u8)]);
    }
    for (turn, address) in (0..).zip([v6(2), v4(2), v6(1), v4(1)]) {
        assert_eq!(started(&mut race, 35 + 250 * turn).1, address);
    }
    idle(&mut race, 10_000, None);
}

#[test]
fn without_ech_waits_until_no_endpoint_with_it_can_be_reached() {
    let alt = Target(1);
    let mut race = race();
    race.settle(at(30), [ech(alt), plain(OWN)]);
    while race.poll(at(30)).is_some() {}
    race.addresses(at(30), OWN, V6, [v6(1)]);
    race.addresses(at(30), OWN, V4, [v4(1)]);
    // Answers about the endpoint with ECH are due.
    idle(&mut race, 5000, None);
    race.addresses(at(5000), alt, V6, []);
    idle(&mut race, 5000, None);
    race.addresses(at(5100), alt, V4, [v4(7)]);
    let (attempt, address) = started(&mut race, 5100);
    assert_eq!(address, v4(7));
    // It runs.
    idle(&mut race, 15_000, None);
    race.failed(at(15_100), attempt, Failure::Unreachable);
    assert_eq!(started(&mut race, 15_100).1, v6(1));
    assert_eq!(started(&mut race, 15_350).1, v4(1));
}

#[test]
fn without_ech_never_follows_once_ech_was_reached() {
    for failure in [Failure::Broken, Failure::Refused, Failure::Final] {
        let mut race = race();
        race.settle(at(30), [ech(OWN), plain(OWN)]);
        race.addresses(at(30), OWN, V6, [v6(1)]);
        race.addresses(at(30), OWN, V4, []);
        let (attempt, _) = started(&mut race, 30);
        race.failed(at(60), attempt, failure);
        idle(&mut race, 60, None);
        assert_eq!(race.outcome(), Some(Outcome::Lost), "{failure:?}");
    }
    // Not even where the failure itself does not tell.
    let mut race = race();
    race.settle(at(30), [ech(OWN), plain(OWN)]);
    race.addresses(at(30), OWN, V6, [v6(1)]);
    race.addresses(at(30), OWN, V4, []);
    let (attempt, _) = started(&mut race, 30);
    race.connected(at(40), attempt);
    race.failed(at(60), attempt, Failure::Unreachable);
    idle(&mut race, 60, None);
    assert_eq!(race.outcome(), Some(Outcome::Lost));
}

#[test]
fn a_late_address_with_ech_stops_what_runs_without() {
    let alt = Target(1);
    let mut race = race();
    race.settle(at(30), [ech(alt), plain(OWN)]);
    while race.poll(at(30)).is_some() {}
    for family in [V6, V4] {
        race.addresses(at(30), alt, family, []);
    }
    race.addresses(at(30), OWN, V6, [v6(1)]);
    let (without, _) = started(&mut race, 30);
    race.addresses(at(40), alt, V4, [v4(7)]);
    assert_eq!(race.poll(at(40)), Some(Action::Cancel(without)));
    let (with, address) = started(&mut race, 40);
    assert_eq!(address, v4(7));
    race.failed(at(50), with, Failure::Unreachable);
    // Which may run again.
    assert_eq!(started(&mut race, 50).1, v6(1));
}

#[test]
fn a_refusal_spares_the_other_addresses_of_the_endpoint() {
    let alt = Target(1);
    for (failure, next) in [(Failure::Refused, v6(7)), (Failure::Broken, v4(1))] {
        let mut race = race();
        race.settle(at(30), [ech(OWN), ech(alt)]);
        while race.poll(at(30)).is_some() {}
        race.addresses(at(30), OWN, V6, [v6(1)]);
        race.addresses(at(30), OWN, V4, [v4(1)]);
        race.addresses(at(30), alt, V6, [v6(7)]);
        race.addresses(at(30), alt, V4, []);
        let (attempt, _) = started(&mut race, 30);
        race.failed(at(60), attempt, failure);
        assert_eq!(started(&mut race, 60).1, next, "{failure:?}");
    }
}

#[test]
fn a_final_word_cancels_the_others() {
    let mut race = race();
    race.settle(at(30), [ech(OWN)]);
    race.addresses(at(30), OWN, V6, [v6(1)]);
    race.addresses(at(30), OWN, V4, [v4(1)]);
    let (first, _) = started(&mut race, 30);
    let (second, _) = started(&mut race, 280);
    race.failed(at(300), second, Failure::Final);
    assert_eq!(race.poll(at(300)), Some(Action::Cancel(first)));
    assert_eq!(race.outcome(), Some(Outcome::Lost));
    // What comes in late changes nothing.
    race.won(first);
    race.failed(at(301), first, Failure::Broken);
    assert_eq!(race.outcome(), Some(Outcome::Lost));
}

#[test]
fn the_same_place_without_ech_is_tried_once() {
    let mut race = race();
    race.settle(at(30), [plain(OWN), plain(OWN)]);
    race.addresses(at(30), OWN, V6, [v6(1)]);
    race.addresses(at(30), OWN, V4, []);
    let (attempt, _) = started(&mut race, 30);
    race.failed(at(40), attempt, Failure::Unreachable);
    idle(&mut race, 40, None);
    assert_eq!(race.outcome(), Some(Outcome::Lost));
}

#[test]
fn a_handshake_on_its_way_is_given_time() {
    let mut race = race();
    race.settle(at(0), [ech(OWN)]);
    race.addresses(at(0), OWN, V6, [v6(1)]);
    race.addresses(at(0), OWN, V4, [v4(1)]);
    let (attempt, _) = started(&mut race, 0);
    race.connected(at(200), attempt);
    idle(&mut race, 200, Some(600));
    // The retry's connection (RFC 9849 §6.1.6) is one more start, and progress too.
    race.restarted(at(590), attempt);
    idle(&mut race, 590, Some(840));
    race.connected(at(790), attempt);
    idle(&mut race, 790, Some(1190));
    // On a short way the usual delay holds.
    let mut race = self::race();
    race.settle(at(0), [ech(OWN)]);
    race.addresses(at(0), OWN, V6, [v6(1)]);
    race.addresses(at(0), OWN, V4, [v4(1)]);
    let (attempt, _) = started(&mut race, 0);
    race.connected(at(40), attempt);
    idle(&mut race, 40, Some(250));
}

#[test]
fn no_more_attempts_than_the_limit_run_at_once() {
    let mut race = race_with(RaceSettings {
        max_attempts: 2,
        ..RaceSettings::default()
    });
    race.settle(at(0), [ech(OWN)]);
    race.addresses(at(0), OWN, V6, (1..9).map(v6));
    race.addresses(at(0), OWN, V4, []);
    let (first, _) = started(&mut race, 0);
    started(&mut race, 250);
    idle(&mut race, 5000, None);
    race.failed(at(5000), first, Failure::Unreachable);
    started(&mut race, 5000);
    idle(&mut race, 9000, None);
}

#[test]
fn the_delay_between_attempts_has_a_lower_bound() {
    let mut race = race_with(RaceSettings {
        attempt_delay: Duration::ZERO,
        ..RaceSettings::default()
    });
    race.settle(at(0), [ech(OWN)]);
    race.addresses(at(0), OWN, V6, [v6(1), v6(2)]);
    race.addresses(at(0), OWN, V4, []);
    started(&mut race, 0);
    idle(&mut race, 0, Some(10));
}

#[test]
fn an_origin_without_any_address_is_lost() {
    let mut race = race();
    race.settle(at(0), [plain(OWN)]);
    race.addresses(at(10), OWN, V6, []);
    idle(&mut race, 10, None);
    assert_eq!(race.outcome(), None);
    race.addresses(at(20), OWN, V4, []);
    idle(&mut race, 20, None);
    assert_eq!(race.outcome(), Some(Outcome::Lost));
}

#[test]
fn each_start_brings_what_its_endpoint_carries() {
    let mut race = Race::new(RaceSettings::default());
    while race.poll(at(0)).is_some() {}
    let alt = Target(1);
    let first = RaceEndpoint::new(alt, 8443, "first").with_ech();
    race.settle(
        at(0),
        [first, RaceEndpoint::new(OWN, 443, "second").with_ech()],
    );
    while race.poll(at(0)).is_some() {}
    for (target, last) in [(OWN, 1), (alt, 2)] {
        race.addresses(at(0), target, V6, [v6(last)]);
        race.addresses(at(0), target, V4, []);
    }
    for (ms, value, address) in [(0, "first", v6(2)), (250, "second", v6(1))] {
        let Some(Action::Start(start)) = race.poll(at(ms)) else {
            panic!("{value}");
        };
        assert_eq!((start.value, start.address.ip()), (value, address));
    }
}

/// An IPv4 address of a list of thousands.
fn many(count: u32) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + number).into())
}

/// Lets every attempt fail at once, until the race is lost. Gives the number of starts.
fn fail_all(race: &mut Race<()>, ms: u64) -> usize {
    let mut starts = 0;
    while race.outcome().is_none() {
        match race.poll(at(ms)) {
            Some(Action::Start(start)) => {
                starts += 1;
                race.failed(at(ms), start.attempt, Failure::Unreachable);
            }
            Some(_) => {}
            None => assert!(race.outcome().is_some(), "wake at {:?}", race.wake_at()),
        }
    }
    starts
}

/// What each start may cost in looks at addresses: to find the next one, and to know that there
/// is one, over all endpoints of these tests.
const LOOKS_PER_START: usize = 8;

#[test]
fn thousands_of_addresses_cost_no_more_than_the_first_of_them() {
    for count in [64, 2000, 65_000] {
        let mut race = race();
        race.settle(at(0), [plain(OWN)]);
        race.addresses(at(0), OWN, V6, []);
        race.addresses(at(0), OWN, V4, many(count));
        assert_eq!(fail_all(&mut race, 0), MAX_ADDRESSES, "{count}");
        let looks = race.places.looked_at;
        assert!(looks <= LOOKS_PER_START * MAX_ADDRESSES, "{looks} looks");
    }
}

#[test]
fn thousands_of_hints_cost_no_more_than_the_first_of_them() {
    for count in [64, 16_000] {
        let mut race = race();
        race.settle(at(0), [ech(OWN).with_hints(many(count)), plain(OWN)]);
        for family in [V6, V4] {
            race.addresses(at(0), OWN, family, []);
        }
        // The endpoint without ECH has no address at all.
        assert_eq!(fail_all(&mut race, 0), MAX_ADDRESSES, "{count}");
        let looks = race.places.looked_at;
        assert!(looks <= LOOKS_PER_START * MAX_ADDRESSES, "{looks} looks");
    }
}

#[test]
fn one_address_thousands_of_times_is_one_address() {
    let mut race = race();
    race.settle(at(0), [plain(OWN)]);
    race.addresses(at(0), OWN, V6, []);
    let list = std::iter::repeat_n(v4(1), 2000).chain([v4(2)]);
    race.addresses(at(0), OWN, V4, list);
    assert_eq!(fail_all(&mut race, 0), 2);
}

#[test]
fn a_race_starts_a_bounded_number_of_attempts_whatever_the_zone_says() {
    for endpoint in [ech, plain] {
        let mut race = race();
        // As many records as are used, each with a target of its own and full of addresses.
        let targets = (1..=32).map(Target);
        race.settle(at(0), targets.clone().map(endpoint));
        while race.poll(at(0)).is_some() {}
        for target in targets {
            let start = 1000 * target.0 as u32;
            race.addresses(at(0), target, V4, many(100_000).skip(start as usize));
            race.addresses(at(0), target, V6, (0..2000).map(v6));
        }
        for family in [V6, V4] {
            race.addresses(at(0), OWN, family, []);
        }
        assert_eq!(fail_all(&mut race, 0), MAX_STARTS);
        let looks = race.places.looked_at;
        assert!(looks <= LOOKS_PER_START * MAX_STARTS, "{looks} looks");
    }
}

#[test]
fn the_bound_on_attempts_lets_the_last_of_them_win_and_starts_none_without_ech() {
    let alt = Target(1);
    let mut race = race();
    race.settle(
        at(0),
        [
            ech(OWN).with_hints(many(64)),
            ech(alt).with_hints(many(9000).skip(5000)),
            RaceEndpoint::new(Target(2), 443, ())
                .with_ech()
                .with_hints([v4(1)]),
            plain(OWN),
        ],
    );
    while let Some(Action::Ask(_)) = race.poll(at(0)) {}
    for target in [OWN, alt, Target(2)] {
        for family in [V6, V4] {
            race.addresses(at(100), target, family, []);
        }
    }
    let mut last = None;
    for number in 0..MAX_STARTS {
        let (attempt, _) = started(&mut race, 100);
        if number < MAX_STARTS - 1 {
            race.failed(at(100), attempt, Failure::Unreachable);
        }
        last = Some(attempt);
    }
    // One with ECH is untried, and nothing starts any more.
    idle(&mut race, 60_000, None);
    assert_eq!(race.outcome(), None);
    race.won(last.unwrap());
    assert_eq!(race.outcome(), Some(Outcome::Won(last.unwrap())));
}

#[test]
fn delays_without_end_overflow_nothing() {
    let mut race = race_with(RaceSettings {
        attempt_delay: Duration::MAX,
        resolution_delay: Duration::MAX,
        ..RaceSettings::default()
    });
    race.settle(at(1), [plain(OWN)]);
    race.addresses(at(1), OWN, V4, [v4(1), v4(2)]);
    assert_eq!(race.poll(at(1)), None);
    assert_eq!(race.wake_at(), Some(Duration::MAX));
    race.addresses(at(2), OWN, V6, []);
    let (attempt, _) = started(&mut race, 2);
    race.connected(Duration::MAX, attempt);
    race.restarted(Duration::MAX, attempt);
    assert_eq!(race.poll(at(3)), None);
    assert_eq!(race.wake_at(), Some(Duration::MAX));
}
