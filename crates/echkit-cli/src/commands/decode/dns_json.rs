//! Answers of DNS in JSON: of `kdig +json` (RFC 8427), and of resolvers with a JSON interface, as
//! `curl 'https://dns.google/resolve?name=example.com&type=HTTPS'` prints it.

use serde_json::{Map, Value};

/// The type of HTTPS records (RFC 9460 §14.1).
const HTTPS: u64 = 65;

/// The HTTPS records in an answer, a line each; `None` where the text is none.
pub(super) fn lines(text: &str) -> Option<String> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let document: Value = serde_json::from_str(text).ok()?;
    let first = match &document {
        Value::Array(items) => items.first()?,
        document => document,
    };
    let known = ["QNAME", "RCODE", "answerRRs", "Answer", "Question"];
    known.iter().find(|key| first.get(**key).is_some())?;
    // As a zone without records has it.
    let mut lines = String::from(";\n");
    collect(&document, &mut lines);
    Some(lines)
}

fn collect(value: &Value, lines: &mut String) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, lines)),
        Value::Object(map) => {
            if let Some(line) = record(map) {
                lines.push_str(&line);
            }
            map.values().for_each(|value| collect(value, lines));
        }
        _ => {}
    }
}

fn record(map: &Map<String, Value>) -> Option<String> {
    let text = |key| map.get(key).and_then(Value::as_str);
    let owner = text("NAME").or(text("name"))?;
    let kind = map.get("TYPE").or(map.get("type"))?.as_u64()?;
    let data = text("rdataHTTPS").or(text("data"))?;
    (kind == HTTPS).then(|| format!("{owner} HTTPS {data}\n"))
}
