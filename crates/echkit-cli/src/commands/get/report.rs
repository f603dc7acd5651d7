//! A report for people.

use echkit::report::{EchStatus, Report};

use crate::output::Style;

/// What happened, line by line.
pub(crate) fn lines(report: &Report, style: Style) -> Vec<String> {
    let mut lines = connection_lines(report, style);
    lines.push(time_line(report));
    lines
}

/// How long it took.
pub(crate) fn time_line(report: &Report) -> String {
    format!("* {:<10}{:.1} ms", "time", report.timings_ms.total)
}

/// What happened until there was a connection.
pub(crate) fn connection_lines(report: &Report, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("* {name:<10}{value}"));
    if let Some(dns) = &report.dns {
        let name = dns
            .query_name
            .as_deref()
            .unwrap_or("no HTTPS record to ask for");
        let seen = if dns.protected {
            "encrypted"
        } else {
            "in the clear"
        };
        line(
            "DNS",
            format!("{name}: {} ({seen}, {})", dns.https, dns.resolver),
        );
        if let Some(proxy) = &dns.proxy {
            line("", format!("through proxy {proxy}"));
        }
        for alias in &dns.aliases {
            line("", format!("alias to {alias}"));
        }
        for warning in &dns.warnings {
            line("", format!("warning: {warning}"));
        }
    }
    if let Some(proxy) = &report.proxy {
        line("proxy", proxy.clone());
    }
    for attempt in &report.attempts {
        let error = attempt
            .error
            .as_deref()
            .map(|e| format!(": {e}"))
            .unwrap_or_default();
        let result = format!("{:?}", attempt.result).to_lowercase();
        line("TCP", format!("{} {result}{error}", attempt.address));
    }
    let ech = &report.ech;
    let status = match ech.status {
        EchStatus::Accepted => style.good("accepted"),
        EchStatus::Rejected | EchStatus::Failed => style.bad(ech.status.as_str()),
        _ => ech.status.to_string(),
    };
    line(
        "ECH",
        format!("{status} (mode {}, config from {})", ech.mode, ech.source),
    );
    if let Some(suite) = &ech.suite {
        let id = ech
            .config_id
            .map(|id| format!("config_id {id}, "))
            .unwrap_or_default();
        line("", format!("{id}{suite}"));
    }
    if ech.retries > 0 {
        line(
            "",
            format!(
                "the server's retry_configs, after {} rejection(s)",
                ech.retries
            ),
        );
    }
    if let Some(sni) = &ech.outer_sni {
        line("", format!("an eavesdropper read {sni:?}"));
    }
    if let Some(sni) = &ech.inner_sni {
        line("", format!("the server was asked for {sni:?}"));
    }
    for warning in &ech.warnings {
        line("", format!("warning: {warning}"));
    }
    if let Some(tls) = &report.tls {
        let group = tls.group.as_deref().unwrap_or("unknown group");
        let resumed = if tls.resumed { ", resumed" } else { "" };
        let retry = if tls.hello_retry {
            ", HelloRetryRequest"
        } else {
            ""
        };
        line(
            "TLS",
            format!(
                "{} {} {group}{resumed}{retry}",
                tls.version, tls.cipher_suite
            ),
        );
        if let Some(certificate) = &tls.certificate {
            let names = certificate.subject_alt_names.join(" ");
            line(
                "",
                format!("certificate for {names}, until {}", certificate.not_after),
            );
        }
    }
    lines
}
