//! `/.well-known/origin-svcb`: the records that an origin asks a zone factory to publish
//! (draft-ietf-tls-wkech §5).

use echkit::svcb::{DomainName, Record};
use serde_json::{Map, Value};

/// Endpoints of one document, at most.
const MAX_ENDPOINTS: usize = 64;

/// What the document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginSvcb {
    /// After how many seconds it may change.
    pub(crate) regeninterval: u64,
    pub(crate) endpoints: Vec<AskedRecord>,
}

/// A record that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedRecord {
    pub(crate) record: Record,
    /// Whether the document has the priority, or the zone factory may choose it.
    pub(crate) has_priority: bool,
}

impl OriginSvcb {
    /// Reads the document.
    ///
    /// # Errors
    ///
    /// In words, with the place in the document.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let Value::Object(document) = value else {
            return Err("it is no object".to_owned());
        };
        let regeninterval = document
            .get("regeninterval")
            .and_then(Value::as_u64)
            .filter(|seconds| *seconds > 0)
            .ok_or("`regeninterval` is not a positive integer")?;
        let entries = document
            .get("endpoints")
            .and_then(Value::as_array)
            .ok_or("`endpoints` is not an array")?;
        if entries.is_empty() || entries.len() > MAX_ENDPOINTS {
            let count = entries.len();
            return Err(format!("`endpoints` has {count} entries"));
        }
        let mut endpoints = Vec::with_capacity(entries.len());
        let mut priority = 1;
        for (index, entry) in entries.iter().enumerate() {
            let read = entry.as_object().ok_or_else(|| "no object".to_owned());
            let asked = read.and_then(|entry| AskedRecord::read(entry, priority));
            let asked = asked.map_err(|why| format!("endpoint {}: {why}", index + 1))?;
            if asked.record.is_alias() && entries.len() > 1 {
                return Err(format!("endpoint {}: an alias beside others", index + 1));
            }
            priority = asked.record.priority;
            endpoints.push(asked);
        }
        Ok(Self {
            regeninterval,
            endpoints,
        })
    }
}

impl AskedRecord {
    /// `inherited` is the priority of the entry before.
    fn read(entry: &Map<String, Value>, inherited: u16) -> Result<Self, String> {
        if let Some(alias) = entry.get("alias") {
            let target = name(alias).ok_or("`alias` is not a host name")?;
            if entry.contains_key("params") || entry.contains_key("target") {
                return Err("both an alias and a service".to_owned());
            }
            return Ok(Self {
                record: Record::alias(target),
                has_priority: true,
            });
        }
        let given = entry.get("priority");
        let priority = match given.map(Value::as_u64) {
            None => inherited,
            Some(number) => number
                .and_then(|number| u16::try_from(number).ok())
                .filter(|number| *number > 0)
                .ok_or("`priority` is not a positive integer of 16 bits")?,
        };
        let target = match entry.get("target") {
            None => DomainName::root(),
            Some(Value::String(empty)) if empty.is_empty() => DomainName::root(),
            Some(target) => name(target).ok_or("`target` is not a host name")?,
        };
        let mut text = format!("{priority} {target}");
        if let Some(params) = entry.get("params") {
            let params = params.as_object().ok_or("`params` is no object")?;
            for (key, value) in params {
                text.push(' ');
                text.push_str(&param(key, value)?);
            }
        }
        let record: Record = text.parse().map_err(|error| format!("{error}"))?;
        // A zone factory must not publish what DNS servers refuse.
        record.encode().map_err(|error| error.to_string())?;
        Ok(Self {
            record,
            has_priority: given.is_some(),
        })
    }
}

/// A name in the letters that the draft allows.
fn name(value: &Value) -> Option<DomainName> {
    let text = value.as_str()?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let is_name = !text.is_empty() && text.chars().all(allowed);
    is_name.then(|| text.parse().ok()).flatten()
}

/// One parameter in the presentation form of a record (RFC 9460 §2.1).
fn param(key: &str, value: &Value) -> Result<String, String> {
    let is_key = key
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if key.is_empty() || !is_key {
        return Err(format!(
            "`{}`: not the name of a parameter",
            key.escape_debug()
        ));
    }
    let wrong = || format!("`{key}`: neither a string nor an array of strings");
    let octets = match value {
        Value::String(text) => octets(text).ok_or_else(wrong)?,
        Value::Array(items) => {
            let mut all = Vec::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    all.push(b',');
                }
                let item = item.as_str().and_then(octets).ok_or_else(wrong)?;
                // RFC 9460 appendix A.1: commas and backslashes of an item are escaped.
                for octet in item {
                    if [b',', b'\\'].contains(&octet) {
                        all.push(b'\\');
                    }
                    all.push(octet);
                }
            }
            all
        }
        _ => return Err(wrong()),
    };
    if octets.is_empty() {
        return Ok(key.to_owned());
    }
    let mut text = format!("{key}=");
    for octet in octets {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(octet)),
            b'+' | b'/' | b'=' | b'.' | b',' | b':' | b'-' | b'_' => text.push(char::from(octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
    Ok(text)
}

/// Each code point of a string is one octet.
fn octets(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(endpoints: &str) -> Result<OriginSvcb, String> {
        let text = format!("{{\"regeninterval\": 3600, \"endpoints\": {endpoints}}}");
        OriginSvcb::parse(text.as_bytes())
    }

    #[test]
    fn the_records_of_a_document_are_those_of_its_presentation_form() {
        for (endpoints, records) in [
            ("[{}]", vec!["1 ."]),
            (
                r#"[{"alias": "cdn1.example.com"}]"#,
                vec!["0 cdn1.example.com."],
            ),
            (
                r#"[{"priority": 2, "target": "a.example", "params":
                    {"alpn": ["h2", "f,\\o"], "port": "8443", "ipv4hint": ["192.0.2.1"]}},
                    {"params": {"no-default-alpn": "", "alpn": ["h2"], "key65000": "ÿ "}}]"#,
                vec![
                    r#"2 a.example. alpn="h2,f\\,\\\\o" port=8443 ipv4hint=192.0.2.1"#,
                    r#"2 . alpn=h2 no-default-alpn key65000="\255\032""#,
                ],
            ),
        ] {
            let asked = parse(endpoints).unwrap();
            let asked: Vec<_> = asked.endpoints.into_iter().map(|e| e.record).collect();
            let expected: Vec<Record> = records.iter().map(|r| r.parse().unwrap()).collect();
            assert_eq!(asked, expected, "{endpoints}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (endpoints, part) in [
            ("[]", "`endpoints` has 0 entries"),
            ("[{}, 1]", "endpoint 2: no object"),
            (r#"[{"priority": 0}]"#, "`priority`"),
            (r#"[{"priority": 65536}]"#, "`priority`"),
            (r#"[{"target": "A b"}]"#, "`target`"),
            (r#"[{"params": {"port": 8443}}]"#, "`port`: neither"),
            (r#"[{"params": {"port": "x"}}]"#, "endpoint 1: "),
            (r#"[{"params": {"ech": "AAAA"}}]"#, "endpoint 1: "),
            (r#"[{"params": {"alpn": ["Ā"]}}]"#, "`alpn`: neither"),
            (
                r#"[{"params": {"a b": ""}}]"#,
                "not the name of a parameter",
            ),
            (r#"[{"alias": "a.test"}, {}]"#, "an alias beside others"),
            (r#"[{"alias": "a.test", "params": {}}]"#, "both"),
        ] {
            let error = parse(endpoints).unwrap_err();
            assert!(error.contains(part), "{endpoints}: {error}");
        }
        for text in [
            "",
            "[]",
            "{\"endpoints\": [{}]}",
            "{\"regeninterval\": 0, \"endpoints\": [{}]}",
            "{\"regeninterval\": 1}",
            &"[".repeat(100_000),
        ] {
            assert!(OriginSvcb::parse(text.as_bytes()).is_err(), "{text:.40}");
        }
    }
}
