//! `ech get --json` against every case of the testbed: exit code, report, the server's word, and
//! what the wire showed.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use echkit_testbed::{Case, Expected, Testbed};
use serde_json::{Value, json};

async fn ech_get(testbed: &Testbed, ca: &str, case: &Case, mode: &str) -> Vec<String> {
    let url = format!("{}?format=json", case.url);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
    command
        .args(["get", &url, "--json", "--ech", mode, "--cacert", ca])
        .args(["--dns", &testbed.dns_uri()])
        .env_remove("SSL_CERT_FILE")
        .env("no_proxy", "*")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let expected = match mode {
        "require" => &case.expect.require,
        _ => &case.expect.prefer,
    };
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = match serde_json::from_slice::<Value>(&output.stdout) {
        Ok(document) => document,
        Err(error) => return vec![format!("no JSON on stdout: {error}; stderr: {stderr}")],
    };
    let mut wrong = compare(expected, &document, output.status.code());
    // A failure is one line for people, on top of the document; a success is silent.
    let lines = usize::from(expected.exit_code != 0);
    if stderr.lines().count() != lines {
        wrong.push(format!("expected {lines} lines on stderr, got: {stderr}"));
    }
    wrong
}

fn compare(expected: &Expected, document: &Value, code: Option<i32>) -> Vec<String> {
    let (report, http) = (&document["report"], &document["http"]);
    let page: Value = http["body"]
        .as_str()
        .and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default();
    [
        ("exit code", json!(expected.exit_code), json!(code)),
        (
            "dns.https",
            json!(expected.https),
            report["dns"]["https"].clone(),
        ),
        (
            "ech.status",
            json!(expected.status),
            report["ech"]["status"].clone(),
        ),
        (
            "ech.source",
            json!(expected.source),
            report["ech"]["source"].clone(),
        ),
        (
            "ech.retries",
            json!(expected.retries),
            report["ech"]["retries"].clone(),
        ),
        (
            "an error",
            json!(expected.exit_code != 0),
            json!(report["error"].is_string()),
        ),
        (
            "http.status",
            json!(expected.http_status),
            http["status"].clone(),
        ),
        (
            "the server's word",
            json!(expected.server),
            page["ech"]["status"].clone(),
        ),
        (
            "the outer SNI that the server saw",
            outer_sni(report, &page),
            page["ech"]["outer_sni"].clone(),
        ),
    ]
    .into_iter()
    .filter(|(_, expected, got)| expected != got)
    .map(|(what, expected, got)| format!("{what}: expected {expected}, got {got}"))
    .collect()
}

/// What the report says that the server saw, where a page says what it did see.
fn outer_sni(report: &Value, page: &Value) -> Value {
    if page.is_null() {
        Value::Null
    } else {
        report["ech"]["outer_sni"].clone()
    }
}

async fn every_case(mode: &str) {
    let testbed = Testbed::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, testbed.ca_pem()).unwrap();
    let mut failures = Vec::new();
    assert!(testbed.cases().len() >= 60, "the whole testbed");
    for case in testbed.cases() {
        testbed.clear_captures();
        let wrong = ech_get(&testbed, ca.to_str().unwrap(), case, mode).await;
        failures.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("{}: {wrong}", case.name)),
        );
        testbed.quiet().await;
        let hidden = match mode {
            "require" => case.expect.require.hidden,
            _ => case.expect.prefer.hidden,
        };
        let shown = testbed
            .captures()
            .iter()
            .any(|capture| capture.contains(&case.host));
        if shown == hidden {
            failures.push(format!(
                "{}: name hidden: {hidden}, on the wire: {shown}",
                case.name
            ));
        }
    }
    assert!(failures.is_empty(), "{mode}:\n{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_as_it_says_where_ech_is_preferred() {
    every_case("prefer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_as_it_says_where_ech_is_required() {
    every_case("require").await;
}
