//! What came of a check, as one page of HTML.

use crate::catalogue::Severity;
use crate::finding::Finding;
use crate::html::{document, escaped, prose};
use crate::report::HostReport;

/// One page that needs nothing else: the verdict of each host first, then what to do, then what is
/// in order.
pub fn check_page(reports: &[HostReport]) -> String {
    let mut body = "<h1>ECH check</h1>\n".to_owned();
    if reports.len() > 1 {
        body.push_str(&overview(reports));
    }
    for (index, report) in reports.iter().enumerate() {
        body.push_str(&host(index, report));
    }
    let title = match reports {
        [one] => format!("ECH check of {}", one.origin),
        several => format!("ECH check of {} hosts", several.len()),
    };
    document(&title, &body)
}

fn overview(reports: &[HostReport]) -> String {
    let mut rows = String::new();
    for (index, report) in reports.iter().enumerate() {
        let found: Vec<String> = report
            .counts()
            .into_iter()
            .map(|(severity, count)| severity.counted(count))
            .collect();
        rows.push_str(&format!(
            "<tr><td><a href=\"#host-{index}\">{}</a></td><td>{}</td><td>{}</td></tr>\n",
            escaped(&report.origin),
            verdict(report),
            found.join(", ")
        ));
    }
    format!(
        "<div class=\"wide\"><table>\n<tr><th>Host</th><th>Verdict</th><th>Findings</th></tr>\n{rows}\
         </table></div>\n"
    )
}

fn verdict(report: &HostReport) -> String {
    let verdict = report.verdict();
    let class = match verdict.is_good() {
        Some(true) => "good",
        Some(false) => "bad",
        None => "faint",
    };
    format!("<span class=\"{class}\">{}</span>", verdict.as_str())
}

fn host(index: usize, report: &HostReport) -> String {
    let mut out = format!(
        "<section>\n<h2 id=\"host-{index}\">{}</h2>\n<p>{}</p>\n",
        escaped(&report.origin),
        verdict(report)
    );
    if let Some(error) = &report.error {
        let text = escaped(&error.message);
        out.push_str(&format!(
            "<p class=\"bad\">Not checked to the end: {text}</p>\n"
        ));
    }
    for found in &report.findings {
        out.push_str(&finding(found));
    }
    list("In order", report.passed.iter().cloned(), &mut out);
    let skipped = report.skipped.iter();
    let skipped = skipped.map(|skipped| format!("{}: {}", skipped.probe, skipped.why));
    list("Not checked", skipped, &mut out);
    list("Name shown", report.name_shown().into_iter(), &mut out);
    out.push_str("</section>\n");
    out
}

fn finding(finding: &Finding) -> String {
    let class = match finding.severity {
        Severity::Error => "bad",
        Severity::Warning => "warning",
        Severity::Advice | Severity::Note => "faint",
    };
    let mut out = format!(
        "<h3><span class=\"{class}\">{}</span> {}</h3>\n<p>{}.</p>\n<ul>\n<li>Seen: {}</li>\n",
        finding.severity,
        finding.id.as_str(),
        capital(&prose(finding.title)),
        escaped(&finding.seen)
    );
    for place in &finding.places {
        out.push_str(&format!("<li>At: {}</li>\n", escaped(&place.to_string())));
    }
    out.push_str(&format!(
        "<li>Do: {}</li>\n</ul>\n<p class=\"faint\">{}</p>\n",
        prose(finding.mend),
        escaped(finding.rfc)
    ));
    out
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn list(title: &str, lines: impl Iterator<Item = String>, out: &mut String) {
    let items: String = lines
        .map(|line| format!("<li>{}</li>\n", escaped(&line)))
        .collect();
    if !items.is_empty() {
        out.push_str(&format!("<h3>{title}</h3>\n<ul>\n{items}</ul>\n"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalogue::{FindingId, ProbeFamily};

    fn report(origin: &str, findings: Vec<Finding>, accepted: bool) -> HostReport {
        HostReport {
            origin: origin.to_owned(),
            findings,
            passed: vec!["<passed>".to_owned()],
            skipped: Vec::new(),
            error: None,
            dns: None,
            first_flight: None,
            public_names: Vec::new(),
            shown_by: vec![ProbeFamily::Plain],
            accepted,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn the_page_has_each_host_and_finding_and_no_markup_that_was_read() {
        let seen = "<script>alert(1)</script>".to_owned();
        let found = Finding::new(FindingId::KeyRejected, seen, Vec::new());
        let reports = [
            report("https://a.test", vec![found], false),
            report("https://b.test", Vec::new(), true),
        ];
        let page = check_page(&reports);
        for part in [
            "<title>ECH check of 2 hosts</title>",
            "<a href=\"#host-1\">https://b.test</a>",
            "<span class=\"bad\">ECH does not work as it should</span>",
            "<span class=\"good\">ECH works</span>",
            "<td>1 error</td>",
            "<h3><span class=\"bad\">error</span> ECH-KEY-REJECTED</h3>",
            "&lt;script&gt;alert(1)",
            "&lt;passed&gt;",
            "shown in the clear by plain",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<script>"));
        // It loads nothing.
        for reference in ["src=", "<link", "url("] {
            assert!(!page.contains(reference), "{reference}");
        }
        let one = check_page(&reports[..1]);
        assert!(one.contains("<title>ECH check of https://a.test</title>"));
        assert!(!one.contains("<table>"));
    }
}
