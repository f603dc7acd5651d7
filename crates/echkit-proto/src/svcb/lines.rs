//! HTTPS and SVCB records as zone files have them and DNS tools print them (RFC 1035 §5.1).
//!
//! Read are the lines of `dig`, `dig +short`, `dig +yaml`, `kdig`, `drill`, `delv`, `host`, `nslookup`
//! and `resolvectl`, with what stands around them: comments, other record types, names on their own.

use std::str::FromStr;

use super::params::SvcParamKey;
use super::record::Record;
use super::text::{TextError, decimal};
use crate::encoding;

/// An HTTPS or SVCB record of a text, with what stood before its data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordLine {
    /// The owner name as it is written, where there is one.
    pub owner: Option<String>,
    /// The record.
    pub record: Record,
}

/// The HTTPS and SVCB records in a text, in its order. Other record types, comments and directives
/// are passed over.
///
/// # Errors
///
/// When a line is neither a record nor anything else that is known, or a record is malformed.
pub fn record_lines(text: &str) -> Result<Vec<RecordLine>, RecordLineError> {
    let mut found = Vec::new();
    for line in logical_lines(text)? {
        if let Part::Record { owner, rdata } = part(&line.tokens) {
            let record = Record::from_tokens(rdata).map_err(|error| RecordLineError {
                line: line.number,
                error,
            })?;
            found.push(RecordLine {
                owner: owner.map(str::to_owned),
                record,
            });
        }
    }
    Ok(found)
}

impl FromStr for Record {
    type Err = TextError;

    /// Reads RDATA text, or a whole line whose type is HTTPS or SVCB; [`record_lines`] reads
    /// several.
    ///
    /// Parentheses, line breaks inside them and comments are understood (RFC 1035 §5.1). Target
    /// names count as absolute with and without their final dot.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut lines = record_lines(text).map_err(|error| error.error)?;
        match (lines.pop(), lines.len()) {
            (None, _) => Err(TextError::Incomplete),
            (Some(line), 0) => Ok(line.record),
            (Some(_), others) => Err(TextError::Several(others + 1)),
        }
    }
}

/// Whether a text is meant to be a record, or the output of a DNS tool, and not bytes in an
/// encoding.
pub fn looks_like_records(text: &str) -> bool {
    if encoding::is_hex(text) {
        return false;
    }
    match logical_lines(text) {
        Ok(lines) if lines.is_empty() => text.starts_with(';'),
        Ok(lines) => lines.iter().any(|line| match part(&line.tokens) {
            Part::Record { rdata, .. } => starts_rdata(rdata),
            Part::OtherType => true,
            Part::Words => false,
        }),
        Err(_) => starts_rdata(&text.split_ascii_whitespace().collect::<Vec<_>>()),
    }
}

/// The value of an `ech` parameter in a text of parameters, such as `alpn=h2 ech="AEX…"`.
pub(crate) fn ech_value(text: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace();
    let value = words.find_map(|word| {
        let (key, value) = word.split_once('=')?;
        key.eq_ignore_ascii_case("ech").then_some(value)
    })?;
    // A value may have been broken over lines.
    let rest = words.take_while(|word| !is_param(word));
    let whole: String = std::iter::once(value).chain(rest).collect();
    Some(whole.trim_matches(['"', '\'']).to_owned())
}

/// A record may go on over lines inside brackets.
struct LogicalLine<'t> {
    /// Of its first line, from 1.
    number: usize,
    tokens: Vec<&'t str>,
}

/// The tokens of each line, with quotes and escape sequences left as they are. A line that begins
/// with a parameter belongs to the one before, which was broken to fit a window.
fn logical_lines(text: &str) -> Result<Vec<LogicalLine<'_>>, RecordLineError> {
    let mut lines: Vec<LogicalLine<'_>> = Vec::new();
    let mut tokens = Vec::new();
    let (mut number, mut first) = (1, 1);
    let mut depth = 0_usize;
    let mut start = None;
    let (mut quoted, mut comment, mut escaped) = (false, false, false);
    // The end of the text is the end of a line.
    for (at, c) in text.char_indices().chain([(text.len(), '\n')]) {
        if comment && c != '\n' {
            continue;
        }
        if std::mem::take(&mut escaped) && c != '\n' {
            continue;
        }
        if quoted && c == '\n' {
            return Err(RecordLineError {
                line: number,
                error: TextError::Quote,
            });
        }
        if !quoted && matches!(c, ' ' | '\t' | '\r' | '\n' | '(' | ')' | ';') {
            tokens.extend(start.take().map(|start| &text[start..at]));
            match c {
                ';' => comment = true,
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                '\n' => {
                    comment = false;
                    number += 1;
                    if depth == 0 || at == text.len() {
                        finish(&mut lines, std::mem::take(&mut tokens), first);
                        first = number;
                    }
                }
                _ => {}
            }
            continue;
        }
        start = start.or(Some(at));
        escaped = c == '\\';
        quoted ^= c == '"';
    }
    Ok(lines)
}

fn finish<'t>(lines: &mut Vec<LogicalLine<'t>>, mut tokens: Vec<&'t str>, number: usize) {
    // What `resolvectl` adds to a record, and says behind them all.
    if let Some(end) = tokens.iter().position(|token| *token == "--") {
        tokens.truncate(end);
    }
    unquote_item(&mut tokens);
    match (tokens.first(), lines.last_mut()) {
        (None, _) => {}
        (Some(token), _) if token.starts_with('$') => {}
        (Some(token), Some(line)) if is_param(token) => line.tokens.extend(tokens),
        _ => lines.push(LogicalLine { number, tokens }),
    }
}

/// Takes a record out of an item of a list in YAML, as `dig +yaml` prints it: `- 'RECORD'`.
fn unquote_item(tokens: &mut Vec<&str>) {
    if tokens.first() != Some(&"-") {
        return;
    }
    tokens.remove(0);
    if let Some(first) = tokens.first_mut()
        && let Some(bare) = first.strip_prefix('\'')
    {
        *first = bare;
        if let Some(last) = tokens.last_mut() {
            *last = last.strip_suffix('\'').unwrap_or(last);
        }
    }
}

/// `alpn=h2`, `no-default-alpn`.
fn is_param(token: &str) -> bool {
    match token.split_once('=') {
        Some((name, _)) => SvcParamKey::from_name(name).is_some(),
        None => token == "no-default-alpn",
    }
}

/// What a line is.
enum Part<'a, 't> {
    /// HTTPS or SVCB, or nothing that is known.
    Record {
        owner: Option<&'t str>,
        rdata: &'a [&'t str],
    },
    /// Another record type.
    OtherType,
    /// What a tool says around the records.
    Words,
}

fn part<'a, 't>(tokens: &'a [&'t str]) -> Part<'a, 't> {
    let [first, rest @ ..] = tokens else {
        return Part::Words;
    };
    let known = typed(None, tokens, starts_rdata)
        // A number is a priority or a TTL before it is a name.
        .or_else(|| {
            let named = decimal(first).is_none() || rest.first().is_some_and(|t| is_class(t));
            named.then(|| typed(Some(first), rest, starts_rdata))?
        });
    if let Some(known) = known {
        return known;
    }
    if starts_rdata(tokens) {
        return Part::Record {
            owner: None,
            rdata: tokens,
        };
    }
    match rest {
        // `nslookup`: "*** Can't find a.example: No answer"
        _ if *first == "***" => return Part::OtherType,
        // The question in `dig +yaml`.
        [class, name] if is_class(class) && is_type(name) => return Part::OtherType,
        _ => {}
    }
    match rest {
        // `host`: "a.example has no HTTPS record"
        ["has", "no", ..] => Part::OtherType,
        // `host`: "a.example has HTTPS record 1 ."
        ["has", words @ ..] => words
            .iter()
            .position(|word| decimal(word).is_some() || *word == r"\#")
            .map_or(Part::Words, |at| Part::Record {
                owner: Some(first),
                rdata: &words[at..],
            }),
        ["is", "an", "alias", ..] | ["canonical", "name", "=", ..] => Part::Words,
        // `nslookup` without a name for the type.
        ["rdata_65" | "rdata_64", "=", data @ ..] => Part::Record {
            owner: Some(first),
            rdata: data,
        },
        _ if first.ends_with(':') || tokens.last().is_some_and(|last| last.ends_with(':')) => {
            Part::Words
        }
        // The target of a CNAME under `dig +short`.
        [] if first.ends_with('.') => Part::Words,
        _ => typed(Some(first), rest, |_| true).unwrap_or(Part::Record {
            owner: None,
            rdata: tokens,
        }),
    }
}

/// What follows an owner: TTL and class in either order, the type, and data that `fits`.
fn typed<'a, 't>(
    owner: Option<&'t str>,
    tokens: &'a [&'t str],
    fits: impl Fn(&[&str]) -> bool,
) -> Option<Part<'a, 't>> {
    let mut rest = tokens;
    let (mut ttl, mut class) = (false, false);
    let (name, data) = loop {
        let (first, tail) = rest.split_first()?;
        match () {
            () if !ttl && is_ttl(first) => ttl = true,
            () if !class && is_class(first) => class = true,
            () => break (first, tail),
        }
        rest = tail;
    };
    if is_service_type(name) {
        return match () {
            // A signature of such records under `+short`, which begins with the type it covers.
            () if is_signature(data) => Some(Part::OtherType),
            () => fits(data).then_some(Part::Record { owner, rdata: data }),
        };
    }
    (owner.is_some() && is_other_type(name) && !data.is_empty()).then_some(Part::OtherType)
}

fn is_service_type(token: &str) -> bool {
    let service = ["HTTPS", "SVCB", "TYPE65", "TYPE64"];
    service
        .iter()
        .any(|known| token.eq_ignore_ascii_case(known))
}

fn is_type(token: &str) -> bool {
    is_service_type(token) || is_other_type(token)
}

/// A priority and a target, or the generic form (RFC 3597 §5).
fn starts_rdata(tokens: &[&str]) -> bool {
    match tokens {
        [r"\#", ..] => true,
        [priority, _, ..] => decimal(priority).is_some(),
        _ => false,
    }
}

/// RRSIG without its type: algorithm, labels, TTL, expiration and inception (RFC 4034 §3.2).
fn is_signature(data: &[&str]) -> bool {
    let is_time = |text: &&str| text.len() == 14 && text.bytes().all(|b| b.is_ascii_digit());
    data.len() >= 8 && data[3..5].iter().all(is_time)
}

/// Seconds, or with units as in `1h30m`.
fn is_ttl(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_digit())
        && token
            .bytes()
            .all(|b| b.is_ascii_digit() || b"smhdwSMHDW".contains(&b))
}

fn is_class(token: &str) -> bool {
    let known = ["IN", "CH", "HS", "CLASS1"];
    known.iter().any(|class| token.eq_ignore_ascii_case(class))
}

/// The types that occur beside HTTPS records in answers and zones, as they are printed.
fn is_other_type(token: &str) -> bool {
    const OTHER: &[&str] = &[
        "A",
        "AAAA",
        "CAA",
        "CDNSKEY",
        "CDS",
        "CERT",
        "CNAME",
        "DNAME",
        "DNSKEY",
        "DS",
        "HINFO",
        "KEY",
        "LOC",
        "MX",
        "NAPTR",
        "NS",
        "NSEC",
        "NSEC3",
        "NSEC3PARAM",
        "OPENPGPKEY",
        "PTR",
        "RP",
        "RRSIG",
        "SIG",
        "SMIMEA",
        "SOA",
        "SPF",
        "SRV",
        "SSHFP",
        "TLSA",
        "TXT",
        "URI",
        "ZONEMD",
    ];
    let number = token.strip_prefix("TYPE");
    OTHER.contains(&token) || number.is_some_and(|number| decimal(number).is_some())
}

/// A line of a text is not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
#[non_exhaustive]
pub struct RecordLineError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub error: TextError,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn record(text: &str) -> Record {
        text.parse().unwrap()
    }

    fn records(text: &str) -> Vec<Record> {
        let lines = record_lines(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(lines.is_empty() || looks_like_records(text), "{text}");
        lines.into_iter().map(|line| line.record).collect()
    }

    #[test]
    fn the_output_of_dns_tools_is_read_whole() {
        let one = record("1 . alpn=h2 ipv4hint=192.0.2.1");
        let two = record("2 svc.example.net. alpn=h3");
        for (tool, text) in [
            (
                "dig",
                "\n; <<>> DiG 9.20.4 <<>> a.example HTTPS\n;; global options: +cmd\n;; Got answer:\n\
                 ;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4711\n\n\
                 ;; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; udp: 1232\n\
                 ;; QUESTION SECTION:\n;a.example.\t\t\tIN\tHTTPS\n\n;; ANSWER SECTION:\n\
                 a.example.\t\t300\tIN\tHTTPS\t1 . alpn=\"h2\" ipv4hint=192.0.2.1\n\
                 a.example.\t\t300\tIN\tHTTPS\t2 svc.example.net. alpn=\"h3\"\n\n\
                 ;; AUTHORITY SECTION:\nexample.\t900 IN SOA ns.example. h.example. 1 2 3 4 5\n\n\
                 ;; Query time: 3 msec\n;; SERVER: 127.0.0.53#53(127.0.0.53) (UDP)\n",
            ),
            (
                "dig +multiline",
                "a.example.\t\t300 IN HTTPS 1 . alpn=\"h2\" (\n\t\t\t\tipv4hint=192.0.2.1 )\n\
                 a.example.\t\t300 IN HTTPS 2 svc.example.net. (\n\t\t\t\talpn=\"h3\" ) ; second\n",
            ),
            (
                "dig of a release that does not know the type",
                "a.example. 300 IN TYPE65 \\# 18 00010000010003026832 00040004C0 000201\n\
                 a.example. 300 IN TYPE65 \\# 26 00020373766307657861 6D706C65036E657400 00010003026833\n",
            ),
            (
                "dig +short with a CNAME and signatures",
                "cdn.example.net.\n1 . alpn=\"h2\" ipv4hint=192.0.2.1\n2 svc.example.net. alpn=\"h3\"\n\
                 HTTPS 13 2 300 20261201000000 20261120000000 34505 example. kX1Qf+b= Zz09\n",
            ),
            (
                "kdig",
                ";; ->>HEADER<<- opcode: QUERY; status: NOERROR; id: 1\n\
                 ;; Flags: qr rd ra; QUERY: 1; ANSWER: 2\n\n;; QUESTION SECTION:\n\
                 ;; a.example.          \t\tIN\tHTTPS\n\n;; ANSWER SECTION:\n\
                 a.example.          \t300\tIN\tHTTPS\t1 . alpn=h2 ipv4hint=192.0.2.1\n\
                 a.example.          \t300\tIN\tHTTPS\t2 svc.example.net. alpn=h3\n\n;; Received 120 B\n",
            ),
            (
                "drill",
                ";; ANSWER SECTION:\na.example.\t300\tIN\tHTTPS\t1 . alpn=\"h2\" ipv4hint=\"192.0.2.1\" \n\
                 a.example.\t300\tIN\tHTTPS\t2 svc.example.net. alpn=\"h3\" \n\n;; MSG SIZE  rcvd: 80\n",
            ),
            (
                "delv",
                "; fully validated\na.example.\t\t300\tIN\tHTTPS\t1 . alpn=\"h2\" ipv4hint=192.0.2.1\n\
                 a.example.\t\t300\tIN\tHTTPS\t2 svc.example.net. alpn=\"h3\"\n\
                 a.example.\t\t300\tIN\tRRSIG\tHTTPS 13 2 300 20261201000000 20261120000000 34505 example. kX1Q=\n",
            ),
            (
                "host",
                "www.a.example is an alias for a.example.\n\
                 a.example has HTTP service bindings 1 . alpn=\"h2\" ipv4hint=192.0.2.1\n\
                 a.example has HTTPS record 2 svc.example.net. alpn=\"h3\"\n",
            ),
            (
                "nslookup",
                "Server:\t\t127.0.0.53\nAddress:\t127.0.0.53#53\n\nNon-authoritative answer:\n\
                 a.example\trdata_65 = 1 . alpn=\"h2\" ipv4hint=192.0.2.1\n\
                 a.example\trdata_65 = 2 svc.example.net. alpn=\"h3\"\n\n\
                 Authoritative answers can be found from:\n",
            ),
            (
                "resolvectl",
                "a.example IN HTTPS 1 . alpn=\"h2\" ipv4hint=192.0.2.1 -- link: eth0\n\
                 a.example IN HTTPS 2 svc.example.net. alpn=\"h3\" -- link: eth0\n\n\
                 -- Information acquired via protocol DNS in 45.1ms.\n",
            ),
            (
                "a zone",
                "$ORIGIN example.\n$TTL 1h\na 1h IN HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1\n\
                 \tIN 300 https 2 svc.example.net. alpn=h3 ; beside it\n\tIN A 192.0.2.1\na A 192.0.2.1\n",
            ),
            (
                "a window",
                "1 . alpn=h2\nipv4hint=192.0.2.1\n2 svc.example.net.\n  alpn=h3\n",
            ),
        ] {
            assert_eq!(records(text), [one.clone(), two.clone()], "{tool}");
        }
    }

    #[test]
    fn a_target_that_is_named_like_a_type_is_a_target() {
        let one = record_lines("1 HTTPS.example.com. alpn=h2").unwrap();
        assert_eq!(one[0].owner, None);
        assert_eq!(one[0].record.target.to_string(), "HTTPS.example.com");
        for (text, target) in [
            ("0 https", "https"),
            ("1 svcb port=1", "svcb"),
            ("1 MX port=1", "MX"),
        ] {
            assert_eq!(records(text)[0].target.to_string(), target, "{text}");
        }
    }

    #[test]
    fn the_owner_needs_no_final_dot_and_may_be_missing() {
        for (text, owner) in [
            ("a.example HTTPS 1 .", Some("a.example")),
            ("a.example. 1h30m IN HTTPS 1 .", Some("a.example.")),
            ("@ HTTPS 1 .", Some("@")),
            ("1 IN HTTPS 1 .", None),
            ("HTTPS 1 .", None),
            ("1 .", None),
        ] {
            let lines = record_lines(text).unwrap();
            assert_eq!(lines[0].owner.as_deref(), owner, "{text}");
            assert_eq!(lines[0].record, record("1 ."), "{text}");
        }
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        for (text, line, error) in [
            ("1 .\n\nx .", 3, TextError::Priority),
            ("a. HTTPS x .", 1, TextError::Priority),
            ("; c\na. HTTPS (\n1\n. alpn=\"h2", 4, TextError::Quote),
            ("1 .\n2 a..b", 2, crate::svcb::NameError::EmptyLabel.into()),
        ] {
            assert_eq!(
                record_lines(text),
                Err(RecordLineError { line, error }),
                "{text}"
            );
        }
        assert_eq!(record_lines(";; nothing but a comment"), Ok(vec![]));
        assert_eq!(record_lines("a. 1 IN A 192.0.2.1"), Ok(vec![]));
    }

    #[test]
    fn words_base64_and_hexadecimal_are_not_taken_for_records() {
        for text in [
            "",
            "hello",
            "AEX+DQBB\nFQAgACA/",
            "ech=AEX+DQ==",
            "alpn=h2 port=1",
            "garbage!",
        ] {
            assert!(!looks_like_records(text), "{text}");
        }
    }

    #[test]
    fn the_ech_parameter_is_found_among_others() {
        for (text, value) in [
            ("ech=AEX=", "AEX="),
            ("ECH=\"AEX=\"", "AEX="),
            ("alpn=h2 ech=AEX= ipv4hint=192.0.2.1", "AEX="),
            ("ech=\"AE\n  X=\" port=1", "AEX="),
        ] {
            assert_eq!(ech_value(text).as_deref(), Some(value), "{text}");
        }
        assert_eq!(ech_value("AEX="), None);
        assert_eq!(ech_value("alpn=ech"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"([0-9a-zA ."();$\\\n\t=-]|HTTPS|IN|alpn=|ech=){0,40}"#, any in ".{0,60}") {
            for text in [&text, &any] {
                let _ = record_lines(text);
                let _ = looks_like_records(text);
                let _ = ech_value(text);
            }
        }
    }
}
