//! Where TLS records begin and end in bytes (RFC 8446 §5.1), without opening them.
//!
//! [`RecordWalker`] follows a stream that comes in pieces, and keeps nothing of it but a cut
//! header. [`whole_records`] goes through bytes that are there. Both read a [`RecordHeader`] first.
//!
//! ```
//! use echkit_proto::tls_record::{ALERT, whole_records};
//!
//! // A fatal alert, and the first three bytes of the next record.
//! let mut records = whole_records(&[21, 3, 3, 0, 2, 2, 40, 23, 3, 3]);
//! let alert = records.next().ok_or("no record")?;
//! assert_eq!((alert.header.content_type, alert.content()), (ALERT, &[2, 40][..]));
//! assert!(records.next().is_none());
//! assert_eq!(records.rest(), [23, 3, 3]);
//! # Ok::<(), &str>(())
//! ```

/// Content type `change_cipher_spec`.
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type `alert`.
pub const ALERT: u8 = 21;
/// Content type `handshake`.
pub const HANDSHAKE: u8 = 22;
/// Content type `application_data`.
pub const APPLICATION_DATA: u8 = 23;

/// The length of a record's header.
pub const RECORD_HEADER_LEN: usize = 5;
/// The most that a plaintext record holds (RFC 8446 §5.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;
/// The most that any record holds (RFC 8446 §5.2, RFC 5246 §6.2.3).
pub const MAX_RECORD: usize = MAX_PLAINTEXT + 2048;
/// The most that an encrypted record of TLS 1.3 holds (RFC 8446 §5.2).
pub const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT + 256;

/// What precedes the content of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The content type, [`APPLICATION_DATA`] for encrypted records of TLS 1.3.
    pub content_type: u8,
    /// `legacy_record_version`.
    pub version: u16,
    /// How many bytes of content follow.
    pub len: u16,
}

impl RecordHeader {
    /// The header at the head of `bytes`; `None` when they end inside it.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self::from_bytes)
    }

    fn from_bytes(bytes: [u8; RECORD_HEADER_LEN]) -> Self {
        let [content_type, major, minor, high, low] = bytes;
        Self {
            content_type,
            version: u16::from_be_bytes([major, minor]),
            len: u16::from_be_bytes([high, low]),
        }
    }

    /// The header as it is sent.
    pub fn to_bytes(self) -> [u8; RECORD_HEADER_LEN] {
        let ([major, minor], [high, low]) = (self.version.to_be_bytes(), self.len.to_be_bytes());
        [self.content_type, major, minor, high, low]
    }

    /// The length of the whole record, this header included.
    pub fn record_len(self) -> usize {
        RECORD_HEADER_LEN + usize::from(self.len)
    }

    /// Whether it can be the header of a TLS record at all: a content type of RFC 8446 §5.1, a
    /// version of TLS, and a length within [`MAX_RECORD`].
    pub fn is_tls(self) -> bool {
        (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&self.content_type)
            && self.version >> 8 == 3
            && usize::from(self.len) <= MAX_RECORD
    }
}

/// A record, all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeRecord<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// Its bytes, header included.
    pub bytes: &'a [u8],
}

impl<'a> WholeRecord<'a> {
    /// Its bytes behind the header.
    pub fn content(&self) -> &'a [u8] {
        &self.bytes[RECORD_HEADER_LEN..]
    }
}

/// The records in `bytes`, in order, up to one that is cut.
pub fn whole_records(bytes: &[u8]) -> WholeRecords<'_> {
    WholeRecords { rest: bytes }
}

/// Goes through the records in bytes. See [`whole_records`].
#[derive(Clone, Debug)]
pub struct WholeRecords<'a> {
    rest: &'a [u8],
}

impl<'a> WholeRecords<'a> {
    /// What follows the last record that was returned: once there is none, the cut one or nothing.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for WholeRecords<'a> {
    type Item = WholeRecord<'a>;

    fn next(&mut self) -> Option<WholeRecord<'a>> {
        let header = RecordHeader::read(self.rest)?;
        let (bytes, rest) = self.rest.split_at_checked(header.record_len())?;
        self.rest = rest;
        Some(WholeRecord { header, bytes })
    }
}

/// What comes next in a stream of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordPart<'a> {
    /// A header that is whole, whatever part of it came earlier.
    Header(RecordHeader),
    /// Content of that header's record, as far as it has come; never empty.
    Content(&'a [u8]),
}

/// Follows a stream of records that comes in pieces of any length.
///
/// It copies nothing but headers, and holds at most one of these. It judges nothing: headers that
/// are not [TLS](RecordHeader::is_tls) are followed as well.
#[derive(Clone, Debug, Default)]
pub struct RecordWalker {
    header: [u8; RECORD_HEADER_LEN],
    /// How many bytes of the header have come.
    have: usize,
    /// How many bytes of the content have not.
    left: usize,
}

impl RecordWalker {
    /// Takes the next part of the stream from the head of `input`; `None` once all is taken and no
    /// header is whole.
    pub fn take<'a>(&mut self, input: &mut &'a [u8]) -> Option<RecordPart<'a>> {
        if self.left > 0 {
            let (content, rest) = input.split_at(self.left.min(input.len()));
            *input = rest;
            self.left -= content.len();
            return (!content.is_empty()).then_some(RecordPart::Content(content));
        }
        let (head, rest) = input.split_at((RECORD_HEADER_LEN - self.have).min(input.len()));
        self.header[self.have..self.have + head.len()].copy_from_slice(head);
        self.have += head.len();
        *input = rest;
        if self.have < RECORD_HEADER_LEN {
            return None;
        }
        let header = RecordHeader::from_bytes(self.header);
        self.have = 0;
        self.left = header.len.into();
        Some(RecordPart::Header(header))
    }

    /// How many bytes complete the header or the content that has begun; 0 between records.
    pub fn wanted(&self) -> usize {
        match self.have {
            0 => self.left,
            have => RECORD_HEADER_LEN - have,
        }
    }

    /// Whether the next byte begins a record.
    pub fn is_between_records(&self) -> bool {
        self.wanted() == 0
    }
}

/// Wraps a handshake message in plaintext records of at most `max` bytes of content.
pub fn wrap_handshake(message: &[u8], max: usize) -> Vec<u8> {
    let max = max.clamp(1, MAX_PLAINTEXT);
    let mut out = Vec::with_capacity(message.len() + RECORD_HEADER_LEN * 5);
    for fragment in message.chunks(max) {
        let header = RecordHeader {
            content_type: HANDSHAKE,
            // RFC 8446 §5.1
            version: 0x0303,
            // `clamp` keeps the length in 16 bits.
            len: fragment.len() as u16,
        };
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(fragment);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake message in small records, change_cipher_spec, an empty record, data.
    fn stream() -> Vec<u8> {
        let mut wire = wrap_handshake(&[7; 300], 64);
        wire.extend_from_slice(&[20, 3, 3, 0, 1, 1]);
        wire.extend_from_slice(&[23, 3, 3, 0, 0]);
        wire.extend_from_slice(&[23, 3, 3, 0, 3, 1, 2, 3]);
        wire
    }

    /// The headers, and all content in one.
    fn walk<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<RecordHeader>, Vec<u8>, usize) {
        let (mut walker, mut headers, mut content) = (RecordWalker::default(), vec![], vec![]);
        for mut piece in pieces {
            while let Some(part) = walker.take(&mut piece) {
                match part {
                    RecordPart::Header(header) => headers.push(header),
                    RecordPart::Content(bytes) => {
                        assert!(!bytes.is_empty());
                        content.extend_from_slice(bytes);
                    }
                }
            }
            assert!(piece.is_empty(), "all input is taken");
        }
        (headers, content, walker.wanted())
    }

    #[test]
    fn a_stream_is_followed_however_it_is_cut() {
        let wire = stream();
        let records: Vec<_> = whole_records(&wire).collect();
        let headers: Vec<_> = records.iter().map(|record| record.header).collect();
        let content = records.iter().map(WholeRecord::content);
        let content: Vec<u8> = content.flatten().copied().collect();
        assert_eq!((headers.len(), content.len()), (5 + 3, 300 + 1 + 3));
        assert_eq!(
            records.iter().map(|r| r.bytes.len()).sum::<usize>(),
            wire.len()
        );
        for step in [1, 2, 5, 6, 13, 64, 1000] {
            let found = walk(wire.chunks(step));
            assert_eq!(found, (headers.clone(), content.clone(), 0), "{step}");
        }
    }

    #[test]
    fn a_cut_record_is_left_over_and_what_it_wants_is_known() {
        let wire = stream();
        let last = wire.len() - 8;
        for end in last..wire.len() {
            let cut = &wire[..end];
            let mut records = whole_records(cut);
            assert_eq!(records.by_ref().count(), 7);
            assert_eq!(records.rest(), &wire[last..end]);
            let wanted = match end - last {
                0 => 0,
                have @ 1..5 => 5 - have,
                have => 8 - have,
            };
            assert_eq!(walk([cut].into_iter()).2, wanted, "{end}");
        }
    }

    #[test]
    fn headers_are_written_as_they_were_read() {
        let bytes = [22, 3, 1, 0x40, 1];
        let header = RecordHeader::read(&bytes).expect("five bytes");
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(header.record_len(), 5 + 0x4001);
        assert_eq!(RecordHeader::read(&bytes[..4]), None);
    }

    #[test]
    fn what_is_not_tls_is_told() {
        let is_tls = |bytes: &[u8]| RecordHeader::read(bytes).is_some_and(RecordHeader::is_tls);
        assert!(is_tls(&[20, 3, 0, 0, 0]) && is_tls(&[23, 3, 4, 0x48, 0]));
        for other in [
            *b"GET /",
            [19, 3, 3, 0, 1],
            [24, 3, 3, 0, 1],
            [22, 2, 0, 0, 1],
            [23, 3, 3, 0x48, 1],
        ] {
            assert!(!is_tls(&other), "{other:?}");
        }
    }
}
