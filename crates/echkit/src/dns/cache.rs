//! Answers that still hold (RFC 1035 §3.2.1, RFC 2308 §5).

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::{Answer, Status};
use super::message::Question;
use crate::clock::{Clock, Moment};

/// A zone that says "for a month" may still be mended within a day.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
/// RFC 2308 §5: one to three hours have been found to work well.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(3 * 3600);

/// What an entry takes beside the octets of its names and records; an estimate.
const ENTRY_OVERHEAD: usize = 384;
const RECORD_OVERHEAD: usize = 40;

/// Answers by question, those used least recently first to go.
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

#[derive(Default)]
struct Kept {
    entries: HashMap<Question, Entry>,
    /// Which question was used when.
    by_use: BTreeMap<u64, Question>,
    uses: u64,
    size: usize,
    /// The servers that the answers are from, where they may change.
    servers: Vec<SocketAddr>,
}

struct Entry {
    answer: Answer,
    since: Moment,
    size: usize,
    used: u64,
}

impl Cache {
    pub(super) fn new(limit: usize, clock: Clock) -> Self {
        Self {
            clock,
            limit,
            kept: Mutex::default(),
        }
    }

    /// The answer to a question, with what is left of its lifetime.
    pub(super) fn answer(&self, question: &Question) -> Option<Answer> {
        let now = self.clock.now();
        let mut kept = self.lock();
        let entry = kept.entries.get(question)?;
        let left = entry.answer.ttl.saturating_sub(now.since(entry.since));
        if left.is_zero() {
            kept.remove(question);
            return None;
        }
        let answer = Answer {
            ttl: left,
            ..entry.answer.clone()
        };
        kept.touch(question);
        Some(answer)
    }

    /// Keeps an answer for as long as it holds.
    pub(super) fn keep(&self, question: &Question, answer: &Answer) {
        let longest = match answer.status {
            Status::Found => MAX_TTL,
            Status::NoData | Status::NxDomain => MAX_NEGATIVE_TTL,
        };
        let size = size(question, answer);
        let mut kept = self.lock();
        kept.remove(question);
        if answer.ttl.is_zero() || size > self.limit {
            return;
        }
        kept.size += size;
        let entry = Entry {
            answer: Answer {
                ttl: answer.ttl.min(longest),
                ..answer.clone()
            },
            since: self.clock.now(),
            size,
            used: 0,
        };
        kept.entries.insert(question.clone(), entry);
        kept.touch(question);
        while kept.size > self.limit
            && let Some((_, oldest)) = kept.by_use.pop_first()
        {
            kept.remove(&oldest);
        }
    }

    /// Forgets everything when the servers are others than before: the host has changed networks,
    /// and what one network says of a name need not hold in another.
    pub(super) fn asks(&self, servers: Vec<SocketAddr>) {
        let mut kept = self.lock();
        if kept.servers != servers {
            *kept = Kept {
                servers,
                ..Kept::default()
            };
        }
    }

    pub(super) fn clear(&self) {
        let mut kept = self.lock();
        let servers = std::mem::take(&mut kept.servers);
        *kept = Kept {
            servers,
            ..Kept::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn touch(&mut self, question: &Question) {
        self.uses += 1;
        if let Some(entry) = self.entries.get_mut(question) {
            self.by_use.remove(&entry.used);
            entry.used = self.uses;
            self.by_use.insert(self.uses, question.clone());
        }
    }

    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.by_use.remove(&entry.used);
            self.size -= entry.size;
        }
    }
}

fn size(question: &Question, answer: &Answer) -> usize {
    // The question is there twice.
    let names = 2 * question.name.wire().len() + answer.owner.wire().len();
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
    ENTRY_OVERHEAD + names + cnames + rdata
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
        }
    }

    fn ttl(cache: &Cache, name: &str) -> Option<u64> {
        Some(cache.answer(&question(name))?.ttl.as_secs())
    }

    #[test]
    fn answers_age_and_end() {
        let clock = Clock::by_hand();
        let cache = Cache::new(LIMIT, clock.clone());
        cache.keep(&question("a.test"), &answer(Status::Found, 300, 4));
        cache.keep(&question("zero.test"), &answer(Status::Found, 0, 4));
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
            cache.keep(&question("a.test"), &answer(status, 1 << 30, 0));
            assert_eq!(ttl(&cache, "a.test"), Some(hours * 3600));
        }
    }

    #[test]
    fn the_least_recently_used_go_first_and_the_bound_holds() {
        let cache = Cache::new(LIMIT, Clock::by_hand());
        for number in 0..100 {
            let name = format!("{number}.test");
            cache.keep(&question(&name), &answer(Status::Found, 300, number * 17));
            assert!(ttl(&cache, "0.test").is_some(), "after {number}");
            let kept = cache.lock();
            assert!(kept.size <= LIMIT);
            assert_eq!(kept.entries.len(), kept.by_use.len());
            let sum: usize = kept.entries.values().map(|entry| entry.size).sum();
            assert_eq!(kept.size, sum);
        }
        assert!(ttl(&cache, "1.test").is_none());
        assert!(ttl(&cache, "99.test").is_some());
        cache.keep(&question("big.test"), &answer(Status::Found, 300, LIMIT));
        assert!(ttl(&cache, "big.test").is_none() && ttl(&cache, "99.test").is_some());
    }

    #[test]
    fn a_new_answer_replaces_the_old_one() {
        let cache = Cache::new(LIMIT, Clock::by_hand());
        cache.keep(&question("a.test"), &answer(Status::Found, 300, 4));
        cache.keep(&question("a.test"), &answer(Status::NxDomain, 60, 0));
        let got = cache.answer(&question("a.test")).unwrap();
        assert_eq!((got.status, got.ttl.as_secs()), (Status::NxDomain, 60));
        cache.keep(&question("a.test"), &answer(Status::Found, 0, 4));
        assert!(ttl(&cache, "a.test").is_none());
    }

    #[test]
    fn another_network_has_other_answers() {
        let cache = Cache::new(LIMIT, Clock::by_hand());
        let servers = |last: u8| vec![SocketAddr::from(([192, 0, 2, last], 53))];
        cache.asks(servers(1));
        cache.keep(&question("a.test"), &answer(Status::Found, 300, 4));
        cache.asks(servers(1));
        assert!(ttl(&cache, "a.test").is_some());
        cache.asks(servers(2));
        assert!(ttl(&cache, "a.test").is_none());
    }
}
