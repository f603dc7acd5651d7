//! DNS messages and what they say about one question, with record data left raw.
//!
//! A general purpose library drops a whole message for one bad HTTPS record, which would make
//! "malformed" look like "no answer". Here a message is only walked; what is inside a record is for
//! [`crate::svcb`] to judge.
//!
//! [`Question::encode`] writes a query, [`DnsResponse::parse`] reads what came back, and
//! [`CnameChain`] follows CNAMEs through one response or several. [`RrsetUpdate`] replaces a record
//! set at its primary server, signed with a [`TsigKey`].

use core::fmt;

use crate::svcb;

mod chain;
mod message;
mod tsig;
mod tsig_key;
mod update;

pub use chain::{CnameChain, EndlessCnames, QuestionOutcome, Status};
pub use message::{DnsResponse, EdnsUse, Question, RawRecord, ResponseError};
pub use tsig::{SignedRequest, TsigError};
pub use tsig_key::{TsigAlgorithm, TsigKey, TsigKeyError};
pub use update::{RrsetUpdate, UpdateCode, UpdateError};

/// The type of a record set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// The servers of a zone.
    pub const NS: Self = Self(2);
    /// An alias of the whole name.
    pub const CNAME: Self = Self(5);
    /// The start of a zone; carries the lifetime of negative answers.
    pub const SOA: Self = Self(6);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// No record: what EDNS says about a message (RFC 6891).
    pub const OPT: Self = Self(41);
    /// The signature of a message (RFC 8945).
    pub const TSIG: Self = Self(250);
    /// A service binding (RFC 9460).
    pub const SVCB: Self = Self(svcb::TYPE_SVCB);
    /// A service binding for `https` (RFC 9460 §9).
    pub const HTTPS: Self = Self(svcb::TYPE_HTTPS);
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::A => f.write_str("A"),
            Self::NS => f.write_str("NS"),
            Self::CNAME => f.write_str("CNAME"),
            Self::SOA => f.write_str("SOA"),
            Self::AAAA => f.write_str("AAAA"),
            Self::OPT => f.write_str("OPT"),
            Self::TSIG => f.write_str("TSIG"),
            Self::SVCB => f.write_str("SVCB"),
            Self::HTTPS => f.write_str("HTTPS"),
            // RFC 3597 §5
            Self(number) => write!(f, "TYPE{number}"),
        }
    }
}
