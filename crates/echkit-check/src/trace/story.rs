//! The sentences of a trace, the same on a terminal and in a page.

use super::hello::HelloField;
use super::parts::{ConnectionTrace, HelloTrace, Trace, is_ech};
use super::server::ServerAnswer;

/// A field of a ClientHello in both hellos.
pub(super) struct Row {
    pub(super) name: String,
    /// What everyone reads; `None` where the outer hello lacks the field.
    pub(super) outer: Option<String>,
    /// What was sealed; `None` where there is no inner hello, or it lacks the field.
    pub(super) inner: Option<String>,
    /// Whether both say the same.
    pub(super) same: bool,
    /// Whether it is what ECH is about: the name, and the extension itself.
    pub(super) matters: bool,
}

/// The rows of a ClientHello: in the order of the outer one, then what the inner one has alone.
pub(super) fn rows(hello: &HelloTrace) -> Vec<Row> {
    let row = |outer: Option<&HelloField>, inner: Option<&HelloField>| {
        let either = outer.or(inner);
        let is_name = either.is_some_and(|field| field.extension == Some(0));
        Row {
            name: either.map(|field| field.name.clone()).unwrap_or_default(),
            outer: outer.map(|field| field.value.clone()),
            inner: inner.map(|field| field.value.clone()),
            same: matches!((outer, inner), (Some(o), Some(i)) if o.bytes == i.bytes),
            matters: is_name || either.is_some_and(is_ech),
        }
    };
    let inner = hello.inner.as_ref();
    let mut rows: Vec<Row> = hello
        .outer
        .fields
        .iter()
        .map(|field| row(Some(field), inner.and_then(|inner| inner.like(field))))
        .collect();
    if let Some(inner) = inner {
        let alone = inner.fields.iter();
        let alone = alone.filter(|field| hello.outer.like(field).is_none());
        rows.extend(alone.map(|field| row(None, Some(field))));
    }
    rows
}

/// What came of it, in a sentence, and whether the name stayed hidden from the network.
pub(super) fn verdict(trace: &Trace) -> (String, bool) {
    let name = &trace.name;
    let tls = match (trace.connections.is_empty(), trace.name_in_tls) {
        (true, _) => return ("No connection was made.".to_owned(), true),
        (_, true) => format!("TLS showed the name {name}"),
        (_, false) => format!("TLS did not show the name {name}"),
    };
    let dns = match (trace.name_in_dns, trace.name_in_tls) {
        (None, _) => "; no query was sent.",
        (Some(true), true) => ", and so did DNS.",
        (Some(true), false) => ", but DNS did.",
        (Some(false), true) => "; queries were encrypted.",
        (Some(false), false) => ", and queries were encrypted.",
    };
    let hidden = !trace.name_in_tls && trace.name_in_dns != Some(true);
    (tls + dns, hidden)
}

/// What the network learned from DNS.
pub(super) fn dns(trace: &Trace) -> Vec<String> {
    let Some(dns) = &trace.dns else {
        return vec!["No query was sent.".to_owned()];
    };
    let asked = dns.query_name.as_deref().unwrap_or("nothing");
    let way = match dns.protected {
        true => "encrypted: the network saw that a resolver was asked, not for what",
        false => "in the clear: the network read the questions and the answers",
    };
    let mut lines = vec![format!("{}, {way}", dns.resolver)];
    if let Some(proxy) = &dns.proxy {
        lines.push(format!("through the proxy {proxy}"));
    }
    let with_ech = dns.records.iter().filter(|record| record.ech.is_some());
    lines.push(format!(
        "HTTPS records of {asked}: {}, {} of them with ECHConfigs",
        match dns.records.len() {
            0 => dns.https.to_owned(),
            1 => "1 record".to_owned(),
            count => format!("{count} records"),
        },
        with_ech.count()
    ));
    if !dns.aliases.is_empty() {
        lines.push(format!("aliases: {}", dns.aliases.join(", ")));
    }
    lines
}

/// What is to be known of a ClientHello beside its fields.
pub(super) fn notes(hello: &HelloTrace) -> Vec<String> {
    let mut notes = Vec::new();
    if !hello.from_outer.is_empty() {
        notes.push(format!(
            "{} extensions of the inner hello are taken from the outer one (ech_outer_extensions)",
            hello.from_outer.len()
        ));
    }
    if let Some(padding) = hello.padding {
        notes.push(format!("The sealed hello is padded with {padding} zeros."));
    }
    if let Some(why) = &hello.not_opened {
        notes.push(format!("What is inside could not be opened: {why}."));
    }
    notes
}

/// The server's answers, in words.
pub(super) fn answers(connection: &ConnectionTrace) -> Vec<String> {
    if connection.answers.is_empty() {
        return vec!["no answer".to_owned()];
    }
    connection
        .answers
        .iter()
        .map(|answer| match answer {
            ServerAnswer::HelloRetryRequest { group, ech } => {
                let wants = match group {
                    Some(group) => format!(", wants a key share of {group}"),
                    None => String::new(),
                };
                let ech = match ech {
                    true => "with an ECH extension",
                    false => "without an ECH extension",
                };
                format!("HelloRetryRequest{wants}, {ech}")
            }
            ServerAnswer::ServerHello {
                version,
                cipher_suite,
                group,
            } => {
                let group = group.as_ref().map(|group| format!(", {group}"));
                let group = group.unwrap_or_default();
                format!("ServerHello: {version}, {cipher_suite}{group}")
            }
            ServerAnswer::Alert { description } => format!("alert {description}, in the clear"),
            ServerAnswer::Encrypted { records, bytes } => {
                format!("{records} encrypted records, {bytes} bytes")
            }
            ServerAnswer::NotTls { bytes } => format!("{bytes} bytes that are not TLS"),
        })
        .collect()
}

/// Where the name could be read on a connection.
pub(super) fn sightings(trace: &Trace, connection: &ConnectionTrace) -> String {
    let places: Vec<&str> = connection
        .name_seen
        .iter()
        .map(|s| s.place.as_str())
        .collect();
    match places.is_empty() {
        true => format!("{} is not in the bytes of this connection", trace.name),
        false => format!("{} can be read: {}", trace.name, places.join("; ")),
    }
}
