//! CNAME chains and the lifetimes of answers (RFC 1034 §3.6.2, RFC 2308).

use std::time::Duration;

use super::RecordType;
use super::message::DnsResponse;
use crate::svcb::DomainName;

/// RFC 1034 §3.6.2 asks for a bound on CNAME chains. No legitimate zone has this many.
const MAX_CNAMES: usize = 16;

/// The response code for a name that does not exist (RFC 1035 §4.1.1, RFC 2308 §2.1).
const NXDOMAIN: u16 = 3;

/// One question on its way along CNAMEs.
#[derive(Clone, Debug)]
pub struct CnameChain {
    owner: DomainName,
    first: DomainName,
    cnames: Vec<DomainName>,
    /// The least lifetime so far, in seconds.
    ttl: u32,
}

impl CnameChain {
    /// A chain that begins at `name`.
    pub fn new(name: &DomainName) -> Self {
        Self {
            owner: name.clone(),
            first: name.clone(),
            cnames: Vec::new(),
            ttl: u32::MAX,
        }
    }

    /// The name to ask for.
    pub fn owner(&self) -> &DomainName {
        &self.owner
    }

    /// Goes as far as a response leads; `None` when the server has to be asked for the next name.
    ///
    /// # Errors
    ///
    /// When the CNAMEs form a loop or are too many.
    pub fn advance(
        &mut self,
        response: &DnsResponse,
        kind: RecordType,
    ) -> Result<Option<QuestionOutcome>, EndlessCnames> {
        let before = self.cnames.len();
        loop {
            let here = || {
                let answers = response.answers.iter();
                answers.filter(|record| record.owner == self.owner)
            };
            let records: Vec<_> = here().filter(|record| record.kind == kind).collect();
            if !records.is_empty() {
                let lifetimes = records.iter().map(|record| record.ttl);
                let ttl = lifetimes.fold(self.ttl, u32::min);
                let rdata = records.iter().map(|record| record.rdata.clone()).collect();
                return Ok(Some(self.outcome(Status::Found, rdata, ttl)));
            }
            let Some((ttl, target)) =
                here().find_map(|record| Some((record.ttl, record.cname.clone()?)))
            else {
                break;
            };
            if target == self.first
                || self.cnames.contains(&target)
                || self.cnames.len() == MAX_CNAMES
            {
                return Err(EndlessCnames(self.cnames.len()));
            }
            self.ttl = self.ttl.min(ttl);
            self.cnames.push(target.clone());
            self.owner = target;
        }
        // RFC 2308 §2.1: the code speaks of the last name. §5: without SOA, keep nothing.
        let ttl = self.ttl.min(response.negative_ttl.unwrap_or(0));
        if response.rcode == NXDOMAIN {
            return Ok(Some(self.outcome(Status::NxDomain, Vec::new(), ttl)));
        }
        if self.cnames.len() > before && response.negative_ttl.is_none() {
            return Ok(None);
        }
        Ok(Some(self.outcome(Status::NoData, Vec::new(), ttl)))
    }

    fn outcome(&self, status: Status, rdata: Vec<Vec<u8>>, ttl: u32) -> QuestionOutcome {
        QuestionOutcome {
            status,
            owner: self.owner.clone(),
            cnames: self.cnames.clone(),
            rdata,
            ttl: Duration::from_secs(ttl.into()),
        }
    }
}

/// What a question came to at the end of its CNAME chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionOutcome {
    /// Whether there are records.
    pub status: Status,
    /// The name that owns the records, at the end of the chain.
    pub owner: DomainName,
    /// The CNAME targets on the way, in order; the last one is `owner`.
    pub cnames: Vec<DomainName>,
    /// RDATA of each record, as it came.
    pub rdata: Vec<Vec<u8>>,
    /// How long the answer, or its absence, holds: the least lifetime on the way (RFC 2308 §5).
    pub ttl: Duration,
}

/// The three answers that a resolver can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There are records.
    Found,
    /// The name exists, and has no records of this type.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// A CNAME chain that forms a loop or is too long; the number of links that were followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CNAME chain does not end after {0} links")]
pub struct EndlessCnames(pub usize);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dns::RawRecord;

    fn cname(owner: &str, target: &str, ttl: u32) -> RawRecord {
        RawRecord {
            owner: owner.parse().unwrap(),
            kind: RecordType::CNAME,
            ttl,
            rdata: Vec::new(),
            cname: Some(target.parse().unwrap()),
        }
    }

    fn address(owner: &str, ttl: u32) -> RawRecord {
        RawRecord {
            owner: owner.parse().unwrap(),
            kind: RecordType::A,
            ttl,
            rdata: vec![192, 0, 2, 1],
            cname: None,
        }
    }

    fn response(rcode: u16, negative_ttl: Option<u32>, answers: Vec<RawRecord>) -> DnsResponse {
        DnsResponse {
            rcode,
            truncated: false,
            authoritative: false,
            authentic_data: false,
            answers,
            negative_ttl,
            referral: false,
        }
    }

    fn advance(
        chain: &mut CnameChain,
        response: &DnsResponse,
    ) -> Result<Option<QuestionOutcome>, EndlessCnames> {
        chain.advance(response, RecordType::A)
    }

    fn chain() -> CnameChain {
        CnameChain::new(&"a.test".parse().unwrap())
    }

    #[test]
    fn records_at_the_end_live_as_long_as_the_shortest_link() {
        // In any order, and beside records of other names.
        let answers = vec![
            address("c.test", 300),
            address("x.test", 1),
            cname("B.test", "c.test", 60),
            cname("a.test", "b.test", 120),
        ];
        let outcome = advance(&mut chain(), &response(0, None, answers));
        let outcome = outcome.unwrap().unwrap();
        assert_eq!(outcome.status, Status::Found);
        assert_eq!(outcome.owner, "c.test".parse().unwrap());
        assert_eq!(outcome.cnames.len(), 2);
        assert_eq!(outcome.rdata, [[192, 0, 2, 1]]);
        assert_eq!(outcome.ttl, Duration::from_secs(60));
    }

    #[test]
    fn absence_lives_as_long_as_the_soa_record_says_and_without_it_not_at_all() {
        for (rcode, status) in [(0, Status::NoData), (NXDOMAIN, Status::NxDomain)] {
            for (soa, seconds) in [(Some(600), 120), (Some(30), 30), (None, 0)] {
                let mut chain = chain();
                let answers = vec![cname("a.test", "b.test", 120)];
                let outcome = advance(&mut chain, &response(rcode, soa, answers)).unwrap();
                match outcome {
                    Some(outcome) => {
                        assert_eq!((outcome.status, outcome.ttl.as_secs()), (status, seconds));
                        assert_eq!(outcome.owner, "b.test".parse().unwrap());
                    }
                    // The chain left the zone that this server speaks for.
                    None => assert!(rcode == 0 && soa.is_none()),
                }
            }
        }
    }

    #[test]
    fn a_chain_that_leaves_the_response_goes_on_at_its_last_name() {
        let mut chain = chain();
        let answers = vec![cname("a.test", "b.test", 120)];
        assert_eq!(advance(&mut chain, &response(0, None, answers)), Ok(None));
        assert_eq!(chain.owner(), &"b.test".parse().unwrap());
        let answers = vec![address("b.test", 300)];
        let outcome = advance(&mut chain, &response(0, None, answers));
        assert_eq!(outcome.unwrap().unwrap().ttl, Duration::from_secs(120));
    }

    #[test]
    fn loops_and_long_chains_are_errors() {
        let around = vec![cname("a.test", "b.test", 1), cname("b.test", "A.test", 1)];
        let error = advance(&mut chain(), &response(0, None, around));
        assert_eq!(error, Err(EndlessCnames(1)));
        let itself = vec![cname("a.test", "a.test", 1)];
        let error = advance(&mut chain(), &response(0, None, itself));
        assert_eq!(error, Err(EndlessCnames(0)));
        let link = |from: usize| cname(&format!("{from}.test"), &format!("{}.test", from + 1), 1);
        let mut long = vec![cname("a.test", "1.test", 1)];
        long.extend((1..20).map(link));
        let error = advance(&mut chain(), &response(0, None, long));
        assert_eq!(error, Err(EndlessCnames(MAX_CNAMES)));
    }
}
