//! A trace as a page of HTML that needs nothing else.

use super::parts::{ConnectionTrace, HelloTrace, Trace};
use super::story;
use crate::html::{cell, document, escaped};

pub(super) fn html(trace: &Trace) -> String {
    let (verdict, hidden) = story::verdict(trace);
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"{}\">{}</p>\n",
        escaped(&trace.origin),
        class(hidden),
        escaped(&verdict)
    );
    if let Some(error) = &trace.error {
        body.push_str(&format!(
            "<p class=\"bad\">It failed: {}</p>\n",
            escaped(error)
        ));
    }
    body.push_str("<h2>DNS</h2>\n<ul>\n");
    for line in story::dns(trace) {
        body.push_str(&format!("<li>{}</li>\n", escaped(&line)));
    }
    body.push_str("</ul>\n");
    for (number, connection) in (1..).zip(&trace.connections) {
        body.push_str(&format!(
            "<h2>Connection {number} to {}</h2>\n<p>{}</p>\n",
            connection.peer,
            connection.ech.words()
        ));
        body.push_str(&connection_html(trace, connection));
    }
    if let Some(configs) = &trace.ech.retry_configs {
        body.push_str(&format!(
            "<h2>retry_configs</h2>\n<p>The server sent these encrypted, in EncryptedExtensions, \
             when it rejected ECH.</p>\n<p><code>{}</code></p>\n",
            escaped(configs)
        ));
    }
    document(&format!("Trace of {}", trace.origin), &body)
}

fn class(hidden: bool) -> &'static str {
    match hidden {
        true => "good",
        false => "bad",
    }
}

fn connection_html(trace: &Trace, connection: &ConnectionTrace) -> String {
    let mut out = String::new();
    for (number, hello) in (1..).zip(&connection.hellos) {
        let len = hello.outer.len;
        out.push_str(&format!("<h3>ClientHello {number}, {len} bytes</h3>\n"));
        out.push_str(&hello_html(hello));
        for note in story::notes(hello) {
            out.push_str(&format!("<p>{}</p>\n", escaped(&note)));
        }
    }
    out.push_str("<h3>The server's answer</h3>\n<ol>\n");
    for answer in story::answers(connection) {
        out.push_str(&format!("<li>{}</li>\n", escaped(&answer)));
    }
    out.push_str(&format!(
        "</ol>\n<p class=\"{}\">{}</p>\n",
        class(connection.name_seen.is_empty()),
        escaped(&story::sightings(trace, connection))
    ));
    if connection.truncated {
        out.push_str("<p>The connection was longer than the recorder keeps.</p>\n");
    }
    out
}

fn hello_html(hello: &HelloTrace) -> String {
    let both = hello.inner.is_some();
    let heads = match both {
        true => "<th>ClientHelloOuter: seen</th><th>ClientHelloInner: sealed</th>",
        false => "<th>seen</th>",
    };
    let mut out =
        format!("<div class=\"wide\"><table class=\"hello\">\n<tr><th>field</th>{heads}</tr>\n");
    for row in story::rows(hello) {
        let td = |value: &Option<String>| match value {
            Some(value) => format!("<td>{}</td>", cell(value)),
            None => "<td class=\"faint\">-</td>".to_owned(),
        };
        let inner = match (both, row.same) {
            (false, _) => String::new(),
            (true, true) => "<td class=\"faint\">same</td>".to_owned(),
            (true, false) => td(&row.inner),
        };
        let class = match row.matters {
            true => " class=\"matters\"",
            false => "",
        };
        out.push_str(&format!(
            "<tr{class}><th>{}</th>{}{inner}</tr>\n",
            cell(&row.name),
            td(&row.outer)
        ));
    }
    out.push_str("</table></div>\n");
    out
}
