//! The report for people: the verdict, what to do, what is in order. 80 columns.

use echkit_check::{Finding, HostReport, Severity};

use crate::output::Style;

const COLUMNS: usize = 80;

/// All reports, an empty line between them.
pub(super) fn reports(reports: &[HostReport], style: Style) -> String {
    let texts: Vec<String> = reports.iter().map(|one| report(one, style)).collect();
    texts.join("\n")
}

fn report(report: &HostReport, style: Style) -> String {
    let mut out = format!(
        "{}: {}\n",
        style.bold(&report.origin),
        verdict(report, style)
    );
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
    if !report.shown_by.is_empty() {
        let families: Vec<&str> = report.shown_by.iter().map(|f| f.as_str()).collect();
        let line = format!(
            "The host's name was shown in the clear by {}; --private leaves them out",
            families.join(", ")
        );
        section("Name shown", [line].into_iter(), &mut out);
    }
    out
}

fn verdict(report: &HostReport, style: Style) -> String {
    let worst = report.worst();
    let words = match worst {
        None if report.error.is_some() => return style.bad("could not be checked"),
        Some(Severity::Error) => style.bad("ECH does not work as it should"),
        // --only, --skip: what was left out may be what is wrong.
        _ if !report.accepted && report.error.is_none() => {
            style.bold("whether ECH works was not checked")
        }
        Some(Severity::Warning) => style.bad("ECH works, with faults"),
        Some(Severity::Advice) => style.good("ECH works, and could be better"),
        None | Some(Severity::Note) if report.error.is_some() => {
            return style.bad("could not be checked");
        }
        None | Some(Severity::Note) => style.good("ECH works"),
    };
    let counts = [
        (Severity::Error, "errors"),
        (Severity::Warning, "warnings"),
        (Severity::Advice, "advice"),
        (Severity::Note, "notes"),
    ]
    .into_iter()
    .filter_map(|(severity, plural)| {
        let of = |finding: &&Finding| finding.severity == severity;
        let count = report.findings.iter().filter(of).count();
        match count {
            0 => None,
            1 => Some(format!("1 {severity}")),
            count => Some(format!("{count} {plural}")),
        }
    })
    .collect::<Vec<_>>();
    match counts.is_empty() {
        true => words,
        false => format!("{words} ({})", counts.join(", ")),
    }
}

fn finding_text(finding: &Finding, style: Style) -> String {
    let severity = format!("{:<8}", finding.severity.as_str());
    let severity = match finding.severity {
        Severity::Error | Severity::Warning => style.bad(&severity),
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

/// The text in lines of at most 80 columns, each after `indent`. A longer word has a line of its
/// own.
pub(in crate::commands) fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let width = indent.len() + line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && width > COLUMNS {
            out.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        // What a server says may hold control characters.
        line.extend(word.chars().map(|c| match c.is_control() {
            true => '?',
            false => c,
        }));
    }
    out.push_str(&format!("{indent}{line}\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_column_80_and_hold_no_control_characters() {
        let text = "word ".repeat(40) + "a\u{1b}[31mb";
        let lines = wrapped(&text, "    ");
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS));
        assert!(lines.lines().count() == 3 && lines.ends_with("a?[31mb\n"));
        assert_eq!(wrapped(&"x".repeat(100), "  ").trim().len(), 100);
    }
}
