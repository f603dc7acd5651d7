//! What comes back from a query.

use core::fmt;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::dns::QuestionOutcome;
use echkit_proto::svcb::DomainName;

pub use echkit_proto::dns::{RecordType, Status};

/// Addresses that are taken from one answer. No zone needs more, and each may cost a connection.
pub const MAX_ADDRESSES: usize = 64;

/// An authoritative yes or no: the resolver said what there is, or that there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Whether there is anything.
    pub status: Status,
    /// The name that owns the records, at the end of any CNAME chain.
    pub owner: DomainName,
    /// The CNAME targets on the way, in order; the last one is `owner`.
    pub cnames: Vec<DomainName>,
    /// RDATA of each record, as it came. Names in the types that are used here are never
    /// compressed; a compressed one is left as it is, for the record's own rules to refuse.
    pub rdata: Vec<Vec<u8>>,
    /// How long the answer, or its absence, holds.
    pub ttl: Duration,
    /// Whether the network could neither read nor change question and answer.
    pub protected: bool,
    /// Whether the resolver said of every response on the way that it has validated it by DNSSEC
    /// (AD, RFC 4035 §3.2.3). Where the answer is not `protected`, the network may have said so.
    pub authentic_data: bool,
}

impl Answer {
    pub(super) fn new(outcome: QuestionOutcome, protected: bool, authentic_data: bool) -> Self {
        let QuestionOutcome {
            status,
            owner,
            cnames,
            rdata,
            ttl,
        } = outcome;
        Self {
            status,
            owner,
            cnames,
            rdata,
            ttl,
            protected,
            authentic_data,
        }
    }

    /// The addresses in an A or AAAA answer, the first [`MAX_ADDRESSES`] of them; RDATA of another
    /// size is passed over.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.rdata.iter().filter_map(|rdata| {
            if let Ok(octets) = <[u8; 4]>::try_from(rdata.as_slice()) {
                return Some(Ipv4Addr::from(octets).into());
            }
            let octets = <[u8; 16]>::try_from(rdata.as_slice()).ok()?;
            Some(Ipv6Addr::from(octets).into())
        });
        addresses.take(MAX_ADDRESSES)
    }
}

/// No answer: whether there are records is unknown.
///
/// Its text holds that of the error below it; [`source`](Error::source) continues with what is
/// below that one, so that a chain names everything once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QueryError {
    /// Nothing usable came back in time.
    Timeout {
        /// The resolver that was asked.
        resolver: String,
        /// How long, over all tries.
        waited: Duration,
    },
    /// The resolver could not be reached, or the connection to it broke.
    Transport {
        /// The resolver that was asked.
        resolver: String,
        /// What went wrong.
        error: Arc<io::Error>,
    },
    /// The resolver answered that it cannot answer; SERVFAIL covers failed DNSSEC validation.
    Refused {
        /// The resolver that was asked.
        resolver: String,
        /// The response code.
        rcode: u16,
    },
    /// An answer came over a connection and was no answer to the question.
    Malformed {
        /// The resolver that was asked.
        resolver: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// CNAMEs lead in a circle, or go on for too long.
    CnameChain(usize),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { resolver, waited } => {
                let waited = waited.as_millis();
                write!(f, "no answer from {resolver} within {waited} ms")
            }
            Self::Transport { resolver, error } => write!(f, "cannot query {resolver}: {error}"),
            Self::Refused { resolver, rcode } => {
                write!(f, "{resolver} answered {}", rcode_name(*rcode))
            }
            Self::Malformed { resolver, reason } => {
                write!(f, "{resolver} sent a malformed answer: {reason}")
            }
            Self::CnameChain(links) => {
                write!(f, "the CNAME chain does not end after {links} links")
            }
        }
    }
}

impl Error for QueryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Transport { error, .. } => error.source(),
            _ => None,
        }
    }
}

/// Response codes that resolvers send instead of an answer.
fn rcode_name(rcode: u16) -> String {
    match rcode {
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => format!("response code {other}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chain_of_errors_names_each_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("certificate expired")]
        struct Inner;
        #[derive(Debug, thiserror::Error)]
        #[error("handshake failed")]
        struct Outer(#[source] Inner);

        let error = QueryError::Transport {
            resolver: "tls://dns.test".into(),
            error: Arc::new(io::Error::other(Outer(Inner))),
        };
        assert_eq!(
            error.to_string(),
            "cannot query tls://dns.test: handshake failed"
        );
        assert_eq!(error.source().unwrap().to_string(), "certificate expired");
    }
}
