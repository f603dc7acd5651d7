//! Queries as bytes, and responses walked with RDATA left raw (RFC 1035 §4, RFC 6891).

use std::net::IpAddr;

use super::RecordType;
use crate::codec::{Reader, Short};
use crate::svcb::DomainName;

/// One question to a resolver: a name and the type of the records that are wanted.
///
/// ```
/// use echkit_proto::dns::{DnsResponse, EdnsUse, Question, RecordType};
///
/// let question = Question {
///     name: "www.example".parse()?,
///     kind: RecordType::HTTPS,
/// };
/// let id = 0x1234;
/// let query = question.encode(id, EdnsUse::Padded);
/// assert_eq!(query.len() % 128, 0, "RFC 8467 §4.1");
/// // Its own query is no response.
/// assert!(DnsResponse::parse(&query, &question, id).is_err());
/// # Ok::<(), echkit_proto::svcb::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The owner name.
    pub name: DomainName,
    /// The type of the records.
    pub kind: RecordType,
}

/// How a query uses EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdnsUse {
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
/// The flag RD (RFC 1035 §4.1.1).
const RECURSION_DESIRED: u16 = 0x0100;

/// Compression pointers that one name may have. A pointer is worth its two octets only behind a
/// label, and a name has at most 127; what has more is made to cost time.
const MAX_POINTERS: usize = 128;

impl Question {
    /// Writes a query.
    pub fn encode(&self, id: u16, edns: EdnsUse) -> Vec<u8> {
        let additionals = u16::from(edns != EdnsUse::Off);
        let mut out = Vec::with_capacity(2 * PADDING_BLOCK);
        for field in [id, RECURSION_DESIRED, 1, 0, 0, additionals] {
            out.extend(field.to_be_bytes());
        }
        out.extend(self.name.wire());
        out.extend(self.kind.0.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        if edns == EdnsUse::Off {
            return out;
        }
        // RFC 6891 §6.1.2: the root owns the OPT record, its class is the size of a datagram, its
        // TTL holds an extended response code, a version and flags, all zero here.
        out.push(0);
        out.extend(RecordType::OPT.0.to_be_bytes());
        out.extend(UDP_PAYLOAD.to_be_bytes());
        out.extend(0u32.to_be_bytes());
        if edns == EdnsUse::Plain {
            out.extend(0u16.to_be_bytes());
            return out;
        }
        // The length of the options and the option's own header take six octets. A byte counts the
        // padding, since a block has 128.
        let bare = out.len() + 6;
        let padding = (bare.next_multiple_of(PADDING_BLOCK) - bare).to_be_bytes();
        let [.., padding] = padding;
        out.extend((4 + u16::from(padding)).to_be_bytes());
        out.extend(OPTION_PADDING.to_be_bytes());
        out.extend(u16::from(padding).to_be_bytes());
        out.resize(out.len() + usize::from(padding), 0);
        out
    }

    /// Writes a query for a stream: with its length in front (RFC 1035 §4.2.2), in one piece, for
    /// one segment (RFC 7766 §8).
    pub fn encode_for_stream(&self, id: u16, edns: EdnsUse) -> Vec<u8> {
        let message = self.encode(id, edns);
        // A name of 255 octets and a block of padding stay below 1,000 octets.
        let [.., high, low] = message.len().to_be_bytes();
        [&[high, low], message.as_slice()].concat()
    }
}

/// A response to a question, walked.
#[derive(Clone, Debug)]
pub struct DnsResponse {
    /// The response code with its extension (RFC 6891 §6.1.3).
    pub rcode: u16,
    /// The datagram was too small; the records are not to be used.
    pub truncated: bool,
    /// The answer section.
    pub answers: Vec<RawRecord>,
    /// Lifetime of "there is nothing", from the SOA record (RFC 2308 §5).
    pub negative_ttl: Option<u32>,
    /// The authority section names other servers and has no SOA: a referral (RFC 2308 §2.2).
    pub referral: bool,
}

/// A record with its data left alone.
#[derive(Clone, Debug)]
pub struct RawRecord {
    /// The name that it is about.
    pub owner: DomainName,
    /// Its type.
    pub kind: RecordType,
    /// Its lifetime in seconds.
    pub ttl: u32,
    /// Its data, as it came.
    pub rdata: Vec<u8>,
    /// The name that a CNAME record leads to; it may be compressed in `rdata`.
    pub cname: Option<DomainName>,
}

/// Why bytes are not a response to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// A response to another question, or not a response: it may be forged.
    #[error("{0}")]
    NotOurs(&'static str),
    /// The response to this question, and broken.
    #[error("{0}")]
    Broken(&'static str),
}

impl ResponseError {
    /// What is wrong, for a sentence that names the server.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotOurs(reason) | Self::Broken(reason) => reason,
        }
    }
}

impl DnsResponse {
    /// Reads the response to `question` that carries `id`.
    ///
    /// # Errors
    ///
    /// When the bytes are not that response, or are broken.
    pub fn parse(bytes: &[u8], question: &Question, id: u16) -> Result<Self, ResponseError> {
        Self::read(&mut Walk::new(bytes), question, id)
    }

    fn read(walk: &mut Walk<'_>, question: &Question, id: u16) -> Result<Self, ResponseError> {
        let cut = ResponseError::NotOurs("it is shorter than a header");
        let mut header = [0u16; 6];
        for field in &mut header {
            *field = walk.reader.u16().map_err(|Short| cut)?;
        }
        let [got_id, flags, queries, answers, authorities, additionals] = header;
        if got_id != id {
            return Err(ResponseError::NotOurs("its id differs"));
        }
        // QR set, opcode QUERY
        if flags & 0xf800 != 0x8000 {
            return Err(ResponseError::NotOurs("it is not a response to a query"));
        }
        let mut rcode = flags & 0x000f;
        match queries {
            1 => {
                let cut = ResponseError::NotOurs("its question is cut short");
                let name = walk.name().ok_or(cut)?;
                let kind = walk.reader.u16().map_err(|Short| cut)?;
                let class = walk.reader.u16().map_err(|Short| cut)?;
                if name != question.name || kind != question.kind.0 || class != CLASS_IN {
                    return Err(ResponseError::NotOurs("it answers another question"));
                }
            }
            // Some servers drop the question when they refuse it.
            0 if rcode != 0 && rcode != 3 => {}
            _ => return Err(ResponseError::NotOurs("it does not repeat the question")),
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
        let broken = ResponseError::Broken("a record in it is cut short or has a broken name");
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
                RecordType::NS => has_ns = true,
                _ => {}
            }
        }
        for _ in 0..additionals {
            let (record, _) = walk.record().ok_or(broken)?;
            if record.kind == RecordType::OPT {
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
    pub fn address(&self) -> Option<IpAddr> {
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

/// A message on its way through [`DnsResponse::parse`].
struct Walk<'a> {
    message: &'a [u8],
    reader: Reader<'a>,
    /// Labels and pointers that names took so far: the work that a message can multiply.
    steps: usize,
}

impl<'a> Walk<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            reader: Reader::new(message),
            steps: 0,
        }
    }

    fn record(&mut self) -> Option<(RawRecord, u16)> {
        let owner = self.name()?;
        let kind = RecordType(self.reader.u16().ok()?);
        let class = self.reader.u16().ok()?;
        let mut ttl = self.reader.u32().ok()?;
        // RFC 2181 §8: a lifetime with the highest bit set is zero. In OPT it is not a lifetime.
        if ttl > i32::MAX as u32 && kind != RecordType::OPT {
            ttl = 0;
        }
        let length = self.reader.u16().ok()?;
        let start = self.reader.position();
        let rdata = self.reader.bytes(length.into()).ok()?.to_vec();
        let cname = match kind {
            RecordType::CNAME => Some(self.name_that_fills(start, self.reader.position())?),
            _ => None,
        };
        let record = RawRecord {
            owner,
            kind,
            ttl,
            rdata,
            cname,
        };
        Some((record, class))
    }

    /// The name from `start` to `end`, which may be compressed by what is in front of it.
    fn name_that_fills(&mut self, start: usize, end: usize) -> Option<DomainName> {
        let message = self.message.get(..end)?;
        let mut inside = Self {
            message,
            reader: Reader::starting_at(message, start),
            steps: self.steps,
        };
        let name = inside.name()?;
        self.steps = inside.steps;
        inside.reader.is_empty().then_some(name)
    }

    /// A name, its compression undone (RFC 1035 §4.1.4).
    fn name(&mut self) -> Option<DomainName> {
        let mut labels = Vec::new();
        let mut reader = self.reader.clone();
        let mut behind = None;
        let mut size = 1;
        let mut pointers = 0;
        loop {
            self.steps += 1;
            let here = reader.position();
            let length = usize::from(reader.u8().ok()?);
            match length {
                0 => break,
                1..=DomainName::MAX_LABEL => {
                    labels.push(reader.bytes(length).ok()?);
                    size += 1 + length;
                    (size <= DomainName::MAX_WIRE).then_some(())?;
                }
                0xc0.. => {
                    let to = (length & 0x3f) << 8 | usize::from(reader.u8().ok()?);
                    pointers += 1;
                    // A pointer leads to a prior occurrence; one that does not may never end.
                    (to < here && pointers <= MAX_POINTERS).then_some(())?;
                    behind.get_or_insert(reader);
                    reader = Reader::starting_at(self.message, to);
                }
                _ => return None,
            }
        }
        self.reader = behind.unwrap_or(reader);
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
            let padded = question.encode(0, EdnsUse::Padded);
            assert_eq!(padded.len() % 128, 0);
            let plain = question.encode(0, EdnsUse::Plain);
            assert!(padded.len() > plain.len() && padded.len() < plain.len() + 4 + 128);
            assert_eq!(question.encode(0, EdnsUse::Off).len() + 11, plain.len());
        }
    }

    #[test]
    fn a_dns_library_writes_the_same_queries() {
        use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
        use hickory_proto::rr::rdata::opt::EdnsOption;
        use hickory_proto::rr::{Name, RecordType as HickoryType};

        for name in [
            ".",
            "a.example",
            "WWW.b-c.Example",
            r"\000\255.x\.y.example",
        ] {
            let name: DomainName = name.parse().unwrap();
            for (edns, kind) in [
                (EdnsUse::Off, RecordType::HTTPS),
                (EdnsUse::Plain, RecordType::AAAA),
                (EdnsUse::Padded, RecordType::SVCB),
            ] {
                let question = Question {
                    name: name.clone(),
                    kind,
                };
                let ours = question.encode(0xbeef, edns);
                let mut theirs = Message::new(0xbeef, MessageType::Query, OpCode::Query);
                theirs.metadata.recursion_desired = true;
                let labels = Name::from_labels(name.labels()).unwrap();
                theirs.add_query(Query::query(labels, HickoryType::from(kind.0)));
                if edns != EdnsUse::Off {
                    let mut options = Edns::new();
                    options.set_max_payload(UDP_PAYLOAD);
                    if edns == EdnsUse::Padded {
                        let padding = 128 - 12 - name.wire().len() - 4 - 11 - 4;
                        let padding = EdnsOption::Unknown(OPTION_PADDING, vec![0; padding]);
                        options.options_mut().insert(padding);
                    }
                    theirs.set_edns(options);
                }
                assert_eq!(ours, theirs.to_vec().unwrap(), "{name} {edns:?}");
                let framed = question.encode_for_stream(0xbeef, edns);
                assert_eq!(Reader::new(&framed).vec16(), Ok(&ours[..]));
            }
        }
    }

    #[test]
    fn a_name_has_a_bounded_number_of_pointers() {
        // The root, then pointers each of which leads to the one before.
        let chain = |pointers: usize| {
            let mut message = vec![0];
            for to in core::iter::once(0).chain((1..).step_by(2)).take(pointers) {
                message.extend((0xc000 | u16::try_from(to).unwrap()).to_be_bytes());
            }
            message
        };
        for (pointers, read) in [(1, true), (MAX_POINTERS, true), (MAX_POINTERS + 1, false)] {
            let message = chain(pointers);
            let mut walk = Walk::new(&message);
            walk.reader = Reader::starting_at(&message, message.len() - 2);
            let name = walk.name();
            assert_eq!(name, read.then(DomainName::root), "{pointers}");
            assert!(!read || walk.reader.is_empty());
        }
    }

    /// 16 KB of pointers, each to the one before, inside the data of one record, and records that
    /// begin with a pointer to one of them, as many as 64 KB hold.
    fn pointer_chain(link: usize) -> (Vec<u8>, usize) {
        let start = response(0x8180, [0; 3], &[]).len() + record(b"\0", 99, 60, b"").len();
        let mut chain = vec![0];
        let mut last = start;
        let pointer = |to: usize| (0xc000 | u16::try_from(to).unwrap()).to_be_bytes();
        while chain.len() < 16_000 {
            let here = start + chain.len();
            chain.extend(pointer(last));
            last = here;
        }
        let mut rest = record(b"\0", 99, 60, &chain);
        let one = record(&pointer(start + 1 + 2 * link), 1, 60, &[]);
        let records = (65_535 - 29 - rest.len()) / one.len();
        rest.extend(one.repeat(records));
        let count = u16::try_from(records + 1).unwrap();
        (response(0x8180, [count, 0, 0], &rest), records)
    }

    #[test]
    fn pointers_cannot_make_a_message_cost_more_than_its_records() {
        // With the owner's own pointer, as many as are allowed.
        let (message, records) = pointer_chain(MAX_POINTERS - 2);
        assert!(message.len() > 65_500 && records > 4_000);
        let mut walk = Walk::new(&message);
        let got = DnsResponse::read(&mut walk, &question(), 0x1234).unwrap();
        assert_eq!(got.answers.len(), records + 1);
        assert!(walk.steps <= (records + 2) * (MAX_POINTERS + 2));
        // All of the chain, which ends the walk at the first record.
        let (message, _) = pointer_chain(7_900);
        let mut walk = Walk::new(&message);
        let error = DnsResponse::read(&mut walk, &question(), 0x1234).unwrap_err();
        assert!(matches!(error, ResponseError::Broken(_)));
        assert!(walk.steps <= MAX_POINTERS + 10, "{}", walk.steps);
    }

    #[test]
    fn rdata_stays_raw_and_compressed_owners_do_not() {
        let rest = [
            record(b"\xc0\x0c", 5, 60, b"\x03svc\xc0\x14"),
            record(b"\x03svc\xc0\x14", 65, 30, b"\0\x01\xff garbage"),
        ];
        let got = DnsResponse::parse(
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
            let got = DnsResponse::parse(&response(0x8183, [0, 1, 0], &rest), &question(), 0x1234);
            assert_eq!(got.unwrap().negative_ttl, Some(want));
        }
    }

    #[test]
    fn a_referral_is_no_answer() {
        let rest = record(b"\x03com\0", 2, 60, b"\x01a\0");
        let got = DnsResponse::parse(&response(0x8000, [0, 1, 0], &rest), &question(), 0x1234);
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
        let got = DnsResponse::parse(&response(0x8180, [0, 0, 1], &rest), &question(), 0x1234);
        assert_eq!(got.unwrap().rcode, 16);
    }

    #[test]
    fn forged_and_broken_responses_are_told_apart() {
        let parse = |bytes: &[u8]| DnsResponse::parse(bytes, &question(), 0x1234).unwrap_err();
        let good = response(0x8180, [0, 0, 0], &[]);
        assert!(DnsResponse::parse(&good, &question(), 0x1234).is_ok());
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
            assert!(
                matches!(parse(&bytes), ResponseError::NotOurs(_)),
                "octet {at}"
            );
        }
        for length in 0..good.len() {
            assert!(matches!(parse(&good[..length]), ResponseError::NotOurs(_)));
        }
        let whole = record(b"\xc0\x0c", 65, 60, b"abc");
        for length in 0..whole.len() {
            let bytes = response(0x8180, [1, 0, 0], &whole[..length]);
            assert!(matches!(parse(&bytes), ResponseError::Broken(_)));
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
                ResponseError::Broken(_)
            ));
        }
    }

    #[test]
    fn a_truncated_response_is_not_walked() {
        let bytes = response(0x8380, [9, 9, 9], &[1, 2, 3]);
        let got = DnsResponse::parse(&bytes, &question(), 0x1234).unwrap();
        assert!(got.truncated && got.answers.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(rest in prop::collection::vec(any::<u8>(), 0..300), counts: [u8; 3]) {
            let bytes = response(0x8180, counts.map(u16::from), &rest);
            let _ = DnsResponse::parse(&bytes, &question(), 0x1234);
            let _ = DnsResponse::parse(&rest, &question(), 0x1234);
        }
    }
}
