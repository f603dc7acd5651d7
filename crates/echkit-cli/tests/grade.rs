//! `ech grade`: verdicts about clients whose behaviour is known.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

mod bed;

use bed::{Ended, run};

const ECH: &str = env!("CARGO_BIN_EXE_ech");

/// Grades `sh -c SCRIPT`, in which `get` stands for `ech get` with the testbed's resolver and CA, and
/// `list` prints the ECHConfigList of a URL's record, usable or not.
async fn grade(only: &str, script: &str) -> Ended {
    let functions = format!(
        "get() {{ '{ECH}' get -s -f -o /dev/null --dns {{dns}} --cacert '{{ca}}' \"$@\"; }}
         list() {{ '{ECH}' lookup --json --dns {{dns}} \"$1\" | grep -o '\"ech\":\"[^\"]*' | cut -d '\"' -f 4; }}\n"
    );
    let script = format!("{functions}{script}");
    run(&["grade", "--json", "--only", only, "--", "sh", "-c", &script]).await
}

fn verdicts(ended: &Ended) -> Vec<(String, String, bool)> {
    let document = ended.json();
    let cases = document["cases"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    cases
        .iter()
        .map(|one| {
            (
                text(&one["case"]),
                text(&one["verdict"]),
                one["name_shown"].as_bool().unwrap(),
            )
        })
        .collect()
}

/// The same verdict for each of these cases.
fn all(cases: &str, verdict: &str, shown: bool) -> Vec<(String, String, bool)> {
    let cases = cases.split(',');
    cases
        .map(|case| (case.to_owned(), verdict.to_owned(), shown))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_client_is_right_in_either_mode() {
    // Accepted, retried, retried through HelloRetryRequests, failing, without a record, switched off.
    let cases = "nominal,no-record,hrr,stale,stale-hrr,stale-wrong-name";
    for mode in ["prefer", "require"] {
        let ended = grade(cases, &format!("get --ech {mode} '{{url}}'")).await;
        let mut expected = all(cases, "right", false);
        expected.sort();
        let mut got = verdicts(&ended);
        got.sort();
        assert_eq!(got, expected, "{mode}: {}", ended.text());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!(ended.json()["right"], 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_ech_shows_the_name_wherever_it_can_be_hidden() {
    let ended = grade("nominal,stale", "get --ech off '{url}'").await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert_eq!(verdicts(&ended), all("nominal,stale", "no_ech", true));
    assert_eq!(ended.json()["name_shown"], 2);
    // Where there is nothing to hide it with, it is right.
    let ended = grade("no-record", "get --ech off '{url}'").await;
    assert_eq!(verdicts(&ended), all("no-record", "right", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_verdict() {
    for (case, script, verdict, shown) in [
        ("stale", "get --no-retry '{url}'", "gave_up", false),
        (
            "stale",
            "get --no-retry '{url}' || get --ech off '{url}'",
            "fell_back",
            true,
        ),
        (
            "stale-wrong-name",
            "get '{url}' || get --ech off '{url}'",
            "fell_back",
            true,
        ),
        (
            "stale-wrong-name",
            "for i in 1 2 3 4 5; do get '{url}'; done; false",
            "wrong_retry",
            false,
        ),
        (
            "nominal",
            "get '{url}'; bash -c 'echo {host} > /dev/tcp/{address}/{endpoint_port}'",
            "leaked",
            true,
        ),
        ("nominal", "true", "gave_up", false),
        ("nominal", "get '{url}'; exit 7", "gave_up", false),
        ("stale-wrong-name", "get '{url}'; true", "fell_back", false),
        (
            "alpn-bogus-only",
            "get '{url}' --ech-config \"$(list '{url}')\" --connect-to '{host}:{port}:{address}:{endpoint_port}'",
            "fell_back",
            false,
        ),
    ] {
        let ended = grade(case, script).await;
        assert_eq!(
            verdicts(&ended),
            all(case, verdict, shown),
            "{script}: {}",
            ended.text()
        );
        assert_eq!(ended.code, 1, "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_end_is_ended_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    // Without an end to the group, the child would go on and leave its mark.
    let script = format!("(sleep 30; touch '{}') & wait", mark.display());
    let grade = [
        "grade",
        "--only",
        "nominal",
        "--max-time",
        "0.2",
        "--json",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let ended = run(&grade).await;
    assert_eq!(verdicts(&ended), all("nominal", "gave_up", false));
    assert_eq!(ended.json()["cases"][0]["exit_code"], Value::Null);
    assert!(!mark.exists());
}

fn port(address: &Value) -> u16 {
    let port = address.as_str().unwrap().rsplit(':').next();
    port.unwrap().parse().unwrap()
}

/// The port that the first packet of a capture file comes from.
fn first_port(file: &std::path::Path) -> u16 {
    let bytes = std::fs::read(file).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = 0;
    // An Enhanced Packet Block, whose link type is raw IP.
    while number(at) != 6 {
        at += number(at + 4) as usize;
    }
    let packet = &bytes[at + 28..];
    let header = match packet[0] >> 4 {
        4 => 20,
        _ => 40,
    };
    u16::from_be_bytes([packet[header], packet[header + 1]])
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_pages_and_captures_are_written_and_bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (page, captures) = (dir.path().join("grades.html"), dir.path().join("captures"));
    let (page_text, captures_text) = (page.to_str().unwrap(), captures.to_str().unwrap());
    let grade = [
        "grade", "--recipe", "ech", "--only", "nominal", "--html", page_text,
    ];
    let ended = run(&[&grade[..], &["--captures", captures_text]].concat()).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let text = ended.text();
    assert!(text.starts_with("ech get (ech "), "{text}");
    assert!(text.contains("nominal  right"), "{text}");
    assert!(text.contains("right in 1 of 1 cases"), "{text}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(
        html.contains("<th>nominal</th><td class=\"good\">right</td>"),
        "{html}"
    );
    let capture = captures.join("nominal.pcapng");
    let ended = run(&["decode", "--json", "--pcap", capture.to_str().unwrap()]).await;
    let document = ended.json();
    let hello = &document["hellos"][0];
    assert_eq!(hello["server_name"], "public.ech.test");
    // The client opened the connection.
    assert_eq!(first_port(&capture), port(&hello["client"]), "{hello}");

    let ended = run(&[
        "grade",
        "--recipe",
        "ech",
        "--only",
        "nominal",
        "--markdown",
    ])
    .await;
    assert!(
        ended.text().contains("| nominal | right | - | accepted |"),
        "{}",
        ended.text()
    );

    for (arguments, code, said) in [
        (vec!["grade"], 2, "COMMAND"),
        (vec!["grade", "--recipe", "netscape"], 2, "netscape"),
        (
            vec!["grade", "--only", "nominal", "--", "/nonexistent/client"],
            2,
            "/nonexistent/client",
        ),
        (
            vec![
                "grade",
                "--recipe",
                "curl",
                "--program",
                "/nonexistent/curl",
            ],
            2,
            "/nonexistent/curl",
        ),
        (
            vec!["grade", "--only", "nominl", "--", "true"],
            2,
            "nominal",
        ),
    ] {
        let ended = run(&arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}
