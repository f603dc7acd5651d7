//! `ech explain`: what a finding means, and what to do.

use echkit_check::{Explanation, FindingId, findings_page};
use serde_json::{Value, json};

use super::check::wrapped;
use crate::cli::check::ExplainArgs;
use crate::failure::Failure;
use crate::output::{self, Style};

pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    if args.markdown {
        return output::stdout(findings_page().as_bytes());
    }
    let Some(id) = &args.id else {
        return all(args.json);
    };
    let id: FindingId = id
        .parse()
        .map_err(|error| Failure::usage(format!("{error}")))?;
    let explanation = id.explanation();
    match args.json {
        true => output::json(&document(explanation)),
        false => output::stdout(text(explanation).as_bytes()),
    }
}

fn all(as_json: bool) -> Result<(), Failure> {
    let explanations = FindingId::ALL.iter().map(|id| id.explanation());
    if as_json {
        return output::json(&explanations.map(document).collect());
    }
    let rows: Vec<Vec<String>> = explanations
        .map(|explanation| vec![explanation.id.to_owned(), explanation.severity.to_string()])
        .collect();
    output::stdout(output::table(&rows).as_bytes())
}

fn document(explanation: &Explanation) -> Value {
    json!({
        "id": explanation.id,
        "severity": explanation.severity,
        "probe": explanation.family,
        "shows_host": explanation.family.shows_host(),
        "rfc": explanation.rfc,
        "title": explanation.title,
        "why": explanation.why,
        "mend": explanation.mend,
    })
}

fn text(explanation: &Explanation) -> String {
    let mut out = format!("{}\n", Style::stdout().bold(explanation.id));
    let title = format!(
        "{}: {}. {}; found by {}",
        explanation.severity, explanation.title, explanation.rfc, explanation.family
    );
    let shows = match explanation.family.shows_host() {
        true => ", which shows the host's name in the clear.",
        false => ".",
    };
    out.push_str(&wrapped(&format!("{title}{shows}"), ""));
    out.push('\n');
    out.push_str(&wrapped(explanation.why, ""));
    out.push('\n');
    out.push_str(&wrapped(&format!("What to do: {}", explanation.mend), ""));
    out
}
