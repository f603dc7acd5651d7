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

pub(super) const CLASS_IN: u16 = 1;
/// The flag RD (RFC 1035 §4.1.1).
const RECURSION_DESIRED: u16 = 0x0100;
/// The flag AD (RFC 4035 §3.2.3). In a query it asks for that flag in the response (RFC 6840 §5.7).
const AUTHENTIC_DATA: u16 = 0x0020;

/// Compression pointers that one name may have. A pointer is worth its two octets only behind a
/// label, and a name has at most 127; what has more is made to cost time.
const MAX_POINTERS: usize = 128;

impl Question {
    /// Writes a query.
    pub fn encode(&self, id: u16, edns: EdnsUse) -> Vec<u8> {
        let additionals = u16::from(edns != EdnsUse::Off);
        let mut out = Vec::with_capacity(2 * PADDING_BLOCK);
        let flags = RECURSION_DESIRED | AUTHENTIC_DATA;
        for field in [id, flags, 1, 0, 0, additionals] {
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
    /// The server has the zone itself (AA, RFC 1035 §4.1.1).
    pub authoritative: bool,
    /// The server says that it has validated the records by DNSSEC (AD, RFC 4035 §3.2.3). Over a
    /// connection that is not protected anyone may have said it.
    pub authentic_data: bool,
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
    /// Its data, as it came; names in NS and SOA records are uncompressed.
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
            authoritative: flags & 0x0400 != 0,
            authentic_data: flags & AUTHENTIC_DATA != 0,
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

/// A message that is read from its start.
pub(super) struct Walk<'a> {
    message: &'a [u8],
    pub(super) reader: Reader<'a>,
    /// Labels and pointers that names took so far: the work that a message can multiply.
    steps: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            reader: Reader::new(message),
            steps: 0,
        }
    }

    pub(super) fn record(&mut self) -> Option<(RawRecord, u16)> {
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
        let mut rdata = self.reader.bytes(length.into()).ok()?.to_vec();
        let names = match kind {
            RecordType::NS => 1,
            RecordType::SOA => 2,
            _ => 0,
        };
        if let Some(plain) = self.without_compression(start, self.reader.position(), names) {
            rdata = plain;
        }
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

    /// RDATA that begins with this many names, which may be compressed (RFC 3597 §4).
    fn without_compression(&mut self, start: usize, end: usize, names: u8) -> Option<Vec<u8>> {
        let message = self.message.get(..end).filter(|_| names > 0)?;
        let mut inside = Self {
            message,
            reader: Reader::starting_at(message, start),
            steps: self.steps,
        };
        let mut plain = Vec::new();
        for _ in 0..names {
            let name = inside.name();
            self.steps = inside.steps;
            plain.extend_from_slice(name?.wire());
        }
        plain.extend_from_slice(inside.reader.rest());
        Some(plain)
    }

    /// A name, its compression undone (RFC 1035 §4.1.4).
    pub(super) fn name(&mut self) -> Option<DomainName> {
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
mod tests;
