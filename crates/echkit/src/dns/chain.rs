//! Following CNAMEs (RFC 1034 §3.6.2, RFC 2308 §2).

use std::time::Duration;

use echkit_proto::svcb::DomainName;

use super::answer::{Answer, QueryError, RecordType, Status};
use super::message::Response;

/// RFC 1034 §3.6.2 asks for a bound on CNAME chains. Nobody means to have this many.
const MAX_CNAMES: usize = 16;

/// A question on its way along CNAMEs.
pub(super) struct Chain {
    /// The name that is to be asked for.
    pub(super) owner: DomainName,
    first: DomainName,
    cnames: Vec<DomainName>,
    ttl: u32,
    protected: bool,
}

impl Chain {
    pub(super) fn new(name: &DomainName, protected: bool) -> Self {
        Self {
            owner: name.clone(),
            first: name.clone(),
            cnames: Vec::new(),
            ttl: u32::MAX,
            protected,
        }
    }

    /// Goes as far as a response leads; `None` when the next name must be asked for.
    pub(super) fn advance(
        &mut self,
        response: &Response,
        kind: RecordType,
    ) -> Result<Option<Answer>, QueryError> {
        let before = self.cnames.len();
        loop {
            let here = || {
                response
                    .answers
                    .iter()
                    .filter(|record| record.owner == self.owner)
            };
            let records: Vec<_> = here().filter(|record| record.kind == kind).collect();
            if !records.is_empty() {
                let ttl = records
                    .iter()
                    .map(|record| record.ttl)
                    .fold(self.ttl, u32::min);
                let rdata = records.iter().map(|record| record.rdata.clone()).collect();
                return Ok(Some(self.answer(Status::Found, rdata, ttl)));
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
                return Err(QueryError::CnameChain(self.cnames.len()));
            }
            self.ttl = self.ttl.min(ttl);
            self.cnames.push(target.clone());
            self.owner = target;
        }
        // RFC 2308 §2.1: the code speaks of the last name. §5: without SOA, keep nothing.
        let ttl = self.ttl.min(response.negative_ttl.unwrap_or(0));
        if response.rcode == 3 {
            return Ok(Some(self.answer(Status::NxDomain, Vec::new(), ttl)));
        }
        if self.cnames.len() > before && response.negative_ttl.is_none() {
            return Ok(None);
        }
        Ok(Some(self.answer(Status::NoData, Vec::new(), ttl)))
    }

    fn answer(&self, status: Status, rdata: Vec<Vec<u8>>, ttl: u32) -> Answer {
        Answer {
            status,
            owner: self.owner.clone(),
            cnames: self.cnames.clone(),
            rdata,
            ttl: Duration::from_secs(ttl.into()),
            protected: self.protected,
        }
    }
}
