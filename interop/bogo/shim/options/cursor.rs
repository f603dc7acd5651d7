//! The command line, word by word.

use std::str::FromStr;

use data_encoding::BASE64;

use crate::failure::Failure;

/// The words that are left.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    words: &'a [String],
    option: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Self { words, option: "" }
    }

    /// The next option.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        self.option = first;
        Some(first)
    }

    /// The value of the option that came last.
    pub(super) fn text(&mut self) -> Result<&'a str, Failure> {
        let (first, rest) = self
            .words
            .split_first()
            .ok_or_else(|| Failure::failed(format!("{} has no value", self.option)))?;
        self.words = rest;
        Ok(first)
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Result<T, Failure> {
        let text = self.text()?;
        text.parse().map_err(|_| self.bad(text))
    }

    pub(super) fn base64(&mut self) -> Result<Vec<u8>, Failure> {
        let text = self.text()?;
        BASE64.decode(text.as_bytes()).map_err(|_| self.bad(text))
    }

    /// Strings behind a byte with their length, as application protocols are listed (RFC 7301).
    pub(super) fn length_prefixed(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let text = self.text()?;
        let mut left = text.as_bytes();
        let mut items = Vec::new();
        while let Some((&length, rest)) = left.split_first() {
            let (item, rest) = rest
                .split_at_checked(length.into())
                .ok_or_else(|| self.bad(text))?;
            items.push(item.to_owned());
            left = rest;
        }
        Ok(items)
    }

    fn bad(&self, value: &str) -> Failure {
        Failure::failed(format!("{} has the bad value {value:?}", self.option))
    }
}
