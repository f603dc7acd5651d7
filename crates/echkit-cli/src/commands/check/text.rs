//! The report for people: the verdict, what to do, what is in order. 80 columns.

use echkit_check::{Finding, HostReport, Severity};

use crate::output::{self, Style};

const COLUMNS: usize = 80;

/// All reports, an empty line between them.
pub(super) fn reports(reports: &[HostReport], style: Style) -> String {
    let texts: Vec<String> = reports.iter().map(|one| report(one, style)).collect();
    texts.join("\n")
}

fn report(report: &HostReport, style: Style) -> String {
    let plain = verdict(report, Style::plain());
    let gap = match report.origin.len() + 2 + plain.chars().count() > COLUMNS {
        true => "\n  ",
        false => " ",
    };
    let origin = style.bold(&report.origin);
    let mut out = format!("{origin}:{gap}{}\n", verdict(report, style));
    if let Some(error) = &report.error {
        out.push_str(&wrapped(&format!("not checked to the end: {error}"), "  "));
    }
    for finding in &report.findings {
        out.push('\n');
        out.push_str(&finding_text(finding, style));
    }
    section("In order", report.passed.iter().cloned(), &mut out);
    let skipped = report.skipped.iter();
    let skipped = skipped.map(|skipped| format!("{}: {}", skipped.probe, skipped.why));
    section("Not checked", skipped, &mut out);
    section("Name shown", report.name_shown().into_iter(), &mut out);
    out
}

fn verdict(report: &HostReport, style: Style) -> String {
    let verdict = report.verdict();
    let words = match verdict.is_good() {
        Some(true) => style.good(verdict.as_str()),
        Some(false) => style.bad(verdict.as_str()),
        None => style.bold(verdict.as_str()),
    };
    let counts = report.counts().into_iter();
    let counts: Vec<String> = counts.map(|(severity, n)| severity.counted(n)).collect();
    match counts.is_empty() {
        true => words,
        false => format!("{words} ({})", counts.join(", ")),
    }
}

fn finding_text(finding: &Finding, style: Style) -> String {
    let severity = format!("{:<8}", finding.severity.as_str());
    let severity = match finding.severity {
        Severity::Error => style.bad(&severity),
        Severity::Warning => style.warning(&severity),
        Severity::Advice | Severity::Note => style.dim(&severity),
    };
    let mut out = format!("  {severity}{}\n", style.bold(finding.id.as_str()));
    let indent = " ".repeat(10);
    out.push_str(&wrapped(&format!("{}.", finding.title), &indent));
    out.push_str(&wrapped(&format!("Seen: {}", finding.seen), &indent));
    for place in &finding.places {
        out.push_str(&wrapped(&format!("At: {place}"), &indent));
    }
    out.push_str(&wrapped(&format!("Do: {}", finding.mend), &indent));
    out.push_str(&format!("{indent}{}\n", finding.rfc));
    out
}

fn section(title: &str, lines: impl Iterator<Item = String>, out: &mut String) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        out.push_str(&format!("\n  {title}\n"));
    }
    for line in lines {
        out.push_str(&wrapped(&line, "    "));
    }
}

/// The text in lines of at most 80 columns, each after `indent`.
pub(in crate::commands) fn wrapped(text: &str, indent: &str) -> String {
    let lines = output::folded(text, COLUMNS - indent.len());
    let lines = lines.iter().map(|line| format!("{indent}{line}\n"));
    lines.collect()
}
