//! The shell blocks of the documents, pasted whole into bash and into sh.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

#[test]
fn the_shell_blocks_of_the_documents_run_as_they_stand() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/snippets.py");
    let ran = Command::new("python3")
        .args([script, "run", env!("CARGO_BIN_EXE_ech")])
        .stdin(Stdio::null())
        .output()
        .expect("python3 runs scripts/snippets.py");
    let printed = format!("\n{}", String::from_utf8_lossy(&ran.stdout));
    let failed = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{failed}{printed}");
    // README's block fetches a page over ECH in each shell.
    for shell in ["bash", "sh"] {
        let mut runs = printed.split("\n== README.md:");
        let accepted = |run: &str| {
            let first = run.lines().next().unwrap_or_default();
            first.ends_with(&format!(" in {shell}")) && run.contains("accepted (mode require")
        };
        assert!(runs.any(accepted), "{shell}: {printed}");
        // The walk runs to its end, unless it was skipped for want of Knot.
        let mut steps = printed.split("\n== docs/walk-server.md:");
        let ended = |step: &str| {
            let first = step.lines().next().unwrap_or_default();
            first.contains(" skipped: ")
                || first.ends_with(&format!(" in {shell}")) && step.contains("ech: ended")
        };
        assert!(steps.any(ended), "{shell}: {printed}");
    }
}
