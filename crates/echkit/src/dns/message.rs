//! DNS messages: questions written by hickory-proto, answers walked with RDATA left raw.

use std::net::IpAddr;

use echkit_proto::svcb::DomainName;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RecordType as HickoryType};

use super::answer::RecordType;

/// What a resolver is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) name: DomainName,
    pub(super) kind: RecordType,
}

/// How a question uses EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdnsUse {
    /// Not at all, for servers that choke on it.
    Off,
    /// To announce how much fits into a datagram.
    Plain,
    /// And to hide the length of the name, on encrypted transports (RFC 8467).
    Padded,
}

/// Datagrams of this size pass everywhere without fragments.
const UDP_PAYLOAD: u16 = 1232;
/// RFC 8467 §4.1: queries are padded to a multiple of this.
const PADDING_BLOCK: usize = 128;
/// RFC 7830 §3
const OPTION_PADDING: u16 = 12;

const CLASS_IN: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_OPT: u16 = 41;

impl Question {
    /// Writes the question as a message.
    pub(super) fn encode(&self, id: u16, edns: EdnsUse) -> Result<Vec<u8>, Unusable> {
        let name = Name::from_labels(self.name.labels()).map_err(|_| Unusable::Name)?;
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, HickoryType::from(self.kind.0)));
        if edns == EdnsUse::Off {
            return message.to_vec().map_err(|_| Unusable::Name);
        }
        let mut options = Edns::new();
        options.set_max_payload(UDP_PAYLOAD);
        message.set_edns(options.clone());
        let plain = message.to_vec().map_err(|_| Unusable::Name)?;
        if edns == EdnsUse::Plain {
            return Ok(plain);
        }
        // The option itself has a header of four octets.
        let padding = (plain.len() + 4).next_multiple_of(PADDING_BLOCK) - (plain.len() + 4);
        options
            .options_mut()
            .insert(EdnsOption::Unknown(OPTION_PADDING, vec![0; padding]));
        message.set_edns(options);
        message.to_vec().map_err(|_| Unusable::Name)
    }
}

/// A message for a stream, with its length in front (RFC 1035 §4.2.2).
pub(super) fn framed(message: Vec<u8>) -> Result<Vec<u8>, Unusable> {
    let length = u16::try_from(message.len()).map_err(|_| Unusable::Name)?;
    // In one piece, for one segment (RFC 7766 §8).
    Ok([&length.to_be_bytes()[..], &message].concat())
}

/// A response to a question, walked.
#[derive(Clone, Debug)]
pub(super) struct Response {
    /// The response code with its extension (RFC 6891 §6.1.3).
    pub(super) rcode: u16,
    /// The datagram was too small; the records are not to be used.
    pub(super) truncated: bool,
    /// The answer section.
    pub(super) answers: Vec<RawRecord>,
    /// Lifetime of "there is nothing", from the SOA record (RFC 2308 §5).
    pub(super) negative_ttl: Option<u32>,
    /// The authority section names other servers and has no SOA: a referral (RFC 2308 §2.2).
    pub(super) referral: bool,
}

/// A record with its data left alone.
#[derive(Clone, Debug)]
pub(super) struct RawRecord {
    pub(super) owner: DomainName,
    pub(super) kind: RecordType,
    pub(super) ttl: u32,
    pub(super) rdata: Vec<u8>,
    /// The name that a CNAME record leads to; it may be compressed in `rdata`.
    pub(super) cname: Option<DomainName>,
}

/// Why bytes are no response to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The response is to another question, or no response: it may be forged.
    NotOurs(&'static str),
    /// It is ours and broken.
    Broken(&'static str),
    /// The name does not fit into a question.
    Name,
}

impl Unusable {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NotOurs(reason) | Self::Broken(reason) => reason,
            Self::Name => "the name does not fit into a query",
        }
    }
}

impl Response {
    /// Reads the response to `question` that carries `id`.
    pub(super) fn parse(bytes: &[u8], question: &Question, id: u16) -> Result<Self, Unusable> {
        let mut walk = Walk {
            message: bytes,
            at: 0,
        };
        let cut = Unusable::NotOurs("it is shorter than a header");
        let mut header = [0u16; 6];
        for field in &mut header {
            *field = walk.u16().ok_or(cut)?;
        }
        let [got_id, flags, queries, answers, authorities, additionals] = header;
        if got_id != id {
            return Err(Unusable::NotOurs("its id is another"));
        }
        // QR set, opcode QUERY
        if flags & 0xf800 != 0x8000 {
            return Err(Unusable::NotOurs("it is no response to a query"));
        }
        let mut rcode = flags & 0x000f;
        match queries {
            1 => {
                let cut = Unusable::NotOurs("its question is cut short");
                let name = walk.name().ok_or(cut)?;
                let kind = walk.u16().ok_or(cut)?;
                let class = walk.u16().ok_or(cut)?;
                if name != question.name || kind != question.kind.0 || class != CLASS_IN {
                    return Err(Unusable::NotOurs("its question is another"));
                }
            }
            // Some servers drop the question when they refuse it.
            0 if rcode != 0 && rcode != 3 => {}
            _ => return Err(Unusable::NotOurs("it does not repeat the question")),
        }
        let mut response = Self {
            rcode,
            truncated: flags & 0x0200 != 0,
            answers: Vec::new(),
            negative_ttl: None,
            referral: false,
        };
        if response.truncated {
            return Ok(response);
        }
        let broken = Unusable::Broken("a record in it is cut short or has a broken name");
        for _ in 0..answers {
            let (record, class) = walk.record().ok_or(broken)?;
            if class == CLASS_IN {
                response.answers.push(record);
            }
        }
        let mut has_ns = false;
        for _ in 0..authorities {
            let (record, class) = walk.record().ok_or(broken)?;
            match record.kind {
                RecordType::SOA if class == CLASS_IN => {
                    let minimum = record.rdata.last_chunk().ok_or(broken)?;
                    let ttl = record.ttl.min(u32::from_be_bytes(*minimum));
                    response.negative_ttl = Some(ttl);
                }
                RecordType(TYPE_NS) => has_ns = true,
                _ => {}
            }
        }
        for _ in 0..additionals {
            let (record, _) = walk.record().ok_or(broken)?;
            if record.kind.0 == TYPE_OPT {
                // RFC 6891 §6.1.3: the upper eight bits of the code are the first of the TTL.
                rcode |= u16::from(record.ttl.to_be_bytes()[0]) << 4;
            }
        }
        response.rcode = rcode;
        response.referral =
            has_ns && response.negative_ttl.is_none() && response.answers.is_empty();
        Ok(response)
    }
}

impl RawRecord {
    /// The address in an A or AAAA record.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.kind {
            RecordType::A => <[u8; 4]>::try_from(self.rdata.as_slice())
                .ok()
                .map(IpAddr::from),
            RecordType::AAAA => <[u8; 16]>::try_from(self.rdata.as_slice())
                .ok()
                .map(IpAddr::from),
            _ => None,
        }
    }
}

/// A place in a message.
struct Walk<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..)?.get(..count)?;
        self.at += count;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn record(&mut self) -> Option<(RawRecord, u16)> {
        let owner = self.name()?;
        let kind = RecordType(self.u16()?);
        let class = self.u16()?;
        let mut ttl = u32::from_be_bytes(self.bytes(4)?.try_into().ok()?);
        // RFC 2181 §8: a lifetime with the highest bit set is zero. In OPT it is no lifetime.
        if ttl > i32::MAX as u32 && kind.0 != TYPE_OPT {
            ttl = 0;
        }
        let length = usize::from(self.u16()?);
        let start = self.at;
        let rdata = self.bytes(length)?.to_vec();
        let cname = if kind == RecordType::CNAME {
            let mut inside = Self {
                message: &self.message[..self.at],
                at: start,
            };
            let target = inside.name()?;
            (inside.at == self.at).then_some(())?;
            Some(target)
        } else {
            None
        };
        Some((
            RawRecord {
                owner,
                kind,
                ttl,
                rdata,
                cname,
            },
            class,
        ))
    }

    /// A name, its compression undone (RFC 1035 §4.1.4).
    fn name(&mut self) -> Option<DomainName> {
        let mut labels = Vec::new();
        let mut at = self.at;
        let mut end = None;
        let mut size = 1;
        loop {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => break,
                1..=DomainName::MAX_LABEL => {
                    labels.push(self.message.get(at + 1..at + 1 + length)?);
                    at += 1 + length;
                    size += 1 + length;
                    // Bounds the work, together with the rule on pointers.
                    (size <= DomainName::MAX_WIRE).then_some(())?;
                }
                0xc0.. => {
                    let low = usize::from(*self.message.get(at + 1)?);
                    let to = (length & 0x3f) << 8 | low;
                    end.get_or_insert(at + 2);
                    // A pointer leads to a prior occurrence; one that does not may never end.
                    (to < at).then_some(())?;
                    at = to;
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        DomainName::from_labels(labels).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn question() -> Question {
        Question {
            name: "example.com".parse().unwrap(),
            kind: RecordType::HTTPS,
        }
    }

    /// A response with the question in it, and what follows.
    fn response(flags: u16, counts: [u16; 3], rest: &[u8]) -> Vec<u8> {
        let mut out = vec![0x12, 0x34];
        for field in [flags, 1, counts[0], counts[1], counts[2]] {
            out.extend(field.to_be_bytes());
        }
        out.extend(b"\x07example\x03com\0\0\x41\0\x01");
        out.extend(rest);
        out
    }

    fn record(owner: &[u8], kind: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rdata.len()).unwrap();
        let head = [
            &kind.to_be_bytes()[..],
            &[0, 1],
            &ttl.to_be_bytes(),
            &length.to_be_bytes(),
        ];
        [owner, &head.concat(), rdata].concat()
    }

    #[test]
    fn queries_on_encrypted_transports_are_padded_to_blocks() {
        for name in [
            "a.example".to_owned(),
            "b".repeat(60) + ".example",
            vec!["c".repeat(50); 4].join("."),
        ] {
            let question = Question {
                name: name.parse().unwrap(),
                kind: RecordType::HTTPS,
            };
            let padded = question.encode(0, EdnsUse::Padded).unwrap();
            assert_eq!(padded.len() % 128, 0);
            let plain = question.encode(0, EdnsUse::Plain).unwrap();
            assert!(padded.len() > plain.len() && padded.len() < plain.len() + 4 + 128);
            assert_eq!(
                question.encode(0, EdnsUse::Off).unwrap().len() + 11,
                plain.len()
            );
        }
    }

    #[test]
    fn rdata_stays_raw_and_compressed_owners_do_not() {
        let rest = [
            record(b"\xc0\x0c", 5, 60, b"\x03svc\xc0\x14"),
            record(b"\x03svc\xc0\x14", 65, 30, b"\0\x01\xff garbage"),
        ];
        let got = Response::parse(
            &response(0x8180, [2, 0, 0], &rest.concat()),
            &question(),
            0x1234,
        )
        .unwrap();
        assert_eq!(got.answers[0].cname, Some("svc.com".parse().unwrap()));
        assert_eq!(got.answers[1].owner, "svc.com".parse().unwrap());
        assert_eq!(got.answers[1].rdata, b"\0\x01\xff garbage");
    }

    #[test]
    fn negative_lifetime_is_the_smaller_of_the_two() {
        let soa = [&b"\x01a\0\x01b\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
        for (ttl, want) in [(3600, 60), (10, 10), (u32::MAX, 0)] {
            let rest = record(b"\xc0\x0c", 6, ttl, &soa);
            let got = Response::parse(&response(0x8183, [0, 1, 0], &rest), &question(), 0x1234);
            assert_eq!(got.unwrap().negative_ttl, Some(want));
        }
    }

    #[test]
    fn a_referral_is_no_answer() {
        let rest = record(b"\x03com\0", 2, 60, b"\x01a\0");
        let got = Response::parse(&response(0x8000, [0, 1, 0], &rest), &question(), 0x1234);
        assert!(got.unwrap().referral);
    }

    #[test]
    fn the_response_code_has_an_upper_part() {
        let rest = [
            &b"\0\0\x29\x04\xd0"[..],
            &0x0100_0000u32.to_be_bytes(),
            &[0, 0],
        ]
        .concat();
        let got = Response::parse(&response(0x8180, [0, 0, 1], &rest), &question(), 0x1234);
        assert_eq!(got.unwrap().rcode, 16);
    }

    #[test]
    fn forged_and_broken_responses_are_told_apart() {
        let parse = |bytes: &[u8]| Response::parse(bytes, &question(), 0x1234).unwrap_err();
        let good = response(0x8180, [0, 0, 0], &[]);
        assert!(Response::parse(&good, &question(), 0x1234).is_ok());
        for (at, value) in [
            (0, 0xff),
            (2, 0x01),
            (2, 0xa8),
            (5, 0),
            (13, b'x'),
            (26, 1),
            (28, 3),
        ] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert!(matches!(parse(&bytes), Unusable::NotOurs(_)), "octet {at}");
        }
        for length in 0..good.len() {
            assert!(matches!(parse(&good[..length]), Unusable::NotOurs(_)));
        }
        let whole = record(b"\xc0\x0c", 65, 60, b"abc");
        for length in 0..whole.len() {
            let bytes = response(0x8180, [1, 0, 0], &whole[..length]);
            assert!(matches!(parse(&bytes), Unusable::Broken(_)));
        }
        // Pointers forward, to themselves, and a CNAME that runs out of its RDATA.
        for rest in [
            record(b"\xc0\xff", 65, 60, b""),
            record(b"\xc0\x1d", 65, 60, b""),
            record(b"\xc0\x0c", 5, 60, b"\x03ab"),
            record(b"\xc0\x0c", 5, 60, b"\x01a\0x"),
        ] {
            assert!(matches!(
                parse(&response(0x8180, [1, 0, 0], &rest)),
                Unusable::Broken(_)
            ));
        }
    }

    #[test]
    fn a_truncated_response_is_not_walked() {
        let bytes = response(0x8380, [9, 9, 9], &[1, 2, 3]);
        let got = Response::parse(&bytes, &question(), 0x1234).unwrap();
        assert!(got.truncated && got.answers.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(rest in prop::collection::vec(any::<u8>(), 0..300), counts: [u8; 3]) {
            let bytes = response(0x8180, counts.map(u16::from), &rest);
            let _ = Response::parse(&bytes, &question(), 0x1234);
            let _ = Response::parse(&rest, &question(), 0x1234);
        }
    }
}
