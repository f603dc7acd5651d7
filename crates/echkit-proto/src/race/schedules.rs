//! Random schedules: whatever the network does, the rules hold. The judge here keeps its own books
//! and does not look into the race.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const SCHEDULES: u64 = 4000;

/// What happens at some time.
#[derive(Clone, Debug)]
enum Event {
    Settle,
    GiveUp,
    Answer(Target, Family, Vec<IpAddr>),
    Connected(AttemptId),
    Won(AttemptId),
    Failed(AttemptId, Failure),
    Wake,
}

/// A network with random delays and faults.
struct World {
    random: StdRng,
    settings: RaceSettings,
    /// Each carries its place in this list.
    endpoints: Vec<RaceEndpoint<usize>>,
    events: BTreeMap<(Duration, u32), Event>,
    serial: u32,
    // The judge's books.
    settled: bool,
    asked: BTreeSet<(Target, Family)>,
    answers: BTreeMap<(Target, Family), Vec<IpAddr>>,
    running: BTreeMap<AttemptId, Start<usize>>,
    tried: BTreeSet<(usize, SocketAddr)>,
    refused: BTreeSet<usize>,
    ech_reached: bool,
    last_start: Option<Duration>,
    last_failure: Option<Duration>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let targets = random.random_range(1..4);
        let endpoints = (0..random.random_range(0..5))
            .map(|index| {
                let target = Target(random.random_range(0..targets));
                let port = random.random_range(443..445);
                let hints = addresses(&mut random, 3, None);
                let endpoint = RaceEndpoint::new(target, port, index).with_hints(hints);
                match random.random_bool(0.6) {
                    true => endpoint.with_ech(),
                    false => endpoint,
                }
            })
            .collect::<Vec<_>>();
        let settings = RaceSettings {
            max_attempts: random.random_range(1..5),
            v6: random.random_bool(0.9),
            attempt_delay: Duration::from_millis(random.random_range(100..400)),
            ..RaceSettings::default()
        };
        Self {
            random,
            settings,
            endpoints,
            events: BTreeMap::new(),
            serial: 0,
            settled: false,
            asked: BTreeSet::new(),
            answers: BTreeMap::new(),
            running: BTreeMap::new(),
            tried: BTreeSet::new(),
            refused: BTreeSet::new(),
            ech_reached: false,
            last_start: None,
            last_failure: None,
        }
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((time, self.serial), event);
    }

    fn after(&mut self, now: Duration, most: u64, event: Event) {
        let delay = Duration::from_millis(self.random.random_range(0..most));
        self.at(now + delay, event);
    }

    fn ask(&mut self, now: Duration, query: Query) {
        match query {
            Query::Https => {
                let event = match self.random.random_bool(0.05) {
                    true => Event::GiveUp,
                    false => Event::Settle,
                };
                self.after(now, 800, event);
            }
            Query::Addresses(target, family) => {
                assert!(self.settings.allows(family), "not wanted");
                assert!(self.asked.insert((target, family)), "asked twice");
                let list = addresses(&mut self.random, 4, Some(family));
                self.after(now, 800, Event::Answer(target, family, list));
                if self.random.random_bool(0.1) {
                    // The answer changes under way.
                    let list = addresses(&mut self.random, 4, Some(family));
                    self.after(now, 3000, Event::Answer(target, family, list));
                }
            }
        }
    }

    fn start(&mut self, now: Duration, start: Start<usize>) {
        assert!(self.settled, "started before the HTTPS answer was settled");
        let endpoint = &self.endpoints[start.value];
        assert_eq!(endpoint.port, start.address.port());
        assert!(self.settings.allows(Family::of(&start.address.ip())));
        assert!(!self.refused.contains(&start.value), "it has refused");
        assert!(
            self.usable(start.value).contains(&start.address),
            "an address that was not given"
        );
        if !endpoint.ech {
            assert!(!self.ech_may_succeed(), "ECH may still succeed");
            assert!(!self.ech_reached, "an endpoint with ECH was reached");
        }
        if let Some(last) = self.last_start
            && self.last_failure.is_none_or(|failure| failure < last)
            && !self.running.is_empty()
        {
            assert!(now >= last + self.settings.attempt_delay, "too early");
        }
        assert!(
            self.tried.insert((start.value, start.address)),
            "tried twice"
        );
        let attempt = start.attempt;
        self.running.insert(attempt, start);
        assert!(self.running.len() <= self.settings.max_attempts);
        self.last_start = Some(now);
        self.fate(now, attempt);
    }

    fn fate(&mut self, now: Duration, attempt: AttemptId) {
        if self.random.random_bool(0.4) {
            // Refused at once, or blackholed until the caller's limit.
            let most = if self.random.random() { 50 } else { 10_000 };
            let event = Event::Failed(attempt, Failure::Unreachable);
            return self.after(now, most, event);
        }
        let connected = now + Duration::from_millis(self.random.random_range(0..300));
        self.at(connected, Event::Connected(attempt));
        let event = match self.random.random_range(0..8) {
            0 => Event::Failed(attempt, Failure::Final),
            1 | 2 => Event::Failed(attempt, Failure::Refused),
            3 | 4 => Event::Failed(attempt, Failure::Broken),
            _ => Event::Won(attempt),
        };
        self.after(connected, 2000, event);
    }

    /// The addresses of an endpoint that may be tried by what is known now.
    fn usable(&self, endpoint: usize) -> Vec<SocketAddr> {
        let place = &self.endpoints[endpoint];
        let found = |family| self.answers.get(&(place.target, family));
        let mut list: Vec<IpAddr> = Vec::new();
        for family in Family::BOTH {
            let hints = place.hints.iter().filter(|h| Family::of(h) == family);
            match (found(family), found(family.other())) {
                _ if !self.settings.allows(family) => {}
                (Some(known), _) if !known.is_empty() => list.extend(known),
                (Some(_), Some(other)) if !other.is_empty() => {}
                _ => list.extend(hints),
            }
        }
        list.iter()
            .map(|address| SocketAddr::new(*address, place.port))
            .collect()
    }

    /// By the letter: an attempt runs, an address is untried, or an answer is out.
    fn ech_may_succeed(&self) -> bool {
        let runs = self
            .running
            .values()
            .any(|start| self.endpoints[start.value].ech);
        runs || (0..self.endpoints.len()).any(|index| {
            let endpoint = &self.endpoints[index];
            let out = Family::BOTH.iter().any(|family| {
                self.settings.allows(*family)
                    && !self.answers.contains_key(&(endpoint.target, *family))
            });
            let untried = self
                .usable(index)
                .iter()
                .any(|address| !self.tried.contains(&(index, *address)));
            endpoint.ech && !self.refused.contains(&index) && (out || untried)
        })
    }

    fn run(mut self) -> (Option<Outcome>, usize) {
        let mut race = Race::new(self.settings);
        let mut now = Duration::ZERO;
        let mut wake = None;
        loop {
            while let Some(action) = race.poll(now) {
                match action {
                    Action::Ask(query) => self.ask(now, query),
                    Action::Start(start) => self.start(now, start),
                    Action::Cancel(attempt) => {
                        let start = self.running.remove(&attempt);
                        let start = start.expect("only what runs is cancelled");
                        if race.outcome().is_none() {
                            assert!(!self.endpoints[start.value].ech, "cancelled ECH");
                            self.tried.remove(&(start.value, start.address));
                            self.last_start = None;
                        }
                    }
                }
            }
            if race.wake_at() != wake {
                wake = race.wake_at();
                if let Some(time) = wake {
                    assert!(time > now, "woken for nothing");
                    self.at(time, Event::Wake);
                }
            }
            if race.outcome().is_some() {
                assert!(self.running.is_empty(), "left running");
                return (race.outcome(), self.tried.len());
            }
            let Some(((time, _), event)) = self.events.pop_first() else {
                return (None, self.tried.len());
            };
            now = time;
            self.happen(&mut race, now, event);
        }
    }

    fn happen(&mut self, race: &mut Race<usize>, now: Duration, event: Event) {
        match event {
            Event::Wake => {}
            Event::Settle => {
                self.settled = true;
                race.settle(now, self.endpoints.clone());
            }
            Event::GiveUp => race.give_up(),
            Event::Answer(target, family, list) => {
                self.answers.insert((target, family), list.clone());
                race.addresses(now, target, family, list);
            }
            Event::Connected(attempt) => {
                if let Some(start) = self.running.get(&attempt) {
                    self.ech_reached |= self.endpoints[start.value].ech;
                    race.connected(now, attempt);
                }
            }
            Event::Won(attempt) => {
                if self.running.remove(&attempt).is_some() {
                    race.won(attempt);
                    assert_eq!(race.outcome(), Some(Outcome::Won(attempt)));
                }
            }
            Event::Failed(attempt, failure) => {
                if let Some(start) = self.running.remove(&attempt) {
                    self.last_failure = Some(now);
                    if failure == Failure::Refused {
                        self.refused.insert(start.value);
                    }
                    race.failed(now, attempt, failure);
                    if failure == Failure::Final {
                        assert_eq!(race.outcome(), Some(Outcome::Lost));
                    }
                }
            }
        }
    }
}

fn addresses(random: &mut StdRng, most: usize, family: Option<Family>) -> Vec<IpAddr> {
    let count = random.random_range(0..most);
    let mut list = Vec::new();
    for _ in 0..count {
        let last: u8 = random.random_range(1..6);
        let address: IpAddr = match family.map_or_else(|| random.random(), |f| f == Family::V6) {
            true => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
            false => [192, 0, 2, last].into(),
        };
        if !list.contains(&address) {
            list.push(address);
        }
    }
    list
}

#[test]
fn thousands_of_random_schedules_break_no_rule() {
    let (mut won, mut lost, mut fell_back) = (0, 0, 0);
    for seed in 0..SCHEDULES {
        let outcome = std::panic::catch_unwind(|| {
            let world = World::new(seed);
            let ech = world.endpoints.iter().any(|endpoint| endpoint.ech);
            let without = world.endpoints.iter().any(|endpoint| !endpoint.ech);
            (world.run(), ech && without)
        });
        let Ok(((outcome, tried), mixed)) = outcome else {
            panic!("seed {seed}");
        };
        match outcome {
            Some(Outcome::Won(_)) => won += 1,
            Some(Outcome::Lost) => lost += 1,
            None => panic!("seed {seed}: the race has no end"),
        }
        fell_back += usize::from(mixed && tried > 1);
    }
    // The schedules reach what they are to judge.
    assert!(won > SCHEDULES / 4, "{won} won");
    assert!(lost > SCHEDULES / 10, "{lost} lost");
    assert!(fell_back > 100, "{fell_back}");
}
