//! Dynamic updates: one record set is replaced, if it is as it was (RFC 2136).

use core::fmt;

use super::RecordType;
use super::message::CLASS_IN;
use crate::codec::{Reader, Short, TooLong, put_vec16};
use crate::svcb::DomainName;

/// RFC 2136 §2.4 and §2.5: no such record set.
const CLASS_NONE: u16 = 254;
/// RFC 2136 §2.5.2: all records of a type.
const CLASS_ANY: u16 = 255;
/// The opcode UPDATE in the flags of a header (RFC 2136 §2.2).
const UPDATE: u16 = 5 << 11;

/// A dynamic update that replaces one record set.
///
/// Its prerequisites are the record set as it was read: the server changes nothing when it is
/// another one by then (RFC 2136 §3.2).
///
/// ```
/// use echkit_proto::dns::{RecordType, RrsetUpdate};
///
/// let update = RrsetUpdate {
///     zone: "example.com".parse()?,
///     owner: "www.example.com".parse()?,
///     kind: RecordType::HTTPS,
///     ttl: 300,
///     before: vec![b"\0\x01\0".to_vec()],
///     after: vec![b"\0\x01\0\0\x03\0\x02\x01\xbb".to_vec()],
/// };
/// let message = update.encode(0x1234)?;
/// assert_eq!(message[2..4], [5 << 3, 0], "opcode UPDATE");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrsetUpdate {
    /// The zone that the name is in.
    pub zone: DomainName,
    /// The name that the records belong to.
    pub owner: DomainName,
    /// The type of the records.
    pub kind: RecordType,
    /// The TTL of the new records.
    pub ttl: u32,
    /// RDATA of the records that must be there, and no others; empty where there must be none.
    pub before: Vec<Vec<u8>>,
    /// RDATA of the records that take their place; empty to remove them.
    pub after: Vec<Vec<u8>>,
}

impl RrsetUpdate {
    /// Writes the message, which is not signed.
    ///
    /// # Errors
    ///
    /// When a record is longer than 65,535 octets.
    pub fn encode(&self, id: u16) -> Result<Vec<u8>, TooLong> {
        let mut body = Vec::new();
        // RFC 2136 §2.3
        body.extend_from_slice(self.zone.wire());
        body.extend(RecordType::SOA.0.to_be_bytes());
        body.extend(CLASS_IN.to_be_bytes());
        let mut prerequisites = 0u16;
        if self.before.is_empty() {
            // RFC 2136 §2.4.3. Beside a CNAME the server would ignore the addition (§3.4.2.2).
            for kind in [self.kind, RecordType::CNAME] {
                self.put(&mut body, kind, CLASS_NONE, 0, &[])?;
                prerequisites += 1;
            }
        }
        for rdata in &self.before {
            // RFC 2136 §2.4.2
            self.put(&mut body, self.kind, CLASS_IN, 0, rdata)?;
            prerequisites += 1;
        }
        let mut updates = 0u16;
        if !self.before.is_empty() {
            // RFC 2136 §2.5.2
            self.put(&mut body, self.kind, CLASS_ANY, 0, &[])?;
            updates += 1;
        }
        for rdata in &self.after {
            // RFC 2136 §2.5.1
            self.put(&mut body, self.kind, CLASS_IN, self.ttl, rdata)?;
            updates += 1;
        }
        let mut out = Vec::with_capacity(12 + body.len());
        for field in [id, UPDATE, 1, prerequisites, updates, 0] {
            out.extend(field.to_be_bytes());
        }
        out.extend(body);
        Ok(out)
    }

    fn put(
        &self,
        out: &mut Vec<u8>,
        kind: RecordType,
        class: u16,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), TooLong> {
        out.extend_from_slice(self.owner.wire());
        out.extend(kind.0.to_be_bytes());
        out.extend(class.to_be_bytes());
        out.extend(ttl.to_be_bytes());
        put_vec16(out, rdata)
    }
}

/// What a server made of a dynamic update (RFC 2136 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpdateCode(pub u16);

impl UpdateCode {
    /// The update was made.
    pub const NOERROR: Self = Self(0);
    /// The server refuses, by its configuration.
    pub const REFUSED: Self = Self(5);
    /// A record set is there that must not be.
    pub const YXRRSET: Self = Self(7);
    /// A record set is not there as it must be.
    pub const NXRRSET: Self = Self(8);
    /// The server is not authoritative for the zone, or does not accept the signature.
    pub const NOTAUTH: Self = Self(9);
    /// The name is not within the zone.
    pub const NOTZONE: Self = Self(10);

    /// Reads the code from the response to the update with this id.
    ///
    /// # Errors
    ///
    /// When the bytes are not that response.
    pub fn parse(response: &[u8], id: u16) -> Result<Self, UpdateError> {
        let mut reader = Reader::new(response);
        let short = |Short| UpdateError("it is shorter than a header");
        let got = reader.u16().map_err(short)?;
        let flags = reader.u16().map_err(short)?;
        reader.bytes(8).map_err(short)?;
        match () {
            () if got != id => Err(UpdateError("its id differs")),
            // QR set, opcode UPDATE
            () if flags & 0xf800 != 0x8000 | UPDATE => {
                Err(UpdateError("it is not a response to an update"))
            }
            () => Ok(Self(flags & 0x000f)),
        }
    }

    /// Whether the record set was another one than the update expected.
    pub fn is_conflict(self) -> bool {
        // A server may find the name (YXDOMAIN, NXDOMAIN) instead of the record set.
        matches!(self, Self::YXRRSET | Self::NXRRSET | Self(6) | Self(3))
    }
}

impl fmt::Display for UpdateCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            code => return write!(f, "response code {code}"),
        };
        f.write_str(name)
    }
}

/// Why bytes are not the response to an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UpdateError(&'static str);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hickory_proto::op::{Message, OpCode};
    use hickory_proto::rr::{DNSClass, RecordType as Kind};

    fn update(before: &[&[u8]], after: &[&[u8]]) -> RrsetUpdate {
        let owned = |list: &[&[u8]]| list.iter().map(|rdata| rdata.to_vec()).collect();
        RrsetUpdate {
            zone: "example.com".parse().unwrap(),
            owner: "www.example.com".parse().unwrap(),
            kind: RecordType::A,
            ttl: 77,
            before: owned(before),
            after: owned(after),
        }
    }

    fn sections(update: &RrsetUpdate) -> [Vec<(Kind, DNSClass, u32)>; 2] {
        let message = Message::from_vec(&update.encode(9).unwrap()).unwrap();
        assert_eq!(message.metadata.op_code, OpCode::Update);
        assert_eq!(message.queries[0].query_type(), Kind::SOA);
        [&message.answers, &message.authorities].map(|section| {
            let of = |record: &hickory_proto::rr::Record| {
                assert_eq!(record.name.to_ascii(), "www.example.com.");
                (record.record_type(), record.dns_class, record.ttl)
            };
            section.iter().map(of).collect()
        })
    }

    #[test]
    fn a_dns_library_reads_prerequisites_and_changes() {
        let (old, new): (&[u8], &[u8]) = (&[192, 0, 2, 1], &[192, 0, 2, 2]);
        let [prerequisites, changes] = sections(&update(&[old], &[new]));
        assert_eq!(prerequisites, [(Kind::A, DNSClass::IN, 0)]);
        let replaced = [(Kind::A, DNSClass::ANY, 0), (Kind::A, DNSClass::IN, 77)];
        assert_eq!(changes, replaced);
        let [prerequisites, changes] = sections(&update(&[], &[new]));
        let none = [
            (Kind::A, DNSClass::NONE, 0),
            (Kind::CNAME, DNSClass::NONE, 0),
        ];
        assert_eq!(prerequisites, none);
        assert_eq!(changes, [(Kind::A, DNSClass::IN, 77)]);
        let [_, changes] = sections(&update(&[old], &[]));
        assert_eq!(changes, [(Kind::A, DNSClass::ANY, 0)]);
    }

    #[test]
    fn only_the_response_to_the_update_has_a_code() {
        let mut response = update(&[], &[]).encode(9).unwrap();
        assert!(UpdateCode::parse(&response, 9).is_err(), "a request");
        response[2] |= 0x80;
        response[3] |= 8;
        let code = UpdateCode::parse(&response, 9).unwrap();
        assert_eq!(code, UpdateCode::NXRRSET);
        assert!(code.is_conflict());
        assert!(UpdateCode::parse(&response, 8).is_err());
        assert!(UpdateCode::parse(&response[..11], 9).is_err());
    }
}
