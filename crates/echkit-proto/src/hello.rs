//! A ClientHello as its bytes and a map of them (RFC 8446 §4.1.2, RFC 9849 §5).
//!
//! The bytes are never re-encoded: what was sent, hashed or authenticated stays as it is, and the
//! map says where each part lies. [`HelloReader`] puts a hello together from TLS records.

use std::ops::Range;

use crate::codec::{Reader, Short};
use crate::hpke::{Aead, Kdf, SymmetricSuite};

mod reader;

pub use reader::{HelloReadError, HelloReader, MAX_HELLO};

/// The handshake type `client_hello` (RFC 8446 §4).
pub const CLIENT_HELLO: u8 = 1;

/// Extension numbers that the rules of ECH speak of.
pub mod extension {
    /// `server_name` (RFC 6066 §3).
    pub const SERVER_NAME: u16 = 0x0000;
    /// `application_layer_protocol_negotiation` (RFC 7301).
    pub const ALPN: u16 = 0x0010;
    /// `pre_shared_key` (RFC 8446 §4.2.11).
    pub const PRE_SHARED_KEY: u16 = 0x0029;
    /// `early_data` (RFC 8446 §4.2.10).
    pub const EARLY_DATA: u16 = 0x002a;
    /// `supported_versions` (RFC 8446 §4.2.1).
    pub const SUPPORTED_VERSIONS: u16 = 0x002b;
    /// `key_share` (RFC 8446 §4.2.8).
    pub const KEY_SHARE: u16 = 0x0033;
    /// `ech_outer_extensions` (RFC 9849 §5.1).
    pub const ECH_OUTER_EXTENSIONS: u16 = 0xfd00;
    /// `encrypted_client_hello` (RFC 9849 §5).
    pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// The length of the header that precedes every handshake message (RFC 8446 §4).
pub const HANDSHAKE_HEADER_LEN: usize = 4;

/// How long the handshake message is that begins with `bytes`, its header included; `None` when
/// they end inside that.
pub fn handshake_len(bytes: &[u8]) -> Option<usize> {
    let [_, high, middle, low] = *bytes.first_chunk::<HANDSHAKE_HEADER_LEN>()?;
    Some(HANDSHAKE_HEADER_LEN + u32::from_be_bytes([0, high, middle, low]) as usize)
}

/// A whole ClientHello message, handshake header included, with a map of its parts.
///
/// Its structure is checked when it is made: every length fits, nothing is left over, no
/// extension comes twice. The bodies of extensions are read when asked for.
///
/// ```
/// use echkit_proto::hello::{ClientHello, EchExtension};
/// use echkit_proto::tls_record::whole_records;
///
/// /// Whether a client's first flight offers ECH, or pretends to.
/// fn offers_ech(flight: &[u8]) -> bool {
///     let Some(record) = whole_records(flight).next() else {
///         return false;
///     };
///     match ClientHello::parse(record.content()) {
///         Ok(hello) => matches!(hello.ech(), Ok(Some(EchExtension::Outer(_)))),
///         Err(_) => false,
///     }
/// }
///
/// assert!(!offers_ech(b"GET / HTTP/1.1"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ClientHello {
    bytes: Vec<u8>,
    session_id: Range<usize>,
    cipher_suites: Range<usize>,
    compression: Range<usize>,
    extensions: Vec<Extension>,
}

/// Where one extension lies in its ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The extension's number.
    pub kind: u16,
    /// Its body, as a range of [`ClientHello::bytes`]; type and length are the four bytes before.
    pub body: Range<usize>,
}

impl Extension {
    /// Type, length and body, as a range of [`ClientHello::bytes`].
    pub fn whole(&self) -> Range<usize> {
        self.body.start - 4..self.body.end
    }
}

impl ClientHello {
    /// Maps a handshake message (with its four-byte header).
    ///
    /// # Errors
    ///
    /// When it is not a ClientHello, or one that breaks the presentation rules of RFC 8446 §4.1.2.
    pub fn parse(message: impl Into<Vec<u8>>) -> Result<Self, HelloError> {
        let bytes = message.into();
        let mut reader = Reader::new(&bytes);
        if reader.u8()? != CLIENT_HELLO {
            return Err(HelloError::NotClientHello);
        }
        if reader.u24()? as usize != reader.rest().len() {
            return Err(HelloError::Length("handshake message"));
        }
        let map = Map::read(&mut reader)?;
        if !reader.is_empty() {
            return Err(HelloError::Trailing);
        }
        Ok(map.over(bytes))
    }

    /// The message's bytes, handshake header included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the message's bytes back.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// `legacy_version`.
    pub fn legacy_version(&self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// `random`.
    pub fn random(&self) -> [u8; 32] {
        self.bytes[6..38]
            .try_into()
            .expect("a mapped hello holds its random")
    }

    /// `legacy_session_id`.
    pub fn session_id(&self) -> &[u8] {
        &self.bytes[self.session_id.clone()]
    }

    /// `cipher_suites`, preferred first.
    pub fn cipher_suites(&self) -> impl Iterator<Item = u16> + '_ {
        u16s(&self.bytes[self.cipher_suites.clone()])
    }

    /// `legacy_compression_methods`.
    pub fn compression_methods(&self) -> &[u8] {
        &self.bytes[self.compression.clone()]
    }

    /// The extensions in the order in which they were sent.
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// The body of an extension.
    pub fn extension(&self, kind: u16) -> Option<&[u8]> {
        self.find(kind).map(|e| &self.bytes[e.body.clone()])
    }

    fn find(&self, kind: u16) -> Option<&Extension> {
        self.extensions.iter().find(|e| e.kind == kind)
    }

    /// The host name of `server_name` (RFC 6066 §3); `None` when absent or no single host name.
    pub fn server_name(&self) -> Option<&str> {
        const HOST_NAME: u8 = 0;
        let mut body = Reader::new(self.extension(extension::SERVER_NAME)?);
        let mut list = Reader::new(body.vec16().ok()?);
        let kind = list.u8().ok()?;
        let name = list.vec16().ok()?;
        let whole = body.is_empty() && list.is_empty() && kind == HOST_NAME && !name.is_empty();
        whole.then(|| std::str::from_utf8(name).ok()).flatten()
    }

    /// The protocol names of ALPN (RFC 7301 §3.1); `None` when absent or malformed.
    pub fn alpn(&self) -> Option<Vec<&[u8]>> {
        let mut body = Reader::new(self.extension(extension::ALPN)?);
        let mut list = Reader::new(body.vec16().ok()?);
        let mut names = Vec::new();
        while !list.is_empty() {
            names.push(list.vec8().ok().filter(|name| !name.is_empty())?);
        }
        (body.is_empty() && !names.is_empty()).then_some(names)
    }

    /// The versions of `supported_versions` (RFC 8446 §4.2.1); `None` when absent or malformed.
    pub fn supported_versions(&self) -> Option<Vec<u16>> {
        let mut body = Reader::new(self.extension(extension::SUPPORTED_VERSIONS)?);
        let list = body.vec8().ok()?;
        let whole = body.is_empty() && !list.is_empty() && list.len().is_multiple_of(2);
        whole.then(|| u16s(list).collect())
    }

    /// The groups of `key_share` (RFC 8446 §4.2.8); `None` when absent or malformed.
    pub fn key_share_groups(&self) -> Option<Vec<u16>> {
        let mut body = Reader::new(self.extension(extension::KEY_SHARE)?);
        let mut list = Reader::new(body.vec16().ok()?);
        let mut groups = Vec::new();
        while !list.is_empty() {
            groups.push(list.u16().ok()?);
            list.vec16().ok()?;
        }
        body.is_empty().then_some(groups)
    }

    /// Whether the hello offers a `pre_shared_key`: a session ticket, or a made-up one (GREASE).
    pub fn has_pre_shared_key(&self) -> bool {
        self.find(extension::PRE_SHARED_KEY).is_some()
    }

    /// The `encrypted_client_hello` extension, `None` when there is none.
    ///
    /// # Errors
    ///
    /// When its body breaks the presentation rules of RFC 9849 §5. An unknown type is not an error
    /// here but [`EchExtension::Unknown`], because it has an alert of its own (§7).
    pub fn ech(&self) -> Result<Option<EchExtension<'_>>, HelloError> {
        let Some(found) = self.find(extension::ENCRYPTED_CLIENT_HELLO) else {
            return Ok(None);
        };
        let mut body = Reader::new(&self.bytes[found.body.clone()]);
        let ech = match body.u8()? {
            0 => {
                let suite = SymmetricSuite::new(Kdf(body.u16()?), Aead(body.u16()?));
                let config_id = body.u8()?;
                let enc = body.vec16()?;
                let payload = body.vec16()?;
                let end = found.body.start + body.position();
                if payload.is_empty() {
                    return Err(HelloError::Length("ECH payload"));
                }
                EchExtension::Outer(OuterEch {
                    suite,
                    config_id,
                    enc,
                    payload,
                    payload_range: end - payload.len()..end,
                })
            }
            1 => EchExtension::Inner,
            other => return Ok(Some(EchExtension::Unknown(other))),
        };
        match body.is_empty() {
            true => Ok(Some(ech)),
            false => Err(HelloError::Trailing),
        }
    }

    /// ClientHelloOuterAAD (RFC 9849 §5.2): the hello without its handshake header, with zeros in
    /// place of the ECH payload. `None` when there is no well-formed outer ECH extension.
    pub fn outer_aad(&self) -> Option<Vec<u8>> {
        let Ok(Some(EchExtension::Outer(outer))) = self.ech() else {
            return None;
        };
        let mut aad = self.bytes[HANDSHAKE_HEADER_LEN..].to_vec();
        let Range { start, end } = outer.payload_range;
        aad[start - HANDSHAKE_HEADER_LEN..end - HANDSHAKE_HEADER_LEN].fill(0);
        Some(aad)
    }
}

/// Shows the outline, not the bytes: they may hold a name that ECH hides.
impl std::fmt::Debug for ClientHello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientHello")
            .field("len", &self.bytes.len())
            .field("extensions", &self.extensions.len())
            .finish_non_exhaustive()
    }
}

/// The `encrypted_client_hello` extension of a ClientHello (RFC 9849 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EchExtension<'a> {
    /// `outer`: the hello carries a sealed ClientHelloInner, or pretends to (GREASE).
    Outer(OuterEch<'a>),
    /// `inner`: the hello is a ClientHelloInner.
    Inner,
    /// An ECHClientHelloType that RFC 9849 does not know; a server answers illegal_parameter.
    Unknown(u8),
}

/// The `outer` variant of the `encrypted_client_hello` extension (RFC 9849 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterEch<'a> {
    /// `cipher_suite`.
    pub suite: SymmetricSuite,
    /// `config_id`.
    pub config_id: u8,
    /// `enc`; empty after a HelloRetryRequest.
    pub enc: &'a [u8],
    /// `payload`: the sealed EncodedClientHelloInner.
    pub payload: &'a [u8],
    /// Where the payload lies in [`ClientHello::bytes`].
    pub payload_range: Range<usize>,
}

/// The parts of a ClientHello structure, read from the bytes that it will be joined with.
pub(crate) struct Map {
    session_id: Range<usize>,
    cipher_suites: Range<usize>,
    compression: Range<usize>,
    extensions: Vec<Extension>,
}

impl Map {
    /// Reads the structure of RFC 8446 §4.1.2, and leaves what follows it unread. Ranges count
    /// from the reader's first byte.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, HelloError> {
        reader.bytes(2 + 32)?;
        let session_id = reader.vec8()?.len();
        let session_id = reader.position() - session_id..reader.position();
        if session_id.len() > 32 {
            return Err(HelloError::Length("legacy_session_id"));
        }
        let suites = reader.vec16()?.len();
        let cipher_suites = reader.position() - suites..reader.position();
        if suites == 0 || suites % 2 != 0 {
            return Err(HelloError::Length("cipher_suites"));
        }
        let compression = reader.vec8()?.len();
        let compression = reader.position() - compression..reader.position();
        if compression.is_empty() {
            return Err(HelloError::Length("legacy_compression_methods"));
        }
        // TLS 1.2 allows a hello that ends here (RFC 5246 §7.4.1.2).
        let extensions = match reader.is_empty() {
            true => Vec::new(),
            false => Self::read_extensions(reader)?,
        };
        Ok(Self {
            session_id,
            cipher_suites,
            compression,
            extensions,
        })
    }

    fn read_extensions(reader: &mut Reader<'_>) -> Result<Vec<Extension>, HelloError> {
        let block = reader.vec16()?;
        let base = reader.position() - block.len();
        let mut block = Reader::new(block);
        let mut extensions = Vec::with_capacity(16);
        while !block.is_empty() {
            let kind = block.u16()?;
            let len = block.vec16()?.len();
            let end = base + block.position();
            extensions.push(Extension {
                kind,
                body: end - len..end,
            });
        }
        // A sorted copy finds duplicates in n log n: a hostile hello can hold 16,000 extensions.
        let mut kinds: Vec<u16> = extensions.iter().map(|e| e.kind).collect();
        kinds.sort_unstable();
        match kinds.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(HelloError::DuplicateExtension(pair[0])),
            None => Ok(extensions),
        }
    }

    pub(crate) fn over(self, bytes: Vec<u8>) -> ClientHello {
        ClientHello {
            bytes,
            session_id: self.session_id,
            cipher_suites: self.cipher_suites,
            compression: self.compression,
            extensions: self.extensions,
        }
    }

    pub(crate) fn session_id(&self) -> Range<usize> {
        self.session_id.clone()
    }

    pub(crate) fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// From `cipher_suites` (with its length) to the end of `legacy_compression_methods`.
    pub(crate) fn suites_and_compression(&self) -> Range<usize> {
        self.session_id.end..self.compression.end
    }
}

/// Bytes that are no well-formed ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// Another handshake message.
    #[error("the handshake message is not a ClientHello")]
    NotClientHello,
    /// The bytes end inside a value.
    #[error("the ClientHello is truncated")]
    Short,
    /// Bytes follow where none belong.
    #[error("the ClientHello has trailing bytes")]
    Trailing,
    /// A length that the named value cannot have.
    #[error("the ClientHello has an invalid length of {0}")]
    Length(&'static str),
    /// An extension comes twice.
    #[error("the ClientHello has a duplicate extension {0:#06x}")]
    DuplicateExtension(u16),
}

impl From<Short> for HelloError {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

fn u16s(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
pub(crate) mod tests;
