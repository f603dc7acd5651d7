//! `ech lookup`: the HTTPS records of an origin, and how a client interprets them.

use echkit::discover::{Discovery, DnsReport, Endpoint, HttpsAnswer, RecordReport, Warning};
use echkit::error::ErrorKind;
use serde_json::{Value, json};

use super::network;
use crate::cli::LookupArgs;
use crate::failure::Failure;
use crate::output::{self, Style};

pub(crate) async fn run(args: LookupArgs) -> Result<(), Failure> {
    let origin = network::origin(&args.url)?;
    let proxies = args.proxies.environment()?;
    let resolver = args.network.resolver(&args.proxies)?;
    let past = Warning::queries_past_proxy(&resolver, &origin, &proxies);
    // A variable may be there for other programs; a flag is about this command alone.
    if let (Some(_), Some(warning)) = (&args.proxies.proxy, &past) {
        return Err(Failure::usage(format!("-x: {warning}")));
    }
    args.proxies.warn();
    let mut discovery = echkit::discover::discover(&resolver, &origin).await;
    discovery.warnings.extend(past);
    let document = document(&discovery);
    if let Some(error) = &discovery.error {
        return Err(Failure::of_kind(ErrorKind::Name, error.to_string()).with_document(document));
    }
    if !args.json {
        output::stdout(text(&discovery).as_bytes())?;
    }
    match problem(&discovery, args.require_ech) {
        Some(failure) => Err(failure.with_document(document)),
        None if args.json => output::json(&document),
        None => Ok(()),
    }
}

/// What a monitor is to be told by the exit code.
fn problem(discovery: &Discovery, require_ech: bool) -> Option<Failure> {
    let origin = &discovery.origin;
    match &discovery.https {
        HttpsAnswer::Malformed(error) => Some(Failure::check(format!(
            "{origin}: its HTTPS records are malformed, and clients ignore them: {error}"
        ))),
        HttpsAnswer::Failed(error) => Some(Failure::of_kind(
            ErrorKind::Name,
            format!("{origin}: its HTTPS records could not be looked up: {error}"),
        )),
        _ if require_ech && !discovery.hides_host() => Some(Failure::of_kind(
            ErrorKind::EchRequired,
            format!(
                "{origin}: clients find no usable ECHConfig: {}",
                discovery.why_no_ech()
            ),
        )),
        _ => None,
    }
}

fn document(discovery: &Discovery) -> Value {
    json!({
        "origin": discovery.origin.to_string(),
        "dns": DnsReport::from(discovery),
        "endpoints": discovery.endpoints.iter().map(endpoint_json).collect::<Vec<_>>(),
        "ttl_s": discovery.ttl.map(|ttl| ttl.as_secs()),
        "elapsed_ms": discovery.elapsed.as_micros() as f64 / 1000.0,
    })
}

fn endpoint_json(endpoint: &Endpoint) -> Value {
    json!({
        "target": endpoint.target.to_string(),
        "port": endpoint.port,
        "addresses": endpoint.addresses,
        "from_hints": endpoint.from_hints,
        "ech": endpoint.can_offer_ech(),
    })
}

fn text(discovery: &Discovery) -> String {
    let style = Style::stdout();
    let report = DnsReport::from(discovery);
    let mut out = format!("{}\n", style.bold(&discovery.origin.to_string()));
    let seen = match report.protected {
        true => "encrypted: the network did not see the name",
        false => "not encrypted: the network saw the name",
    };
    out.push_str(&format!("resolver   {} ({seen})\n", report.resolver));
    if let Some(proxy) = &report.proxy {
        out.push_str(&format!("proxy      {proxy}\n"));
    }
    if let Some(name) = &report.query_name {
        out.push_str(&format!("asked      {name} HTTPS: {}\n", report.https));
    }
    for alias in &report.aliases {
        out.push_str(&format!("alias      {alias}\n"));
    }
    for record in &report.records {
        record_text(record, style, &mut out);
    }
    for endpoint in &discovery.endpoints {
        let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
        let ech = match endpoint.can_offer_ech() {
            true => style.good("ECH"),
            false => "no ECH".to_owned(),
        };
        out.push_str(&format!(
            "endpoint   {} port {}: {ech}, {}{}\n",
            endpoint.target,
            endpoint.port,
            if endpoint.from_hints { "hints " } else { "" },
            addresses.join(" "),
        ));
    }
    if report.svcb_reliant {
        out.push_str("           every record has ECH: a client connects to these only\n");
    }
    for warning in &report.warnings {
        out.push_str(&format!("warning    {warning}\n"));
    }
    out
}

fn record_text(record: &RecordReport, style: Style, out: &mut String) {
    out.push_str(&format!("record     {} {}", record.priority, record.target));
    if !record.alpn.is_empty() {
        out.push_str(&format!(" alpn={}", record.alpn.join(",")));
    }
    if let Some(port) = record.port {
        out.push_str(&format!(" port={port}"));
    }
    match &record.why_not {
        Some(why) => out.push_str(&format!(" {}\n", style.bad(&format!("passed over: {why}")))),
        None => out.push('\n'),
    }
    if let Some(ech) = &record.ech {
        out.push_str(&format!("  ech      {}\n", style.dim(ech)));
    }
    for config in &record.configs {
        let id = config
            .config_id
            .map_or("unknown".to_owned(), |id| id.to_string());
        let verdict = match &config.why_not {
            Some(why) => style.bad(&format!("passed over: {why}")),
            None => style.good("usable"),
        };
        out.push_str(&format!("  config   id {id}: {verdict}\n"));
    }
}
