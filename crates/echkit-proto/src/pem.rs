//! PEM blocks in text (RFC 7468), read without leaving copies of what may be a private key.

use data_encoding::BASE64;
use zeroize::Zeroizing;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The blocks of a text, in order. What stands between them is passed over.
///
/// A block without an end goes as far as the next one, and is broken.
///
/// ```
/// let text = b"# what follows is short\n-----BEGIN NOTE-----\naGVsbG8=\n-----END NOTE-----\n";
/// let block = echkit_proto::pem::blocks(text).next().unwrap();
/// assert_eq!(block.label(), "NOTE");
/// assert_eq!(block.decode().unwrap()[..], *b"hello");
/// ```
pub fn blocks(text: &[u8]) -> Blocks<'_> {
    Blocks { rest: text }
}

/// Goes through the blocks of a text.
#[derive(Clone)]
pub struct Blocks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        loop {
            let (_, after) = split_at(self.rest, BEGIN)?;
            self.rest = after;
            let Some((label, after)) = label(after) else {
                continue;
            };
            let end = [END, label.as_bytes(), DASHES].concat();
            let next = after.windows(BEGIN.len()).position(|w| w == BEGIN);
            let (own, later) = after.split_at(next.unwrap_or(after.len()));
            self.rest = later;
            let contents = split_at(own, &end).map(|(contents, _)| contents);
            return Some(Block { label, contents });
        }
    }
}

/// A label, and what follows its line.
fn label(text: &[u8]) -> Option<(&str, &[u8])> {
    let (label, after) = split_at(text, DASHES)?;
    let label = std::str::from_utf8(label).ok()?;
    (!label.contains(['\n', '\r'])).then_some((label, after))
}

/// What stands before and behind the first `mark` in `text`.
fn split_at<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).position(|window| window == mark)?;
    Some((&text[..at], &text[at + mark.len()..]))
}

/// One block. Shows its label only: it may be a private key.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    label: &'a str,
    contents: Option<&'a [u8]>,
}

impl<'a> Block<'a> {
    /// What the block is, such as `CERTIFICATE`.
    pub fn label(&self) -> &'a str {
        self.label
    }

    /// Whether its contents are encrypted in the form that came before PKCS#8 (RFC 1421 §4.6.1.1),
    /// which derives the key with MD5.
    pub fn is_legacy_encrypted(&self) -> bool {
        self.contents
            .is_some_and(|contents| split_at(contents, b"Proc-Type: 4,ENCRYPTED").is_some())
    }

    /// The bytes in it. White space in the text is ignored, as RFC 7468 §2 asks of parsers.
    ///
    /// # Errors
    ///
    /// When the block has no end, or holds anything but base64.
    pub fn decode(&self) -> Result<Zeroizing<Vec<u8>>, BrokenBlock> {
        let contents = self.contents.ok_or(BrokenBlock)?;
        // Long enough at once: a buffer that grows leaves copies behind.
        let mut base64 = Zeroizing::new(Vec::with_capacity(contents.len()));
        base64.extend(contents.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let room = BASE64.decode_len(base64.len()).map_err(|_| BrokenBlock)?;
        let mut bytes = Zeroizing::new(vec![0; room]);
        let len = BASE64
            .decode_mut(&base64, &mut bytes)
            .map_err(|_| BrokenBlock)?;
        bytes.truncate(len);
        Ok(bytes)
    }
}

impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// A block without an end, or with something in it that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the PEM block is malformed: it has no END line, or is not base64")]
pub struct BrokenBlock;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn found(text: &str) -> Vec<(&str, Option<Vec<u8>>)> {
        blocks(text.as_bytes())
            .map(|block| (block.label(), block.decode().ok().map(|b| b.to_vec())))
            .collect()
    }

    #[test]
    fn blocks_come_in_order_and_text_between_them_is_passed_over() {
        let text = "Bag\n-----BEGIN A B-----\nAQI=\n-----END A B-----\nissuer=x\r\n\
                    -----BEGIN C-----\r\n AQ ID\t\r\nBA==\r\n-----END C-----";
        assert_eq!(
            found(text),
            [("A B", Some(vec![1, 2])), ("C", Some(vec![1, 2, 3, 4]))]
        );
        assert_eq!(found("nothing"), []);
    }

    #[test]
    fn a_block_without_an_end_is_broken_and_goes_as_far_as_the_next() {
        let text = "-----BEGIN A-----\nAQI=\n-----BEGIN C-----\nAQ==\n-----END C-----";
        assert_eq!(found(text), [("A", None), ("C", Some(vec![1]))]);
        assert_eq!(found("-----BEGIN A-----\nAQI="), [("A", None)]);
        assert_eq!(found("-----BEGIN A"), []);
    }

    #[test]
    fn what_is_not_base64_is_broken() {
        for body in ["A", "AQI", "A*I=", "AQ=I", "Proc-Type: 4,ENCRYPTED\n\nAQI="] {
            let text = format!("-----BEGIN A-----\n{body}\n-----END A-----\n");
            assert_eq!(found(&text), [("A", None)], "{body}");
        }
    }

    #[test]
    fn legacy_encryption_is_told() {
        let text = b"-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAQI=\n-----END A-----\n";
        assert!(blocks(text).next().unwrap().is_legacy_encrypted());
        assert!(
            !blocks(b"-----BEGIN A-----\nAQI=\n-----END A-----\n")
                .next()
                .unwrap()
                .is_legacy_encrypted()
        );
    }
}
