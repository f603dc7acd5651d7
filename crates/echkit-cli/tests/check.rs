//! `ech check` and `ech explain`: output, exit codes, and what the network learns.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

mod bed;
mod publish_bed;

use bed::{Bed, run};
use publish_bed::{NameServer, SITE, Software};

fn ids(host: &Value) -> Vec<&str> {
    let findings = host["findings"].as_array().unwrap();
    findings.iter().map(|f| f["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_follow_findings_and_what_could_not_be_checked() {
    let bed = Bed::start(&["nominal", "stale", "alpn-bogus", "servfail"]).await;
    let [good, stale, advice, failing] =
        ["nominal", "stale", "alpn-bogus", "servfail"].map(|case| bed.url(case));
    for (arguments, code) in [
        (vec!["check", &good], 0),
        (vec!["check", &stale], 1),
        (vec!["check", &stale, "--fail-on", "never"], 0),
        (vec!["check", &stale, "--only", "grease"], 0),
        (vec!["check", &stale, "--skip", "ECH-KEY-REJECTED"], 0),
        (vec!["check", &advice], 0),
        (vec!["check", &advice, "--fail-on", "warning"], 0),
        (vec!["check", &advice, "--fail-on", "advice"], 1),
        (vec!["check", &failing], 6),
        (vec!["check", &good, &failing], 6),
        (vec!["check", &failing, &stale], 1),
        (vec!["check", "https://127.0.0.1"], 2),
        (vec!["check", &good, "--only", "keys"], 2),
        (vec!["check", &good, "--batch", "/nonexistent"], 26),
        (vec!["check"], 2),
    ] {
        let ended = bed.ech(&arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_hosts_in_order_and_findings_with_places() {
    let bed = Bed::start(&["nominal", "stale", "no-record"]).await;
    let file = bed.path("hosts");
    let hosts = format!(
        "# two hosts\n{}  # once more\n\n{}\n",
        bed.url("stale"),
        bed.url("no-record")
    );
    std::fs::write(&file, hosts).unwrap();
    let nominal = bed.url("nominal");
    let arguments = [
        "check",
        &nominal,
        "--batch",
        file.to_str().unwrap(),
        "--json",
        "--jobs",
        "2",
    ];
    let ended = bed.ech(&arguments).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(document["version"], 1);
    assert_eq!(document["interrupted"], false);
    assert_eq!(document["error"]["exit_code"], 1);
    let hosts = document["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 3);
    let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
    assert_eq!(hosts[0]["origin"], trimmed(&nominal));
    assert_eq!(ids(&hosts[0]), ["ECH-DNS-IN-THE-CLEAR"]);
    assert_eq!(hosts[0]["worst"], "note");
    assert_eq!(
        (&hosts[0]["accepted"], &hosts[1]["accepted"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        hosts[0]["shown_by"],
        serde_json::json!(["grease", "plain", "tls12"])
    );
    assert_eq!(ids(&hosts[1]), ["ECH-KEY-REJECTED", "ECH-DNS-IN-THE-CLEAR"]);
    let place = &hosts[1]["findings"][0]["places"][0];
    assert!(place["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(place["target"], "stale.ech.test");
    assert_eq!(
        ids(&hosts[2]),
        ["ECH-RECORD-MISSING", "ECH-DNS-IN-THE-CLEAR"]
    );
    assert!(hosts.iter().all(|host| host["error"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_of_a_batch_is_named_before_anything_is_sent() {
    let bed = Bed::start(&["nominal"]).await;
    let file = bed.path("hosts");
    std::fs::write(&file, format!("{}\na..b\n", bed.url("nominal"))).unwrap();
    let ended = bed.ech(&["check", "--batch", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, 61);
    assert!(
        ended.stderr.contains("hosts: line 2: a..b"),
        "{}",
        ended.stderr
    );
    assert!(bed.testbed.captures().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_what_to_do_in_80_columns() {
    let bed = Bed::start(&["stale-wrong-name"]).await;
    let url = bed.url("stale-wrong-name");
    let ended = bed.ech(&["check", &url]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
    let text = ended.text();
    // The verdict has a line of its own where both are too long for one.
    let verdict = format!(
        "{}:\n  ECH does not work as it should (2 errors, 1 note)\n",
        url.trim_end_matches('/')
    );
    assert!(text.starts_with(&verdict), "{text}");
    for part in [
        "error   ECH-KEY-REJECTED",
        "Do: ",
        "At: 127.0.0.1:",
        "Name shown",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let long = text.lines().find(|line| line.chars().count() > 80);
    assert_eq!(long, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_finding_among_some_is_not_taken_for_ech_that_works() {
    let bed = Bed::start(&["nominal", "stale"]).await;
    let first = async |arguments: &[&str]| {
        let ended = bed.ech(arguments).await;
        ended.text().lines().next().unwrap().to_owned()
    };
    let (good, stale) = (bed.url("nominal"), bed.url("stale"));
    let line = first(&["check", &stale, "--skip", "ECH-KEY-REJECTED"]).await;
    assert!(line.contains("whether ECH works was not checked"), "{line}");
    let line = first(&["check", &good, "--only", "records"]).await;
    assert!(line.contains("whether ECH works was not checked"), "{line}");
    let line = first(&["check", &good]).await;
    assert!(line.ends_with(": ECH works (1 note)"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_check_over_encrypted_dns_shows_the_host_nowhere() {
    let bed = Bed::start(&["nominal", "stale"]).await;
    let (nominal, stale) = (bed.url("nominal"), bed.url("stale"));
    let ca = bed.path("ca.pem");
    let doh = bed.testbed.doh_uri();
    let ended = run(&[
        "check",
        &nominal,
        &stale,
        "--private",
        "--json",
        "--dns",
        &doh,
        "--cacert",
        ca.to_str().unwrap(),
    ])
    .await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(ids(&document["hosts"][0]), Vec::<&str>::new());
    assert_eq!(document["hosts"][0]["shown_by"], serde_json::json!([]));
    let captures = bed.testbed.captures();
    assert!(captures.len() >= 6, "{}", captures.len());
    for host in ["nominal.ech.test", "stale.ech.test"] {
        assert!(
            !captures.iter().any(|capture| capture.contains(host)),
            "{host}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_variable_is_refused_and_not_passed_by_in_silence() {
    let bed = Bed::start(&["nominal"]).await;
    let url = bed.url("nominal");
    let mut command = bed::command();
    command.args(["check", &url, "--dns", &bed.testbed.dns_uri()]);
    command.env("HTTPS_PROXY", "http://proxy.test:3128");
    let ended = bed::run_command(command).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("NO_PROXY"), "{}", ended.stderr);
    assert!(bed.testbed.captures().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_prints_one_finding_or_lists_all() {
    let one = run(&["explain", "ech-key-rejected"]).await;
    assert_eq!(one.code, 0);
    assert!(
        one.text().starts_with("ECH-KEY-REJECTED\n"),
        "{}",
        one.text()
    );
    assert!(one.text().lines().all(|line| line.chars().count() <= 80));
    let all = run(&["explain", "--json"]).await.json();
    let count = echkit_check::FindingId::ALL.len();
    assert_eq!(all.as_array().unwrap().len(), count);
    assert_eq!(run(&["explain"]).await.text().lines().count(), count);
    let unknown = run(&["explain", "ECH-NOTHING"]).await;
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("ECH-NOTHING: "),
        "{}",
        unknown.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn why_name_servers_were_not_asked_is_said() {
    let bed = Bed::start(&["nominal"]).await;
    let url = bed.url("nominal");
    let arguments = ["check", &url, "--only", "authoritative", "--json"];
    let host = bed.ech(&arguments).await.json()["hosts"][0].clone();
    let skipped = host["skipped"].as_array().unwrap();
    let why = skipped
        .iter()
        .find(|skipped| skipped["probe"] == "authoritative")
        .and_then(|skipped| skipped["why"].as_str())
        .unwrap();
    assert!(
        why.contains("its name servers cannot be looked up"),
        "{why}"
    );
    assert!(!why.contains("published"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_html_is_written_beside_the_report() {
    let bed = Bed::start(&["nominal", "stale"]).await;
    let (good, stale) = (bed.url("nominal"), bed.url("stale"));
    let file = bed.path("report.html");
    let page = file.to_str().unwrap();
    let ended = bed.ech(&["check", &good, &stale, "--html", page]).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.text().contains("ECH-KEY-REJECTED"),
        "{}",
        ended.text()
    );
    let html = std::fs::read_to_string(&file).unwrap();
    for part in [
        "<!doctype html>",
        good.trim_end_matches('/'),
        "ECH-KEY-REJECTED",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let nowhere = bed.path("none/report.html");
    let arguments = ["check", &good, "--html", nowhere.to_str().unwrap()];
    let ended = bed.ech(&arguments).await;
    assert_eq!(ended.code, 23, "{}", ended.stderr);
    assert!(ended.stderr.contains("report.html"), "{}", ended.stderr);
}

/// What `ech check` finds at the authoritative servers of [`SITE`], of which the resolver is one.
async fn authoritative(resolver: &NameServer) -> Value {
    let (dns, port) = (
        format!("udp://{}", resolver.address),
        resolver.address.port().to_string(),
    );
    let arguments = ["check", SITE, "--only", "authoritative", "--json"];
    let at = ["--dns", &dns, "--ns-port", &port, "--fail-on", "never"];
    let ended = run(&[&arguments[..], &at].concat()).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.json()["hosts"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn authoritative_servers_are_asked_one_by_one() {
    let one = "hidden-site 60 IN HTTPS 1 . alpn=h2\nhidden-site 60 IN A 127.0.0.1\n";
    let other = "hidden-site 60 IN HTTPS 1 . alpn=h3\nhidden-site 60 IN A 127.0.0.1\n";
    let second = "@ 60 IN NS ns2\nns2 60 IN A 127.0.0.2\n";
    for software in Software::ALL {
        let Some(alone) = NameServer::start(software, one).await else {
            continue;
        };
        let host = authoritative(&alone).await;
        assert_eq!(ids(&host), Vec::<&str>::new(), "{host:#}");
        let passed = host["passed"].as_array().unwrap();
        assert_eq!(passed.len(), 1, "{host:#}");
        assert!(passed[0].as_str().unwrap().starts_with(SITE), "{host:#}");
        assert_eq!(host["shown_by"], serde_json::json!(["authoritative"]));

        // A resolver that has something else than the zone's own server.
        let Some(behind) = alone.beside(other).await else {
            continue;
        };
        let host = authoritative(&behind).await;
        assert_eq!(ids(&host), ["ECH-RESOLVER-DIFFERS"], "{host:#}");
        drop(alone);

        let both = format!("{one}{second}");
        let first = NameServer::start(software, &both).await.unwrap();
        let host = authoritative(&first).await;
        assert_eq!(ids(&host), ["ECH-NAME-SERVER-SILENT"], "{host:#}");
        let seen = host["findings"][0]["seen"].as_str().unwrap();
        assert!(seen.starts_with("ns2.zone.test (127.0.0.2:"), "{seen}");
        let same = first.beside(&both).await;
        let host = authoritative(&first).await;
        assert_eq!(ids(&host), Vec::<&str>::new(), "{host:#}");
        drop(same);
        let _other = first.beside(&format!("{other}{second}")).await;
        let host = authoritative(&first).await;
        assert_eq!(ids(&host), ["ECH-NAME-SERVERS-DIFFER"], "{host:#}");
    }
}
