//! Bytes as people hand them over: binary, hexadecimal or base64.
//!
//! Hexadecimal is read plain, after `0x`, as a list of `0x..` or `\x..`, and with blanks, commas,
//! colons or hyphens between the bytes. Base64 is read in both alphabets of RFC 4648 (§4, §5), with
//! and without padding. A byte order mark, quotation marks around the text and line breaks are
//! passed over.

use std::fmt;

use data_encoding::{BASE64_NOPAD, DecodeKind, HEXLOWER_PERMISSIVE};

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// As they are.
    Binary,
    /// In hexadecimal.
    Hex,
    /// In base64, of either alphabet (RFC 4648 §4, §5).
    Base64,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binary => "binary",
            Self::Hex => "hexadecimal",
            Self::Base64 => "base64",
        })
    }
}

/// The meaning of an input, under one encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// The encoding.
    pub encoding: Encoding,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The bytes of an input under each encoding that it can have, the likeliest first. There is always
/// one; there are two where a text consists of hexadecimal digits, which are base64 as well.
///
/// # Errors
///
/// When the input is empty, or is text that neither encoding fits.
///
/// ```
/// use echkit_proto::encoding::{Encoding, readings};
///
/// let found = readings(b"fe:0d 00")?;
/// assert_eq!(found[0].encoding, Encoding::Hex);
/// assert_eq!(found[0].bytes, [0xfe, 0x0d, 0]);
/// # Ok::<(), echkit_proto::encoding::EncodingError>(())
/// ```
pub fn readings(input: &[u8]) -> Result<Vec<Reading>, EncodingError> {
    let reading = |encoding, bytes| Reading { encoding, bytes };
    let Some(text) = text(input)? else {
        return Ok(vec![reading(Encoding::Binary, input.to_vec())]);
    };
    let text = unquoted(text);
    let hex = HexText::of(text);
    let base64 = || base64(text).map(|bytes| reading(Encoding::Base64, bytes));
    let Some(hex) = hex else {
        return base64().map(|base64| vec![base64]);
    };
    match (hex.decode(), hex.marked) {
        (Ok(bytes), true) => Ok(vec![reading(Encoding::Hex, bytes)]),
        (Ok(bytes), false) => {
            let mut readings = vec![reading(Encoding::Hex, bytes)];
            readings.extend(base64());
            // A structure that begins with a length begins with 0 in hexadecimal, with A in base64.
            if text.starts_with('A') {
                readings.reverse();
            }
            Ok(readings)
        }
        (Err(error), true) => Err(error),
        (Err(error), false) => base64().map(|base64| vec![base64]).map_err(|_| error),
    }
}

/// The text of an input, without a byte order mark and the white space around it; `None` where the
/// input is binary.
pub(crate) fn text(input: &[u8]) -> Result<Option<&str>, EncodingError> {
    if matches!(input, [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff, 0, _, ..]) {
        return Err(EncodingError::Utf16);
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(None);
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(EncodingError::Empty);
    }
    let control = |c: char| c.is_ascii_control() && !c.is_ascii_whitespace();
    Ok((!text.contains(control)).then_some(text))
}

/// A text without the quotation marks around the whole of it.
pub(crate) fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
            .filter(|inner| !inner.contains(quote));
        if let Some(inner) = inner {
            return unquoted(inner.trim());
        }
    }
    text
}

/// Whether a text is that of several bytes in hexadecimal.
pub(crate) fn is_hex(text: &str) -> bool {
    HexText::of(text).is_some_and(|hex| hex.digits.len() >= 8 && hex.decode().is_ok())
}

/// Text of nothing but hexadecimal digits and what may stand between bytes.
struct HexText {
    digits: String,
    /// It has marks that base64 does not have.
    marked: bool,
}

impl HexText {
    fn of(text: &str) -> Option<Self> {
        let mut digits = String::with_capacity(text.len());
        let mut marked = text.contains([':', ',']);
        let hyphens = text.contains('-');
        let separators = [' ', '\t', '\r', '\n', ',', ':', '-'];
        let pieces = text.split(separators).flat_map(|word| word.split(r"\x"));
        for piece in pieces {
            let bare = piece.strip_prefix("0x").or(piece.strip_prefix("0X"));
            marked |= bare.is_some();
            let bare = bare.unwrap_or(piece);
            // A hyphen is a digit of URL-safe base64; between bytes it is not.
            let is_byte = bare.len() == 2 || bare.is_empty();
            if !bare.bytes().all(|b| b.is_ascii_hexdigit()) || (hyphens && !is_byte) {
                return None;
            }
            digits.push_str(bare);
        }
        marked |= hyphens || text.contains(r"\x");
        (!digits.is_empty()).then_some(Self { digits, marked })
    }

    fn decode(&self) -> Result<Vec<u8>, EncodingError> {
        HEXLOWER_PERMISSIVE
            .decode(self.digits.as_bytes())
            .map_err(|_| EncodingError::HexDigits(self.digits.len()))
    }
}

fn base64(text: &str) -> Result<Vec<u8>, EncodingError> {
    let mut packed = Vec::with_capacity(text.len());
    for (at, character) in text.trim_end_matches('=').chars().enumerate() {
        packed.push(match character {
            '-' => b'+',
            '_' => b'/',
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => character as u8,
            _ if character.is_whitespace() => continue,
            _ => {
                return Err(EncodingError::Character {
                    character,
                    position: at + 1,
                });
            }
        });
    }
    BASE64_NOPAD
        .decode(&packed)
        .map_err(|error| match error.kind {
            DecodeKind::Trailing => EncodingError::Base64End,
            _ => EncodingError::Base64Length(packed.len()),
        })
}

/// An input is text, and not that of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// There is nothing but white space.
    #[error("it is empty")]
    Empty,
    /// Text as some editors and shells write it.
    #[error("the text is UTF-16; save it as UTF-8")]
    Utf16,
    /// A character that no encoding has.
    #[error(
        "neither base64, hexadecimal nor PEM: {character:?}, character {position}, is not part of \
         either alphabet"
    )]
    Character {
        /// The character.
        character: char,
        /// Its place, from 1.
        position: usize,
    },
    /// Half a byte is missing.
    #[error(
        "read as hexadecimal: {0} digits are an odd number; one is missing or there is one too many"
    )]
    HexDigits(usize),
    /// No base64 has this length.
    #[error(
        "read as base64: {0} characters are not a valid length; the text is truncated or mistyped"
    )]
    Base64Length(usize),
    /// The last character has bits that belong to no byte.
    #[error(
        "read as base64: the last character is not valid there; the text is truncated or mistyped"
    )]
    Base64End,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(Encoding, Vec<u8>)> {
        let readings = readings(text.as_bytes()).unwrap();
        readings
            .into_iter()
            .map(|r| (r.encoding, r.bytes))
            .collect()
    }

    #[test]
    fn hexadecimal_is_read_however_its_bytes_are_set_apart() {
        for text in [
            "0x0045fe0d",
            "00:45:fe:0d",
            "00 45\nfe 0d\n",
            "0x00, 0x45, 0xFE, 0x0D",
            "00-45-FE-0D",
            r"\x00\x45\xfe\x0d",
            "\"00:45:fe:0d\"",
            "\u{feff}00:45:fe:0d",
        ] {
            assert_eq!(
                read(text)[0],
                (Encoding::Hex, vec![0, 0x45, 0xfe, 0x0d]),
                "{text}"
            );
        }
    }

    #[test]
    fn digits_of_both_alphabets_have_two_readings_and_the_first_is_the_likelier() {
        assert_eq!(read("0045fe0d").len(), 2);
        assert_eq!(read("0045fe0d")[0].0, Encoding::Hex);
        assert_eq!(read("AAAA")[0].0, Encoding::Base64);
        assert_eq!(read("AAAA")[1].0, Encoding::Hex);
    }

    #[test]
    fn what_is_wrong_is_said_of_the_encoding_that_was_meant() {
        let bad = |text: &str| readings(text.as_bytes()).unwrap_err();
        assert_eq!(bad(" \n"), EncodingError::Empty);
        assert_eq!(bad("\u{feff}"), EncodingError::Empty);
        assert_eq!(bad("0x0045f"), EncodingError::HexDigits(5));
        assert_eq!(bad("0045f"), EncodingError::HexDigits(5));
        assert_eq!(bad("AEX+D"), EncodingError::Base64Length(5));
        assert_eq!(bad("AEX+DR"), EncodingError::Base64End);
        let character = EncodingError::Character {
            character: '!',
            position: 8,
        };
        assert_eq!(bad("garbage!"), character);
        assert_eq!(readings(b"\xff\xfeA\0=\0"), Err(EncodingError::Utf16));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_back_from_each_encoding(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
            for (encoding, text) in [
                (Encoding::Hex, HEXLOWER.encode(&bytes)),
                (Encoding::Base64, BASE64.encode(&bytes)),
                (Encoding::Base64, BASE64URL_NOPAD.encode(&bytes)),
            ] {
                let expected = Reading { encoding, bytes: bytes.clone() };
                let readings = readings(text.as_bytes());
                // Base64 that happens to look like bytes with hyphens between them.
                prop_assume!(encoding == Encoding::Hex || HexText::of(&text).is_none());
                prop_assert!(readings.unwrap().contains(&expected), "{}", text);
            }
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40), text in ".{0,40}") {
            let _ = readings(&bytes);
            let _ = readings(text.as_bytes());
        }
    }
}
