//! The page that explains findings.

use crate::catalogue::{FindingId, ProbeFamily};

/// The explanation of one finding, in Markdown.
pub fn markdown(id: FindingId) -> String {
    let explanation = id.explanation();
    let shows = match explanation.family.shows_host() {
        true => ", whose probes show the host's name in the clear",
        false => "",
    };
    format!(
        "## {}\n\n{}: {}. {}; found by `{}`{shows}.\n\n{}\n\nWhat to do: {}\n",
        explanation.id,
        capital(explanation.severity.as_str()),
        explanation.title,
        explanation.rfc,
        explanation.family,
        explanation.why,
        explanation.mend,
    )
}

/// The page of all findings, in Markdown: `docs/findings.md`.
pub fn findings_page() -> String {
    let mut page = String::from(
        "# Findings of `ech check`\n\n\
         Made from the table in `crates/echkit-check` by `ech explain --markdown`; a test holds it to that. Ids are\n\
         stable. [check.md](check.md) says how the command is used, and [findings-tests.md](findings-tests.md) which test\n\
         shows each.\n\n\
         | finding | severity | section | what |\n|---|---|---|---|\n",
    );
    for id in FindingId::ALL {
        let explanation = id.explanation();
        let anchor = explanation.id.to_lowercase();
        page.push_str(&format!(
            "| [{}](#{anchor}) | {} | {} | {} |\n",
            explanation.id, explanation.severity, explanation.rfc, explanation.title
        ));
    }
    let shown: Vec<String> = ProbeFamily::ALL
        .iter()
        .filter(|family| family.shows_host())
        .map(|family| format!("`{family}`"))
        .collect();
    page.push_str(&format!(
        "\nProbes that show the host's name in the clear, and are off with `--private`: {}.\n",
        shown.join(", ")
    ));
    for id in FindingId::ALL {
        page.push('\n');
        page.push_str(&markdown(*id));
    }
    page
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
