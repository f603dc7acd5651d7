//! The page that tells visitors what became of ECH.

use std::sync::Arc;

use echkit::server::EchOutcome;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{ResponseBody, plain, whole};
use super::outcome::{outcome_word, reason_word};
use super::peer::Peer;

/// Answers with the page: HTML, or JSON with `?format=json`.
pub(super) fn answer<B>(request: &Request<B>, peer: &Arc<Peer>) -> Response<ResponseBody> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let facts = facts(peer, request);
    let as_json = request.uri().query() == Some("format=json");
    let (kind, text) = match as_json {
        true => ("application/json", facts.to_string()),
        false => ("text/html; charset=utf-8", page(&facts)),
    };
    let mut response = Response::new(whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // It is about this connection.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn facts<B>(peer: &Peer, request: &Request<B>) -> Value {
    let mut facts = json!({
        "ech": outcome_word(&peer.outcome),
        "site": peer.name,
        "http": format!("{:?}", request.version()),
    });
    match &peer.outcome {
        EchOutcome::Accepted {
            config_id,
            suite,
            outer_sni,
            ..
        } => {
            facts["config_id"] = json!(config_id);
            facts["suite"] = json!(suite.to_string());
            facts["outer_sni"] = json!(outer_sni);
        }
        EchOutcome::Rejected {
            outer_sni,
            retry_configs,
            reason,
        } => {
            facts["reason"] = json!(reason_word(reason));
            facts["outer_sni"] = json!(outer_sni);
            facts["retry_configs"] = json!(retry_configs);
        }
        _ => facts["outer_sni"] = json!(peer.name),
    }
    facts
}

/// Names in it are DNS names, so nothing needs escaping; values are escaped all the same.
fn page(facts: &Value) -> String {
    let mut rows = String::new();
    for (name, value) in facts.as_object().into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let value = value
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('"', "&quot;");
        rows.push_str(&format!("<tr><th>{name}<td>{value}\n"));
    }
    let headline = match facts["ech"].as_str() {
        Some("accepted") => {
            "Encrypted Client Hello was accepted: the network saw only the outer name."
        }
        Some("rejected") => {
            "An offer of Encrypted Client Hello was not opened: the network saw this name."
        }
        _ => "No Encrypted Client Hello: the network saw this name.",
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>ECH status</title>\n\
         <h1>{headline}</h1>\n<table>\n{rows}</table>\n"
    )
}
