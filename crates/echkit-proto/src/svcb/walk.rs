//! Following HTTPS records from the query name to their end (RFC 9460 §3).
//!
//! A state machine without a resolver: ask for the records of [`AliasWalk::name`], hand what came
//! to [`AliasWalk::take`], and go on while it says so.

use rand::Rng;

use super::name::DomainName;
use super::rrset::{Capabilities, JudgedRecord, MalformedRrset, Resolution, Rrset, Service};

/// A walk along AliasMode records.
#[derive(Clone, Debug)]
pub struct AliasWalk {
    found: HttpsFindings,
    /// Every name that was asked for, or that a CNAME led to.
    visited: Vec<DomainName>,
    max_aliases: usize,
}

/// What is to follow an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// An alias: ask for the records of [`AliasWalk::name`] again.
    Ask,
    /// The walk has ended.
    Done,
}

/// What the HTTPS records of an origin say.
#[derive(Clone, Debug)]
pub struct HttpsFindings {
    /// Whether there are well-formed records, those of an alias included.
    pub found: bool,
    /// The targets of the AliasMode records that were followed, in order.
    pub aliases: Vec<DomainName>,
    /// How the alias chain ended, if not well.
    pub alias_problem: Option<AliasProblem>,
    /// The record for which the last RRset was rejected (RFC 9460 §2.2).
    pub malformed: Option<MalformedRrset>,
    /// The records of the last name, each judged.
    pub records: Vec<JudgedRecord>,
    /// The compatible ones in the order in which to try them.
    pub services: Vec<Service>,
    /// The name that was asked for last.
    pub last: DomainName,
}

impl AliasWalk {
    /// A walk that begins at the query name and follows at most `max_aliases` records: RFC 9460
    /// §3.1 wants a bound, which must not be zero.
    pub fn new(name: DomainName, max_aliases: usize) -> Self {
        Self {
            visited: vec![name.clone()],
            found: HttpsFindings {
                found: false,
                aliases: Vec::new(),
                alias_problem: None,
                malformed: None,
                records: Vec::new(),
                services: Vec::new(),
                last: name,
            },
            max_aliases,
        }
    }

    /// The name whose records are to be asked for.
    pub fn name(&self) -> &DomainName {
        &self.found.last
    }

    /// Takes the records that were found; `owner` is the name at the end of any CNAME chain.
    pub fn take<R: AsRef<[u8]>>(
        &mut self,
        owner: DomainName,
        rdata: impl IntoIterator<Item = R>,
        client: &Capabilities<'_>,
        rng: &mut impl Rng,
    ) -> WalkStep {
        let found = &mut self.found;
        if owner != found.last {
            self.visited.push(owner.clone());
        }
        let rrset = match Rrset::parse(owner, rdata) {
            Ok(rrset) => rrset,
            Err(malformed) => {
                found.malformed = Some(malformed);
                return WalkStep::Done;
            }
        };
        found.found |= !rrset.records.is_empty();
        match rrset.resolve(client, rng) {
            Resolution::Empty => {}
            Resolution::Alias { target } => {
                // §3.1: bounded, and loops need not be walked to the bound.
                if self.visited.contains(&target) {
                    found.alias_problem = Some(AliasProblem::Loop(target));
                } else if found.aliases.len() >= self.max_aliases {
                    found.alias_problem = Some(AliasProblem::TooLong(self.max_aliases));
                } else {
                    self.visited.push(target.clone());
                    found.aliases.push(target.clone());
                    found.last = target;
                    return WalkStep::Ask;
                }
            }
            Resolution::Unavailable { records } => {
                found.alias_problem = Some(AliasProblem::Unavailable(found.last.clone()));
                found.records = records;
            }
            Resolution::Services { services, records } => {
                found.services = services;
                found.records = records;
            }
        }
        WalkStep::Done
    }

    /// What was found so far.
    pub fn finish(self) -> HttpsFindings {
        self.found
    }
}

/// How an alias chain ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AliasProblem {
    /// It came back to a name that it had been at.
    #[error("the HTTPS aliases form a loop at {0}")]
    Loop(DomainName),
    /// It went on for longer than the limit; the authority endpoint is used (RFC 9460 §3.1).
    #[error("the HTTPS aliases do not end after {0} links")]
    TooLong(usize),
    /// An alias to `.`: the service says that it is not there (RFC 9460 §2.5.1).
    #[error("an HTTPS alias of {0} says that the service is not available")]
    Unavailable(DomainName),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::svcb::Record;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const CLIENT: Capabilities<'_> = Capabilities {
        alpn: &[b"h2", b"http/1.1"],
        ech: true,
    };

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn take(walk: &mut AliasWalk, owner: &str, texts: &[&str]) -> WalkStep {
        let rdata = texts.iter().map(|text| {
            let record: Record = text.parse().unwrap();
            record.encode().unwrap()
        });
        let mut rng = StdRng::seed_from_u64(1);
        walk.take(name(owner), rdata, &CLIENT, &mut rng)
    }

    #[test]
    fn aliases_lead_from_name_to_name_until_records_say_more() {
        let mut walk = AliasWalk::new(name("a.test"), 8);
        assert_eq!(take(&mut walk, "a.test", &["0 b.test."]), WalkStep::Ask);
        assert_eq!(walk.name(), &name("b.test"));
        // Found at the end of a CNAME, where `.` means that name.
        assert_eq!(take(&mut walk, "c.test", &["1 . alpn=h2"]), WalkStep::Done);
        let found = walk.finish();
        assert!(found.found && found.alias_problem.is_none());
        assert_eq!(found.aliases, [name("b.test")]);
        assert_eq!(found.services[0].target, name("c.test"));
    }

    #[test]
    fn a_walk_ends_at_loops_at_its_bound_and_at_the_root() {
        let mut walk = AliasWalk::new(name("a.test"), 8);
        assert_eq!(take(&mut walk, "b.test", &["0 B.test."]), WalkStep::Done);
        let found = walk.finish();
        assert_eq!(
            found.alias_problem,
            Some(AliasProblem::Loop(name("b.test")))
        );

        let mut walk = AliasWalk::new(name("0.test"), 8);
        for number in 1..=8 {
            let text = format!("0 {number}.test.");
            let owner = walk.name().to_string();
            assert_eq!(take(&mut walk, &owner, &[&text]), WalkStep::Ask);
        }
        assert_eq!(take(&mut walk, "8.test", &["0 9.test."]), WalkStep::Done);
        assert_eq!(walk.finish().alias_problem, Some(AliasProblem::TooLong(8)));

        let mut walk = AliasWalk::new(name("a.test"), 8);
        assert_eq!(
            take(&mut walk, "a.test", &["0 .", "1 . alpn=h2"]),
            WalkStep::Done
        );
        let found = walk.finish();
        let problem = AliasProblem::Unavailable(name("a.test"));
        assert_eq!(found.alias_problem, Some(problem));
        assert!(found.services.is_empty());
        assert!(found.records.iter().all(|record| record.why_not.is_some()));
    }

    #[test]
    fn absence_and_malformed_records_differ() {
        let mut walk = AliasWalk::new(name("a.test"), 8);
        assert_eq!(take(&mut walk, "a.test", &[]), WalkStep::Done);
        let found = walk.finish();
        assert!(!found.found && found.malformed.is_none());
        let mut walk = AliasWalk::new(name("a.test"), 8);
        let mut rng = StdRng::seed_from_u64(1);
        let step = walk.take(name("a.test"), [b"\0\x01"], &CLIENT, &mut rng);
        assert_eq!(step, WalkStep::Done);
        let found = walk.finish();
        assert!(!found.found && found.malformed.is_some());
    }
}
