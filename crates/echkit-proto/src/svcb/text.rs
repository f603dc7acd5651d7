//! The presentation form of records (RFC 9460 §2.1 and appendix A, RFC 3597 §5).

use core::fmt;
use core::str::FromStr;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

use super::name::{DomainName, NameError, unescape};
use super::params::{Params, ParamsError, SvcParamKey};
use super::record::{Record, RecordError};

impl fmt::Display for Record {
    /// The form that goes into a zone file, with the target fully qualified.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.priority, self.target)?;
        if !self.target.is_root() {
            f.write_str(".")?;
        }
        if self.is_alias() {
            return Ok(());
        }
        self.params.fmt(f)
    }
}

impl Params {
    /// Each parameter with a space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.mandatory.is_empty() {
            write!(f, " mandatory={}", joined(&self.mandatory))?;
        }
        if !self.alpn.is_empty() {
            let ids: Vec<_> = self.alpn.iter().map(|id| escape_item(id)).collect();
            write!(f, " alpn={}", CharString(&ids.join(&b',')))?;
        }
        if self.no_default_alpn {
            f.write_str(" no-default-alpn")?;
        }
        if let Some(port) = self.port {
            write!(f, " port={port}")?;
        }
        if !self.ipv4hint.is_empty() {
            write!(f, " ipv4hint={}", joined(&self.ipv4hint))?;
        }
        if let Some(ech) = &self.ech {
            write!(f, " ech={}", BASE64.encode(&ech.encode()))?;
        }
        if !self.ipv6hint.is_empty() {
            write!(f, " ipv6hint={}", joined(&self.ipv6hint))?;
        }
        match self.dohpath.as_deref() {
            Some("") => f.write_str(" dohpath")?,
            Some(path) => write!(f, " dohpath={}", CharString(path.as_bytes()))?,
            None => {}
        }
        for (key, value) in &self.other {
            write!(f, " {key}")?;
            if !value.is_empty() {
                write!(f, "={}", CharString(value))?;
            }
        }
        Ok(())
    }
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// RFC 9460 appendix A.1: `,` and `\` inside an item of a comma-separated list.
fn escape_item(item: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(item.len());
    for &octet in item {
        if matches!(octet, b',' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out
}

/// Octets in the `contiguous` form of RFC 9460 appendix A.
struct CharString<'a>(&'a [u8]);

impl fmt::Display for CharString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &octet in self.0 {
            match octet {
                b'"' | b';' | b'(' | b')' | b'\\' => write!(f, "\\{}", char::from(octet))?,
                0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                _ => write!(f, "\\{octet:03}")?,
            }
        }
        Ok(())
    }
}

impl Record {
    /// Reads the tokens of RDATA text.
    pub(super) fn from_tokens(mut tokens: &[&str]) -> Result<Self, TextError> {
        if let [r"\#", length, hex @ ..] = tokens {
            return generic(length, hex);
        }
        let mut next = || {
            let (first, rest) = tokens.split_first()?;
            tokens = rest;
            Some(*first)
        };
        let priority = next().ok_or(TextError::Incomplete)?;
        let priority = decimal(priority).ok_or(TextError::Priority)?;
        let target: DomainName = next().ok_or(TextError::Incomplete)?.parse()?;
        let mut params = Params::default();
        let mut keys = Vec::new();
        while let Some(token) = next() {
            let (name, raw) = token.split_once('=').unwrap_or((token, ""));
            let key = SvcParamKey::from_name(name).ok_or_else(|| TextError::Key(name.into()))?;
            if keys.contains(&key) {
                return Err(TextError::Duplicate(key));
            }
            keys.push(key);
            let value = char_string(raw).ok_or(TextError::Value(key))?;
            // A key by its number has its wire form as its value (RFC 9460 §2.1).
            if name
                .strip_prefix("key")
                .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
            {
                params.set_wire(key, &value)?;
            } else {
                set_text(&mut params, key, raw, &value).ok_or(TextError::Value(key))?;
            }
        }
        if priority == 0 {
            return Ok(Self::alias(target));
        }
        params.check_consistency(&keys)?;
        Ok(Self {
            priority,
            target,
            params,
        })
    }
}

/// Takes the value of a key that goes by its name.
fn set_text(params: &mut Params, key: SvcParamKey, raw: &str, value: &[u8]) -> Option<()> {
    // Where §7 and §8 forbid escape sequences, a backslash in the text is an error.
    let plain = || {
        core::str::from_utf8(value)
            .ok()
            .filter(|_| !raw.contains('\\'))
    };
    match key {
        SvcParamKey::MANDATORY => {
            let keys: Option<Vec<_>> = plain()?.split(',').map(SvcParamKey::from_name).collect();
            params.mandatory = keys?;
            params.mandatory.sort_unstable();
        }
        SvcParamKey::ALPN => {
            params.alpn = value_list(value)?;
            params.alpn.iter().all(|id| id.len() <= 255).then_some(())?;
        }
        SvcParamKey::NO_DEFAULT_ALPN => {
            value.is_empty().then_some(())?;
            params.no_default_alpn = true;
        }
        SvcParamKey::PORT => params.port = Some(decimal(plain()?)?),
        SvcParamKey::IPV4HINT => params.ipv4hint = addresses(plain()?)?,
        SvcParamKey::IPV6HINT => params.ipv6hint = addresses(plain()?)?,
        SvcParamKey::ECH => {
            let list = BASE64.decode(plain()?.as_bytes()).ok()?;
            params.set_wire(key, &list).ok()?;
        }
        _ => params.set_wire(key, value).ok()?,
    }
    Some(())
}

fn addresses<A: FromStr>(text: &str) -> Option<Vec<A>> {
    text.split(',')
        .map(|address| address.parse().ok())
        .collect()
}

pub(super) fn decimal(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// RFC 9460 appendix A.1; empty items are not allowed, so neither is an empty list.
fn value_list(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut items = vec![Vec::new()];
    let mut octets = value.iter();
    while let Some(&octet) = octets.next() {
        let item = items.last_mut()?;
        match octet {
            b',' => items.push(Vec::new()),
            b'\\' => item.push(*octets.next().filter(|next| matches!(next, b',' | b'\\'))?),
            _ => item.push(octet),
        }
    }
    items.iter().all(|item| !item.is_empty()).then_some(items)
}

/// RFC 9460 appendix A: `char-string`, either contiguous or quoted.
fn char_string(raw: &str) -> Option<Vec<u8>> {
    let (inner, quoted) = match raw.strip_prefix('"') {
        Some(rest) => (rest.strip_suffix('"')?, true),
        None => (raw, false),
    };
    let mut out = Vec::new();
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let mut ahead = bytes.clone();
                match ahead.next() {
                    Some(space @ (b' ' | b'\t')) if quoted => {
                        out.push(space);
                        bytes = ahead;
                    }
                    _ => out.push(unescape(&mut bytes)?),
                }
            }
            b'"' => return None,
            b' ' | b'\t' if quoted => out.push(byte),
            0x21..=0x7e => out.push(byte),
            _ => return None,
        }
    }
    Some(out)
}

/// RFC 3597 §5: a length and that many octets in hexadecimal.
fn generic(length: &str, hex: &[&str]) -> Result<Record, TextError> {
    let rdata = HEXLOWER_PERMISSIVE
        .decode(hex.concat().as_bytes())
        .map_err(|_| TextError::Generic)?;
    if decimal(length).map(usize::from) != Some(rdata.len()) {
        return Err(TextError::Generic);
    }
    Ok(Record::parse(&rdata)?)
}

/// Why text is not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Priority or target are missing.
    #[error("a record needs a priority and a target name")]
    Incomplete,
    /// The priority is not a number up to 65535.
    #[error("the priority is not a number from 0 to 65535")]
    Priority,
    /// The target is not a domain name.
    #[error("the target name is malformed: {0}")]
    Target(NameError),
    /// No such key.
    #[error(
        "unknown parameter {0:?}; a key without a name is written as its number, such as key65280"
    )]
    Key(String),
    /// A duplicate key.
    #[error("the parameter {0} is a duplicate")]
    Duplicate(SvcParamKey),
    /// A value does not have the format of its key.
    #[error("the value of {0} is malformed")]
    Value(SvcParamKey),
    /// More than one record where one is wanted.
    #[error("there are {0} records; give one of them")]
    Several(usize),
    /// A quotation mark without its other half.
    #[error("a quotation mark is missing")]
    Quote,
    /// The generic form does not have the octets that it says.
    #[error(r"the generic form \# needs a length and that many octets in hexadecimal")]
    Generic,
    /// The parameters contradict each other.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The octets of the generic form are malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl From<NameError> for TextError {
    fn from(error: NameError) -> Self {
        Self::Target(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_whole_lines_with_comments_and_parentheses() {
        let rdata: Record = "1 svc.example.com. alpn=h2 port=8443".parse().unwrap();
        for line in [
            "example.com. 300 IN HTTPS 1 svc.example.com alpn=\"h2\" port=8443",
            "example.com HTTPS 1 svc.example.com. (\n alpn=h2 ; the second version\n port=8443 )",
            "1 svc.example.com. port=8443 alpn=h2",
        ] {
            assert_eq!(line.parse::<Record>().as_ref(), Ok(&rdata), "{line}");
        }
        let wire = rdata.encode().unwrap();
        let hex = data_encoding::HEXUPPER.encode(&wire);
        let generic = format!(
            "x. IN TYPE65 \\# {} {} {}",
            wire.len(),
            &hex[..6],
            &hex[6..]
        );
        assert_eq!(generic.parse::<Record>(), Ok(rdata));
    }

    #[test]
    fn refuses_what_the_grammar_refuses() {
        let bad = |text: &str| text.parse::<Record>().unwrap_err();
        assert_eq!(bad(""), TextError::Incomplete);
        assert_eq!(bad("1"), TextError::Incomplete);
        assert_eq!(bad("x ."), TextError::Priority);
        assert_eq!(bad("65536 ."), TextError::Priority);
        assert_eq!(bad("+1 ."), TextError::Priority);
        assert_eq!(bad("1 a..b"), TextError::Target(NameError::EmptyLabel));
        assert_eq!(bad("1 . ALPN=h2"), TextError::Key("ALPN".into()));
        assert_eq!(bad("1 . key01=a"), TextError::Key("key01".into()));
        assert_eq!(
            bad("1 . key65535=a"),
            ParamsError::Value(SvcParamKey::INVALID).into()
        );
        assert_eq!(bad("1 . alpn=\"h2"), TextError::Quote);
        assert_eq!(bad("1 . alpn=h2,,h3"), TextError::Value(SvcParamKey::ALPN));
        assert_eq!(bad(r"1 . alpn=h2\\a"), TextError::Value(SvcParamKey::ALPN));
        assert_eq!(bad(r"1 . port=\0521"), TextError::Value(SvcParamKey::PORT));
        assert_eq!(bad("1 . port=65536"), TextError::Value(SvcParamKey::PORT));
        assert_eq!(
            bad("1 . ipv4hint=::1"),
            TextError::Value(SvcParamKey::IPV4HINT)
        );
        assert_eq!(bad("1 . ech=AAA"), TextError::Value(SvcParamKey::ECH));
        assert_eq!(bad(r"\# 4 0001"), TextError::Generic);
        assert_eq!(
            bad(r"\# 2 0001"),
            RecordError::Target(NameError::Truncated).into()
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[0-9a-z .=,;()"\\\-]{0,60}"#, any in ".{0,60}") {
            let _ = text.parse::<Record>();
            let _ = format!("1 . {text}").parse::<Record>();
            let _ = any.parse::<Record>();
        }
    }
}
