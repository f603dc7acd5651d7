//! Happy Eyeballs version 3 (draft-ietf-happy-happyeyeballs-v3, timers of RFC 8305) as a state
//! machine without sockets or clocks.
//!
//! [`Race`] says which questions to ask in DNS, which connections to start, when, and which to
//! cancel. Its user tells it what came of each, and the time.
//!
//! What it adds to the draft is ECH:
//!
//! - Nothing is started before the HTTPS answer is settled: the ClientHello depends on it
//!   (RFC 9848 §5.3).
//! - Endpoints with ECH come first. One without never runs beside one with it, and never starts
//!   while one with ECH may still succeed: while an answer about its addresses is due, an address
//!   is untried, or an attempt runs.
//! - Once an endpoint with ECH was reached, none without follows: what came after was no
//!   authenticated word that ECH is off (RFC 9849 §6.1.6).
//!
//! No answer makes a race long or costly: [`MAX_ADDRESSES`] of each answer and each list of hints
//! are used, [`MAX_STARTS`] attempts are started in all, and each address is looked at a bounded
//! number of times. How long the race may take is the caller's to say.
//!
//! ```
//! use core::time::Duration;
//! use echkit_proto::race::{Action, Family, Query, Race, RaceEndpoint, RaceSettings, Target};
//!
//! let at = Duration::from_millis;
//! let mut race = Race::new(RaceSettings::default());
//! // HTTPS, AAAA and A are asked for at the same time.
//! assert_eq!(race.poll(at(0)), Some(Action::Ask(Query::Https)));
//! assert_eq!(race.poll(at(0)), Some(Action::Ask(Query::Addresses(Target::OWN, Family::V6))));
//! assert_eq!(race.poll(at(0)), Some(Action::Ask(Query::Addresses(Target::OWN, Family::V4))));
//!
//! race.addresses(at(20), Target::OWN, Family::V4, ["192.0.2.1".parse().unwrap()]);
//! assert_eq!(race.poll(at(20)), None);
//! // An endpoint carries a value of the caller's, which comes back with each start.
//! race.settle(at(30), [RaceEndpoint::new(Target::OWN, 443, "what to offer there").with_ech()]);
//! // AAAA may follow within the resolution delay, which counts from the first address.
//! assert_eq!(race.poll(at(30)), None);
//! assert_eq!(race.wake_at(), Some(at(70)));
//! let Some(Action::Start(start)) = race.poll(at(70)) else { panic!() };
//! assert_eq!(start.value, "what to offer there");
//! ```

mod endpoint;
mod places;

use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

pub use endpoint::{Family, MAX_ADDRESSES, RaceEndpoint, RaceSettings, Target};
use places::{Missing, Places, Spot};

/// Attempts started in one race, at most. With the usual delay between attempts it takes half a
/// minute to get there; who has not been reached by then is not going to be. It bounds what a
/// hostile zone can make its visitors do to somebody else's addresses.
pub const MAX_STARTS: usize = 128;

/// An attempt that makes progress is given no longer than this before the next one: the Maximum
/// Connection Attempt Delay.
const MAX_ATTEMPT_DELAY: Duration = Duration::from_secs(2);

/// A question for DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// The HTTPS records of the origin, aliases followed. Answered by [`Race::settle`] or
    /// [`Race::give_up`].
    Https,
    /// The addresses of a target. Answered by [`Race::addresses`].
    Addresses(Target, Family),
}

/// The number of an attempt, in the order of their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(usize);

/// A connection to start, up to the end of its TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start<T> {
    /// Its number.
    pub attempt: AttemptId,
    /// Where to connect to.
    pub address: SocketAddr,
    /// What the endpoint carries.
    pub value: T,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<T> {
    /// Ask in DNS.
    Ask(Query),
    /// Connect.
    Start(Start<T>),
    /// Close what was started.
    Cancel(AttemptId),
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection was made.
    Unreachable,
    /// A connection was made and broke, or took too long. Another address may do better.
    Broken,
    /// The endpoint answered and cannot be used, whatever its address.
    Refused,
    /// This is the answer: nothing else may be tried.
    Final,
}

/// How a race ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This attempt is the connection.
    Won(AttemptId),
    /// There is nothing left to try.
    Lost,
}

/// A race for one connection, between endpoints that carry a `T`.
#[derive(Debug)]
pub struct Race<T> {
    settings: RaceSettings,
    places: Places<T>,
    /// When the HTTPS answer was settled.
    settled: Option<Duration>,
    running: Vec<RunningAttempt>,
    started: usize,
    /// Whether an endpoint with ECH was connected to.
    ech_reached: bool,
    /// No attempt is to start before, while others run.
    next_start: Duration,
    questions: VecDeque<Query>,
    cancelled: VecDeque<AttemptId>,
    wake: Option<Duration>,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
struct RunningAttempt {
    attempt: AttemptId,
    spot: Spot,
    ech: bool,
    since: Duration,
    /// How long TCP took, the first time.
    round_trip: Option<Duration>,
}

impl<T: Clone> Race<T> {
    /// A race that begins now.
    pub fn new(settings: RaceSettings) -> Self {
        let mut race = Self {
            places: Places::new(settings),
            settings,
            settled: None,
            running: Vec::new(),
            started: 0,
            ech_reached: false,
            next_start: Duration::ZERO,
            questions: VecDeque::from([Query::Https]),
            cancelled: VecDeque::new(),
            wake: None,
            outcome: None,
        };
        race.ask(Target::OWN);
        race
    }

    /// The HTTPS answer is settled: the endpoints that follow from it, in their order of priority.
    ///
    /// This is also to be called when there are no records, when they are malformed, or when the
    /// question failed and the client may continue without (RFC 9460 §3); the endpoints are then
    /// those that such a client has. Call it once.
    pub fn settle(&mut self, now: Duration, endpoints: impl IntoIterator<Item = RaceEndpoint<T>>) {
        if self.settled.is_some() || self.outcome.is_some() {
            return;
        }
        self.settled = Some(now);
        self.places.settle(now, endpoints);
        for target in self.places.targets() {
            self.ask(target);
        }
    }

    /// Addresses that DNS has for a target; none if there are none or if they are unknown.
    ///
    /// A later call for the same target and family replaces what the earlier one said. What was
    /// started goes on.
    pub fn addresses(
        &mut self,
        now: Duration,
        target: Target,
        family: Family,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) {
        self.places.answer(now, target, family, addresses);
    }

    /// A connection over TCP was made; TLS follows. To be called for each one that an attempt
    /// makes.
    pub fn connected(&mut self, now: Duration, attempt: AttemptId) {
        let Some(running) = self.find(attempt) else {
            return;
        };
        let elapsed = now.saturating_sub(running.since);
        let round_trip = *running.round_trip.get_or_insert(elapsed);
        let ech = running.ech;
        self.ech_reached |= ech;
        // The draft, "Determining successful connection establishment": leave TLS its time. One
        // round trip for the handshake, and one for a HelloRetryRequest or a slow server.
        let patience = round_trip.saturating_mul(2).min(MAX_ATTEMPT_DELAY);
        self.next_start = self.next_start.max(now.saturating_add(patience));
    }

    /// An attempt connects once more, by what the server told it (RFC 9849 §6.1.6). That counts as
    /// a start: the next one waits as long as after any other.
    pub fn restarted(&mut self, now: Duration, attempt: AttemptId) {
        if self.find(attempt).is_some() {
            self.next_start = self.next_start.max(now.saturating_add(self.delay()));
        }
    }

    /// An attempt ended well. The others are to be cancelled.
    pub fn won(&mut self, attempt: AttemptId) {
        if self.outcome.is_none() && self.find(attempt).is_some() {
            self.running.retain(|r| r.attempt != attempt);
            self.finish(Outcome::Won(attempt));
        }
    }

    /// An attempt failed.
    pub fn failed(&mut self, now: Duration, attempt: AttemptId, failure: Failure) {
        let Some(at) = self.running.iter().position(|r| r.attempt == attempt) else {
            return;
        };
        let running = self.running.remove(at);
        self.ech_reached |= running.ech && failure != Failure::Unreachable;
        // The next one need not wait.
        self.next_start = now;
        match failure {
            Failure::Unreachable | Failure::Broken => {}
            Failure::Refused => self.places.close(running.spot),
            Failure::Final => self.finish(Outcome::Lost),
        }
    }

    /// Ends the race: the user knows that no connection may be made, or wants none any more.
    pub fn give_up(&mut self) {
        if self.outcome.is_none() {
            self.finish(Outcome::Lost);
        }
    }

    /// The next thing to be done now; `None` when there is nothing before [`Race::wake_at`] or
    /// before something happens.
    pub fn poll(&mut self, now: Duration) -> Option<Action<T>> {
        self.wake = None;
        if let Some(attempt) = self.cancelled.pop_front() {
            return Some(Action::Cancel(attempt));
        }
        if let Some(query) = self.questions.pop_front() {
            return Some(Action::Ask(query));
        }
        let settled = self.settled?;
        if self.outcome.is_some() {
            return None;
        }
        let ech_runs = self.running.iter().any(|r| r.ech);
        let ech = ech_runs || self.places.may_succeed(true);
        if ech && let Some(at) = self.running.iter().position(|r| !r.ech) {
            // An address with ECH turned up late.
            let running = self.running.remove(at);
            self.places.untry(running.spot);
            self.next_start = now;
            return Some(Action::Cancel(running.attempt));
        }
        let exhausted = self.started >= MAX_STARTS;
        if exhausted || !ech && (self.ech_reached || !self.places.may_succeed(false)) {
            if self.running.is_empty() {
                self.finish(Outcome::Lost);
            }
            return None;
        }
        self.start(now, settled, ech)
    }

    fn start(&mut self, now: Duration, settled: Duration, ech: bool) -> Option<Action<T>> {
        if self.running.len() >= self.settings.max_attempts.max(1) {
            return None;
        }
        let next = self.places.next(ech)?;
        let resolution_delay = self.settings.resolution_delay;
        let mut not_before = match next.missing {
            None => Duration::ZERO,
            // The better family of the same endpoint, from its first address on.
            Some(Missing::Family { since }) => since.saturating_add(resolution_delay),
            // A better endpoint altogether.
            Some(Missing::Endpoint) => settled.saturating_add(resolution_delay),
        };
        if !self.running.is_empty() {
            not_before = not_before.max(self.next_start);
        }
        if now < not_before {
            self.wake = Some(not_before);
            return None;
        }
        let attempt = AttemptId(self.started);
        let value = self.places.take(next.spot);
        self.started += 1;
        self.running.push(RunningAttempt {
            attempt,
            spot: next.spot,
            ech,
            since: now,
            round_trip: None,
        });
        self.next_start = now.saturating_add(self.delay());
        Some(Action::Start(Start {
            attempt,
            address: next.spot.address,
            value,
        }))
    }

    /// When to call [`Race::poll`] again if nothing else happens. Valid after it returned `None`.
    pub fn wake_at(&self) -> Option<Duration> {
        self.wake
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    fn delay(&self) -> Duration {
        self.settings
            .attempt_delay
            .max(RaceSettings::LEAST_ATTEMPT_DELAY)
    }

    fn ask(&mut self, target: Target) {
        for family in Family::BOTH {
            if self.settings.allows(family) && self.places.expect(target, family) {
                self.questions.push_back(Query::Addresses(target, family));
            }
        }
    }

    fn find(&mut self, attempt: AttemptId) -> Option<&mut RunningAttempt> {
        self.running.iter_mut().find(|r| r.attempt == attempt)
    }

    fn finish(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        self.questions.clear();
        self.cancelled
            .extend(self.running.drain(..).map(|running| running.attempt));
    }
}

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
