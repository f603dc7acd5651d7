//! EncodedClientHelloInner to ClientHelloInner (RFC 9849 §5.1).
//!
//! Anyone with the public key can write what is decoded here, so every step is linear in the
//! input and the result is never longer than both hellos together (§10.12.4).

use crate::alert::Alert;
use crate::codec::Reader;
use crate::hello::extension::{ECH_OUTER_EXTENSIONS, ENCRYPTED_CLIENT_HELLO};
use crate::hello::{
    CLIENT_HELLO, ClientHello, EchExtension, HANDSHAKE_HEADER_LEN, HelloError, Map,
};

/// TLS 1.2, the last version that an inner hello must not offer (RFC 9849 §7.1).
const TLS12: u16 = 0x0303;

/// Rebuilds ClientHelloInner from what was opened and the ClientHelloOuter that carried it.
///
/// # Errors
///
/// When a rule of RFC 9849 §5.1 is broken; [`InnerError::alert`] says what to send.
pub fn decode_inner(encoded: &[u8], outer: &ClientHello) -> Result<ClientHello, InnerError> {
    decode(encoded, outer, &mut 0)
}

/// As [`decode_inner`], then the checks of RFC 9849 §7.1 on the result: it is marked as an inner
/// hello and offers nothing below TLS 1.3.
///
/// # Errors
///
/// When a rule is broken; [`InnerError::alert`] says what to send.
pub fn decode_checked(encoded: &[u8], outer: &ClientHello) -> Result<ClientHello, InnerError> {
    let inner = decode_inner(encoded, outer)?;
    if inner.ech() != Ok(Some(EchExtension::Inner)) {
        return Err(InnerError::NotMarked);
    }
    match inner.supported_versions() {
        Some(versions) if versions.iter().all(|v| *v > TLS12) => Ok(inner),
        _ => Err(InnerError::OldVersion),
    }
}

/// The types that `ech_outer_extensions` of an EncodedClientHelloInner names (RFC 9849 §5.1); none
/// where it has no such extension, or is malformed.
pub fn outer_extensions(encoded: &[u8]) -> Vec<u16> {
    let map = Map::read(&mut Reader::new(encoded));
    let list = map.ok().and_then(|map| {
        let mut extensions = map.extensions().iter();
        let found = extensions.find(|e| e.kind == ECH_OUTER_EXTENSIONS)?;
        outer_types(&encoded[found.body.clone()]).ok()
    });
    list.unwrap_or_default()
}

/// How many zeros pad an EncodedClientHelloInner (RFC 9849 §6.1.3); 0 where it is malformed.
pub fn padding_len(encoded: &[u8]) -> usize {
    let mut reader = Reader::new(encoded);
    Map::read(&mut reader).map_or(0, |_| reader.rest().len())
}

/// `steps` counts the outer extensions that were looked at.
fn decode(
    encoded: &[u8],
    outer: &ClientHello,
    steps: &mut usize,
) -> Result<ClientHello, InnerError> {
    let mut reader = Reader::new(encoded);
    let map = Map::read(&mut reader).map_err(InnerError::Hello)?;
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(InnerError::Padding);
    }
    if !map.session_id().is_empty() {
        return Err(InnerError::SessionId);
    }

    let mut message = Vec::with_capacity(encoded.len() + outer.bytes().len());
    message.extend_from_slice(&[CLIENT_HELLO, 0, 0, 0]);
    message.extend_from_slice(&encoded[..2 + 32]);
    let session_id = outer.session_id();
    message.push(u8::try_from(session_id.len()).map_err(|_| InnerError::TooLong)?);
    message.extend_from_slice(session_id);
    message.extend_from_slice(&encoded[map.suites_and_compression()]);

    let block_len = message.len();
    message.extend_from_slice(&[0, 0]);
    for extension in map.extensions() {
        match extension.kind {
            ECH_OUTER_EXTENSIONS => {
                let list = outer_types(&encoded[extension.body.clone()])?;
                copy_from_outer(&list, outer, &mut message, steps)?;
            }
            _ => message.extend_from_slice(&encoded[extension.whole()]),
        }
    }
    let len = u16::try_from(message.len() - block_len - 2).map_err(|_| InnerError::TooLong)?;
    message[block_len..block_len + 2].copy_from_slice(&len.to_be_bytes());
    let len = u32::try_from(message.len() - HANDSHAKE_HEADER_LEN)
        .ok()
        .filter(|len| *len < 1 << 24)
        .ok_or(InnerError::TooLong)?;
    message[1..HANDSHAKE_HEADER_LEN].copy_from_slice(&len.to_be_bytes()[1..]);
    // Maps the result, and finds extensions that came both from inside and from outside.
    ClientHello::parse(message).map_err(InnerError::Hello)
}

/// `ExtensionType OuterExtensions<2..254>`.
fn outer_types(body: &[u8]) -> Result<Vec<u16>, InnerError> {
    let mut reader = Reader::new(body);
    let list = reader
        .vec8()
        .map_err(|short| InnerError::Hello(short.into()))?;
    let framed = reader.is_empty() && (2..=254).contains(&list.len()) && list.len() % 2 == 0;
    match framed {
        true => Ok(list
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect()),
        false => Err(InnerError::OuterExtensionsLength),
    }
}

/// The procedure of RFC 9849 Appendix A: one walk over the outer hello finds each reference, so
/// a second, missing or out-of-order one runs into the end.
fn copy_from_outer(
    list: &[u16],
    outer: &ClientHello,
    message: &mut Vec<u8>,
    steps: &mut usize,
) -> Result<(), InnerError> {
    let mut candidates = outer.extensions().iter();
    for kind in list {
        if matches!(*kind, ENCRYPTED_CLIENT_HELLO | ECH_OUTER_EXTENSIONS) {
            return Err(InnerError::ForbiddenReference(*kind));
        }
        let found = candidates
            .by_ref()
            .inspect(|_| *steps += 1)
            .find(|e| e.kind == *kind)
            .ok_or(InnerError::Reference(*kind))?;
        message.extend_from_slice(&outer.bytes()[found.whole()]);
    }
    Ok(())
}

/// An EncodedClientHelloInner that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InnerError {
    /// The hello inside is malformed, or the rebuilt one has an extension twice.
    #[error("the EncodedClientHelloInner is malformed: {0}")]
    Hello(HelloError),
    /// A padding byte is not zero.
    #[error("the padding of the EncodedClientHelloInner is not all zeros")]
    Padding,
    /// The encoded hello has a `legacy_session_id` of its own.
    #[error("the EncodedClientHelloInner has a legacy_session_id")]
    SessionId,
    /// `ech_outer_extensions` does not hold a list of 1 to 127 types.
    #[error("ech_outer_extensions has an invalid length")]
    OuterExtensionsLength,
    /// A type is missing in the outer hello, referenced twice, or out of order.
    #[error("ech_outer_extensions names {0:#06x}, which is missing, out of order or repeated")]
    Reference(u16),
    /// A type that must not be referenced.
    #[error("ech_outer_extensions names {0:#06x}, which is not allowed")]
    ForbiddenReference(u16),
    /// The rebuilt hello is over the limits of a ClientHello.
    #[error("the ClientHelloInner is too long")]
    TooLong,
    /// No well-formed `encrypted_client_hello` of type `inner` (RFC 9849 §7.1).
    #[error("the ClientHelloInner has no ECH extension of type inner")]
    NotMarked,
    /// The hello offers TLS 1.2 or below (RFC 9849 §7.1).
    #[error("the ClientHelloInner offers TLS 1.2 or below")]
    OldVersion,
}

impl InnerError {
    /// The alert to abort with: RFC 9849 §5.1 and §7.1 name the same one for every rule.
    pub fn alert(&self) -> Alert {
        Alert::ILLEGAL_PARAMETER
    }
}

#[cfg(test)]
mod tests;
