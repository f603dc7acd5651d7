//! The head of a response.

use echkit::http::Response;
use http::HeaderMap;
use serde_json::{Value, json};

/// The head of a response.
pub(super) struct Head {
    pub(super) status: http::StatusCode,
    pub(super) version: String,
    pub(super) headers: HeaderMap,
}

impl Head {
    pub(super) fn of(response: &Response) -> Self {
        Self {
            status: response.status(),
            version: format!("{:?}", response.version()),
            headers: response.headers().clone(),
        }
    }

    pub(super) fn headers_json(&self) -> serde_json::Map<String, Value> {
        let mut headers = serde_json::Map::new();
        for name in self.headers.keys() {
            let values = self.headers.get_all(name).iter();
            let mut values: Vec<Value> = values
                .map(|v| json!(String::from_utf8_lossy(v.as_bytes())))
                .collect();
            let value = match values.len() {
                1 => values.remove(0),
                _ => Value::Array(values),
            };
            headers.insert(name.to_string(), value);
        }
        headers
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "status": self.status.as_u16(),
            "version": self.version,
            "headers": self.headers_json(),
        })
    }

    pub(super) fn text(&self) -> String {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut out = format!("{} {} {reason}\r\n", self.version, self.status.as_u16());
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        out
    }
}
