//! Answers that still hold (RFC 1035 §3.2.1, RFC 2308 §5), and time-outs that were just waited for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echkit_proto::dns::Question;
use lru::LruCache;

use super::answer::{Answer, QueryError, Status};
use super::network::Network;
use crate::clock::{Clock, Moment};

/// A zone that says "for a month" may still be mended within a day.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
/// RFC 2308 §5: one to three hours have been found to work well.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(3 * 3600);
/// What one network forged must not live on in the next (RFC 9460 §12), and two networks may look
/// alike.
const MAX_UNPROTECTED_TTL: Duration = Duration::from_secs(600);
/// For so long no query waits again for what the servers did not answer (RFC 9520 §3.2).
const TIMEOUT_HOLDS: Duration = Duration::from_secs(10);

/// What an entry takes beside the octets of its names and records; an estimate.
const ENTRY_OVERHEAD: usize = 384;
const RECORD_OVERHEAD: usize = 40;

/// Outcomes by question, those used least recently first to go.
///
/// `NXDOMAIN` is kept for the type that was asked for. RFC 2308 §5 would have it answer for every
/// type, but there are servers that say it of types that they do not know, and an HTTPS question
/// must not make a host's addresses go away.
pub(super) struct Cache {
    clock: Clock,
    /// How many octets may be kept.
    limit: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    entries: LruCache<Question, Entry>,
    size: usize,
    /// The network that the answers are from.
    network: Network,
    /// How many networks there have been before.
    era: u64,
}

struct Entry {
    outcome: Result<Answer, QueryError>,
    holds: Duration,
    since: Moment,
    size: usize,
}

impl Cache {
    pub(super) fn new(limit: usize, clock: Clock) -> Self {
        Self {
            clock,
            limit,
            kept: Mutex::new(Kept {
                entries: LruCache::unbounded(),
                size: 0,
                network: Network::default(),
                era: 0,
            }),
        }
    }

    /// The outcome of a question, with what is left of its lifetime.
    pub(super) fn outcome(&self, question: &Question) -> Option<Result<Answer, QueryError>> {
        let now = self.clock.now();
        let mut kept = self.lock();
        let entry = kept.entries.get(question)?;
        let left = entry.holds.saturating_sub(now.since(entry.since));
        if left.is_zero() {
            kept.remove(question);
            return None;
        }
        Some(entry.outcome.clone().map(|answer| Answer {
            ttl: left,
            ..answer
        }))
    }

    /// Keeps an outcome for as long as it holds, if it is of the same era.
    pub(super) fn keep(&self, era: u64, question: &Question, outcome: &Result<Answer, QueryError>) {
        let holds = holds(outcome);
        let size = size(question, outcome);
        let mut kept = self.lock();
        if kept.era != era {
            return;
        }
        kept.remove(question);
        if holds.is_zero() || size > self.limit {
            return;
        }
        kept.size += size;
        let entry = Entry {
            outcome: outcome.clone(),
            holds,
            since: self.clock.now(),
            size,
        };
        kept.entries.put(question.clone(), entry);
        while kept.size > self.limit
            && let Some((_, oldest)) = kept.entries.pop_lru()
        {
            kept.size -= oldest.size;
        }
    }

    /// Forgets everything when the network is another than before: what one network says of a name
    /// need not hold in another. Gives the number of this era.
    pub(super) fn enter(&self, network: Network) -> u64 {
        let mut kept = self.lock();
        if kept.network != network {
            kept.forget_all();
            kept.network = network;
            kept.era += 1;
        }
        kept.era
    }

    pub(super) fn clear(&self) {
        self.lock().forget_all();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.entries.pop(question) {
            self.size -= entry.size;
        }
    }

    fn forget_all(&mut self) {
        self.entries.clear();
        self.size = 0;
    }
}

/// How long an outcome is kept. Failures that cost no waiting are asked for again.
fn holds(outcome: &Result<Answer, QueryError>) -> Duration {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(QueryError::Timeout { .. }) => return TIMEOUT_HOLDS,
        Err(_) => return Duration::ZERO,
    };
    let longest = match answer.status {
        Status::Found => MAX_TTL,
        Status::NoData | Status::NxDomain => MAX_NEGATIVE_TTL,
    };
    match answer.protected {
        true => answer.ttl.min(longest),
        false => answer.ttl.min(longest).min(MAX_UNPROTECTED_TTL),
    }
}

fn size(question: &Question, outcome: &Result<Answer, QueryError>) -> usize {
    let question = ENTRY_OVERHEAD + question.name.wire().len();
    let Ok(answer) = outcome else {
        return question;
    };
    let cnames: usize = answer
        .cnames
        .iter()
        .map(|name| name.wire().len() + RECORD_OVERHEAD)
        .sum();
    let rdata: usize = answer
        .rdata
        .iter()
        .map(|rdata| rdata.len() + RECORD_OVERHEAD)
        .sum();
    question + answer.owner.wire().len() + cnames + rdata
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dns::RecordType;

    const LIMIT: usize = 10_000;

    fn question(name: &str) -> Question {
        Question {
            name: name.parse().unwrap(),
            kind: RecordType::A,
        }
    }

    fn answer(status: Status, seconds: u64, octets: usize) -> Answer {
        Answer {
            status,
            owner: "a.test".parse().unwrap(),
            cnames: Vec::new(),
            rdata: vec![vec![7; octets]],
            ttl: Duration::from_secs(seconds),
            protected: false,
            authentic_data: false,
        }
    }

    fn keep(cache: &Cache, name: &str, answer: Answer) {
        cache.keep(0, &question(name), &Ok(answer));
    }

    fn ttl(cache: &Cache, name: &str) -> Option<u64> {
        Some(cache.outcome(&question(name))?.unwrap().ttl.as_secs())
    }

    #[test]
    fn answers_age_and_end() {
        let clock = Clock::by_hand();
        let cache = Cache::new(LIMIT, clock.clone());
        keep(&cache, "a.test", answer(Status::Found, 300, 4));
        keep(&cache, "zero.test", answer(Status::Found, 0, 4));
        assert_eq!(ttl(&cache, "A.Test"), Some(300));
        assert_eq!(ttl(&cache, "zero.test"), None);
        clock.advance(Duration::from_secs(299));
        assert_eq!(ttl(&cache, "a.test"), Some(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(ttl(&cache, "a.test"), None);
        assert_eq!(cache.lock().size, 0);
    }

    #[test]
    fn lifetimes_have_an_upper_bound() {
        let cache = Cache::new(LIMIT, Clock::by_hand());
        for (status, hours) in [
            (Status::Found, 24),
            (Status::NoData, 3),
            (Status::NxDomain, 3),
        ] {
            let mut answer = answer(status, 1 << 30, 0);
            keep(&cache, "a.test", answer.clone());
            assert_eq!(ttl(&cache, "a.test"), Some(600));
            answer.protected = true;
            keep(&cache, "a.test", answer);
            assert_eq!(ttl(&cache, "a.test"), Some(hours * 3600));
        }
    }

    #[test]
    fn the_least_recently_used_go_first_and_the_bound_holds() {
        let cache = Cache::new(LIMIT, Clock::by_hand());
        for number in 0..100 {
            let name = format!("{number}.test");
            keep(&cache, &name, answer(Status::Found, 300, number * 17));
            assert!(ttl(&cache, "0.test").is_some(), "after {number}");
            let kept = cache.lock();
            assert!(kept.size <= LIMIT);
            let sum: usize = kept.entries.iter().map(|(_, entry)| entry.size).sum();
            assert_eq!(kept.size, sum);
        }
        assert!(ttl(&cache, "1.test").is_none());
        assert!(ttl(&cache, "99.test").is_some());
        keep(&cache, "big.test", answer(Status::Found, 300, LIMIT));
        assert!(ttl(&cache, "big.test").is_none() && ttl(&cache, "99.test").is_some());
    }

    #[test]
    fn a_new_answer_replaces_the_old_one() {
        let cache = Cache::new(LIMIT, Clock::by_hand());
        keep(&cache, "a.test", answer(Status::Found, 300, 4));
        keep(&cache, "a.test", answer(Status::NxDomain, 60, 0));
        let got = cache.outcome(&question("a.test")).unwrap().unwrap();
        assert_eq!((got.status, got.ttl.as_secs()), (Status::NxDomain, 60));
        keep(&cache, "a.test", answer(Status::Found, 0, 4));
        assert!(ttl(&cache, "a.test").is_none());
    }

    #[test]
    fn another_network_has_other_answers() {
        let cache = Cache::new(LIMIT, Clock::by_hand());
        let network = |last: u8| Network::towards(vec![([127, 0, 0, last], 53).into()]);
        let first = cache.enter(network(1));
        cache.keep(
            first,
            &question("a.test"),
            &Ok(answer(Status::Found, 300, 4)),
        );
        assert_eq!(cache.enter(network(1)), first);
        assert!(ttl(&cache, "a.test").is_some());
        let second = cache.enter(network(2));
        assert_ne!(first, second);
        assert!(ttl(&cache, "a.test").is_none());
        // Asked in the one, answered in the other.
        cache.keep(
            first,
            &question("a.test"),
            &Ok(answer(Status::Found, 300, 4)),
        );
        assert!(ttl(&cache, "a.test").is_none());
    }

    #[test]
    fn a_timeout_is_remembered_for_a_while_and_no_other_failure_is() {
        let clock = Clock::by_hand();
        let cache = Cache::new(LIMIT, clock.clone());
        let resolver = || "udp://192.0.2.1".to_owned();
        let timeout = QueryError::Timeout {
            resolver: resolver(),
            waited: Duration::from_secs(5),
        };
        let refused = QueryError::Refused {
            resolver: resolver(),
            rcode: 2,
        };
        cache.keep(0, &question("slow.test"), &Err(timeout));
        cache.keep(0, &question("refused.test"), &Err(refused));
        let slow = || cache.outcome(&question("slow.test"));
        assert!(matches!(slow(), Some(Err(QueryError::Timeout { .. }))));
        assert!(cache.outcome(&question("refused.test")).is_none());
        clock.advance(TIMEOUT_HOLDS);
        assert!(slow().is_none());
    }
}
