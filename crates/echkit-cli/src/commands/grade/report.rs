//! The grades of a client: table, Markdown, HTML, JSON.

use echkit_check::html::{document as page, escaped};
use echkit_testbed::{ClientVerdict, Judgement, ServerWord};
use serde_json::{Value, json};

use super::run::Client;
use crate::output::{self, Style};

/// Version 1; docs/grade.md has the schema.
pub(super) fn document(client: &Client, judgements: &[Judgement]) -> Value {
    let right = judgements
        .iter()
        .filter(|one| one.verdict == ClientVerdict::Right);
    let shown = judgements.iter().filter(|one| one.name_shown);
    json!({
        "version": 1,
        "client": client.name,
        "client_version": client.version,
        "command": client.command,
        "cases": judgements,
        "right": right.count(),
        "name_shown": shown.count(),
    })
}

pub(super) fn text(client: &Client, judgements: &[Judgement]) -> String {
    let style = Style::stdout();
    let rows: Vec<Vec<String>> = judgements.iter().map(|one| row(one).to_vec()).collect();
    let head = HEADS.map(str::to_uppercase).to_vec();
    let mut rows = output::text_rows(&[vec![head], rows].concat()).into_iter();
    let mut out = format!("{}\n\n", style.bold(&title(client)));
    out.push_str(&rows.next().unwrap_or_default());
    for (row, one) in rows.zip(judgements) {
        let row = match one.verdict {
            ClientVerdict::Right => row,
            _ => format!("{}\n", style.bad(row.trim_end())),
        };
        out.push_str(&row);
    }
    out.push_str(&format!("\n{}", output::paragraph(&summary(judgements))));
    out
}

pub(super) fn markdown(client: &Client, judgements: &[Judgement]) -> String {
    let mut out = format!("### {}\n\n{}\n\n", title(client), summary(judgements));
    out.push_str(&format!(
        "| {} |\n|{}\n",
        HEADS.join(" | "),
        "---|".repeat(HEADS.len())
    ));
    for one in judgements {
        let cells = row(one).map(|cell| cell.replace('|', "\\|"));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

pub(super) fn html(client: &Client, judgements: &[Judgement]) -> String {
    let title = title(client);
    let mut body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n<div class=\"wide\"><table>\n<tr>",
        escaped(&title),
        escaped(&summary(judgements))
    );
    for head in HEADS {
        body.push_str(&format!("<th>{head}</th>"));
    }
    body.push_str("</tr>\n");
    for one in judgements {
        let class = match one.verdict {
            ClientVerdict::Right => "good",
            _ => "bad",
        };
        let [case, verdict, cells @ ..] = row(one);
        body.push_str(&format!(
            "<tr><th>{}</th><td class=\"{class}\">{}</td>",
            escaped(&case),
            escaped(&verdict)
        ));
        for cell in cells {
            body.push_str(&format!("<td>{}</td>", escaped(&cell)));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table></div>\n");
    page(&format!("Grades of {title}"), &body)
}

const HEADS: [&str; 5] = ["case", "verdict", "name", "server", "why"];

fn row(one: &Judgement) -> [String; 5] {
    let name = match one.name_shown {
        true => "SHOWN",
        false => "-",
    };
    let server = match one.served.last() {
        Some(ServerWord::Accepted) => "accepted",
        Some(ServerWord::Rejected) => "rejected",
        Some(ServerWord::NotOffered) => "no offer",
        Some(ServerWord::Off) => "without ECH",
        _ => "-",
    };
    [
        one.case.clone(),
        one.verdict.to_string(),
        name.to_owned(),
        server.to_owned(),
        one.why.clone(),
    ]
}

fn title(client: &Client) -> String {
    match &client.version {
        Some(version) => format!("{} ({version})", client.name),
        None => client.name.clone(),
    }
}

fn summary(judgements: &[Judgement]) -> String {
    let count = |verdict: ClientVerdict| {
        judgements
            .iter()
            .filter(|one| one.verdict == verdict)
            .count()
    };
    let mut parts = vec![format!(
        "right in {} of {} cases",
        count(ClientVerdict::Right),
        judgements.len()
    )];
    for verdict in [
        ClientVerdict::GaveUp,
        ClientVerdict::FellBack,
        ClientVerdict::WrongRetry,
        ClientVerdict::NoEch,
        ClientVerdict::Leaked,
    ] {
        if count(verdict) > 0 {
            parts.push(format!("{verdict}: {}", count(verdict)));
        }
    }
    let shown = judgements.iter().filter(|one| one.name_shown).count();
    format!(
        "{}. The host's name was shown in {shown} of the cases where it has to be hidden.",
        parts.join(", ")
    )
}
