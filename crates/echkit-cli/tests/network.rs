//! The real binary against the testbed and against servers that are no servers.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;

use echkit_testbed::Testbed;
use serde_json::Value;

use bed::{Bed, run};

mod bed;

#[tokio::test(flavor = "multi_thread")]
async fn get_prints_the_documented_report() {
    let bed = Bed::start(&["nominal"]).await;
    let url = format!("{}?format=json", bed.url("nominal"));
    let ended = bed.ech(&["get", &url, "--json", "--ech", "require"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document = ended.json();
    let report = &document["report"];
    for (part, keys) in [
        (
            "",
            "version origin url dns ech attempts tls timings_ms bytes error",
        ),
        (
            "dns",
            "resolver protected query_name aliases https records svcb_reliant",
        ),
        (
            "ech",
            "mode status source config_id public_name suite inner_sni outer_sni outer_alpn \
             retries retry_configs warnings",
        ),
        (
            "tls",
            "version cipher_suite group alpn resumed hello_retry certificate",
        ),
        ("timings_ms", "dns tcp tls first_byte total"),
        ("bytes", "sent received"),
    ] {
        let value = if part.is_empty() {
            report
        } else {
            &report[part]
        };
        for key in keys.split_ascii_whitespace() {
            assert!(value.get(key).is_some(), "{part}.{key} is missing");
        }
    }
    assert_eq!(report["ech"]["status"], "accepted");
    assert_eq!(report["ech"]["inner_sni"], "nominal.ech.test");
    assert_eq!(report["ech"]["outer_sni"], "public.ech.test");
    assert_eq!(report["ech"]["suite"], "x25519,hkdf-sha256,aes-128-gcm");
    assert_eq!(report["dns"]["protected"], false);
    assert_eq!(document["http"]["status"], 200);
    let page: Value = serde_json::from_str(document["http"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(page["ech"]["status"], "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_where_it_is_told_to() {
    let bed = Bed::start(&["nominal"]).await;
    let url = format!("{}page.html", bed.url("nominal"));
    let file = bed.path("body");
    let report = bed.path("report.json");
    let ended = bed
        .ech(&[
            "get",
            &url,
            "-o",
            file.to_str().unwrap(),
            "--report",
            report.to_str().unwrap(),
            "-v",
        ])
        .await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
    assert!(ended.stderr.contains("accepted"), "{}", ended.stderr);
    assert!(std::fs::read_to_string(&file).unwrap().contains("<html"));
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["ech"]["status"], "accepted");

    let ended = bed
        .ech(&["get", &url, "-X", "POST", "-d", "a=1", "-d", "b=2", "-i"])
        .await;
    assert!(String::from_utf8_lossy(&ended.stdout).starts_with("HTTP/2.0 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lookup_shows_records_and_configs() {
    let bed = Bed::start(&["nominal"]).await;
    let ended = bed.ech(&["lookup", &bed.url("nominal"), "--json"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(document["dns"]["https"], "found");
    assert_eq!(
        document["dns"]["records"][0]["configs"][0]["why_not"],
        Value::Null
    );
    assert_eq!(document["endpoints"][0]["ech"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_reads_the_state_of_records_from_the_exit_code_of_lookup() {
    let cases = ["nominal", "no-ech", "malformed-order"];
    let bed = Bed::start(&cases).await;
    for (case, code, required) in [
        ("nominal", 0, 0),
        ("no-ech", 0, 101),
        ("malformed-order", 1, 1),
    ] {
        let url = bed.url(case);
        for (more, code) in [(None, code), (Some("--require-ech"), required)] {
            let mut arguments = vec!["lookup", url.as_str()];
            arguments.extend(more);
            let ended = bed.ech(&arguments).await;
            assert_eq!(ended.code, code, "{case} {more:?}: {}", ended.stderr);
            // What was found is printed all the same.
            assert!(String::from_utf8_lossy(&ended.stdout).contains("resolver"));
            assert_eq!(ended.stderr.is_empty(), code == 0, "{case}");
            arguments.push("--json");
            let document = bed.ech(&arguments).await.json();
            assert!(document["dns"].is_object(), "{document}");
            assert_eq!(
                document["error"]["exit_code"].as_i64().unwrap_or(0),
                i64::from(code)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lookup_takes_a_host_a_host_and_port_and_a_url_alike() {
    let bed = Bed::start(&["nominal"]).await;
    let url = bed.url("nominal");
    let host_and_port = url.strip_prefix("https://").unwrap().trim_end_matches('/');
    let page = format!("{url}page.html?x=1#top");
    let expected = bed.ech(&["lookup", &url, "--json"]).await.json();
    for text in [host_and_port, &page] {
        let document = bed.ech(&["lookup", text, "--json"]).await.json();
        assert_eq!(document["origin"], expected["origin"], "{text}");
        assert_eq!(document["endpoints"], expected["endpoints"], "{text}");
    }
    let host = host_and_port.split(':').next().unwrap();
    let document = bed.ech(&["lookup", host, "--json"]).await.json();
    assert_eq!(document["dns"]["query_name"], host);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_file_may_be_empty_and_its_folder_must_be_there() {
    let bed = Bed::start(&["stale"]).await;
    let url = bed.url("stale");
    let empty = tempfile::NamedTempFile::new_in(bed.dir.path()).unwrap();
    let path = empty.path().to_str().unwrap();
    let ended = bed.ech(&["get", &url, "--ech-cache", path]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let shown = run(&["cache", "show", "--json", "--ech-cache", path]).await;
    assert_eq!(shown.json()["entries"].as_array().unwrap().len(), 1);
    let nowhere = bed.path("none/cache.json");
    let ended = bed
        .ech(&["get", &url, "--ech-cache", nowhere.to_str().unwrap()])
        .await;
    assert_eq!(ended.code, 26, "{}", ended.stderr);
    assert!(ended.stderr.contains("does not exist"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_may_have_a_byte_order_mark_and_any_of_openssls_labels() {
    let bed = Bed::start(&["nominal"]).await;
    let pem = bed.testbed.ca_pem().to_owned();
    let url = bed.url("nominal");
    for text in [
        format!("\u{feff}{pem}"),
        pem.replace("CERTIFICATE", "X509 CERTIFICATE"),
        pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
    ] {
        std::fs::write(bed.path("ca.pem"), &text).unwrap();
        let ended = bed.ech(&["get", &url, "--ech", "require"]).await;
        assert_eq!(ended.code, 0, "{text}: {}", ended.stderr);
    }
    std::fs::write(bed.path("ca.pem"), "\u{feff}nothing\n").unwrap();
    let ended = bed.ech(&["get", &url]).await;
    assert_eq!(ended.code, 77);
    assert!(ended.stderr.contains("no certificate"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_is_one_line_and_its_code() {
    let bed = Bed::start(&["nominal", "no-ech"]).await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let no_tls = TcpListener::bind("127.0.0.1:0").unwrap();
    let no_tls_port = no_tls.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in no_tls.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let nominal = bed.url("nominal");
    let no_ech = bed.url("no-ech");
    let missing = bed.path("missing").to_str().unwrap().to_owned();
    for (arguments, code, part) in [
        (
            vec!["get", "https://nosuch.ech.test/"],
            6,
            "nosuch.ech.test",
        ),
        (vec!["get", "https://"], 3, "https://"),
        (vec!["get", "gopher://a.example/"], 3, "gopher"),
        (
            vec!["get", &format!("https://127.0.0.1:{closed}/")],
            7,
            "127.0.0.1",
        ),
        (
            vec!["get", &format!("https://127.0.0.1:{no_tls_port}/")],
            35,
            "TLS",
        ),
        (
            vec!["get", &no_ech, "--ech", "require"],
            101,
            "no-ech.ech.test",
        ),
        (
            vec!["get", &nominal, "--ech-config", &format!("@{missing}")],
            26,
            "missing",
        ),
        (
            vec!["get", &nominal, "--ech-config", "AAAA"],
            2,
            "ECHConfigList",
        ),
    ] {
        let ended = bed.ech(&arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert_eq!(
            ended.stderr.trim_end().lines().count(),
            1,
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains(part),
            "{arguments:?}: {}",
            ended.stderr
        );
    }

    // Another CA, and none at all.
    let other = Testbed::builder().only(["no-ech"]).start().await.unwrap();
    let other_ca = bed.path("other.pem");
    std::fs::write(&other_ca, other.ca_pem()).unwrap();
    let dns = bed.testbed.dns_uri();
    for (ca, code) in [(other_ca.to_str().unwrap(), 60), (missing.as_str(), 77)] {
        let ended = run(&["get", &nominal, "--dns", &dns, "--cacert", ca]).await;
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert_eq!(
            ended.stderr.trim_end().lines().count(),
            1,
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_get_still_prints_its_report() {
    let bed = Bed::start(&["no-ech"]).await;
    let url = bed.url("no-ech");
    let ended = bed.ech(&["get", &url, "--ech", "require", "--json"]).await;
    let document = ended.json();
    assert_eq!(ended.code, 101);
    assert_eq!(document["error"]["exit_code"], 101);
    assert_eq!(document["http"], Value::Null);
    assert_eq!(document["report"]["dns"]["https"], "found");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_ends_well() {
    let ended = run(&["demo"]).await;
    let text = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.code, 0, "{text}{}", ended.stderr);
    assert!(
        text.contains("FOUND") && text.contains("not found"),
        "{text}"
    );
    for words in [
        "name that the network saw",
        "the server, after it rejected",
        "Try next:",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(
        text.contains(" testbed  ") && text.contains(" lookup HOST"),
        "{text}"
    );
    let document = run(&["demo", "--json"]).await.json();
    assert_eq!(document["problems"], serde_json::json!([]));
    assert_eq!(document["scenes"][1]["eavesdropper"]["name_found"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_configs_are_kept_in_a_file_shown_and_cleared() {
    let bed = Bed::start(&["stale", "unpublished"]).await;
    let file = bed.path("cache.json");
    let file = file.to_str().unwrap();
    let (stale, unpublished) = (bed.url("stale"), bed.url("unpublished"));
    for (url, learn, sources) in [
        (&stale, false, ["retry", "cache"]),
        (&unpublished, true, ["learned", "cache"]),
    ] {
        for source in sources {
            let mut arguments = vec!["get", url, "--json", "--ech-cache", file];
            arguments.extend(learn.then_some("--learn"));
            let ended = bed.ech(&arguments).await;
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            let ech = &ended.json()["report"]["ech"];
            assert_eq!(
                (ech["status"].as_str(), ech["source"].as_str()),
                (Some("accepted"), Some(source))
            );
        }
    }
    let shown = run(&["cache", "show", "--json", "--ech-cache", file]).await;
    let entries = &shown.json()["entries"];
    assert_eq!(entries.as_array().unwrap().len(), 2, "{entries}");
    assert_eq!(entries[0]["host"], "stale.ech.test");
    assert!(entries[0]["published"].is_string() && entries[1]["published"].is_null());
    let text = run(&["cache", "show", "--ech-cache", file]).await;
    assert!(
        String::from_utf8(text.stdout)
            .unwrap()
            .contains("unpublished.ech.test:")
    );
    let cleared = run(&["cache", "clear", "--json", "--ech-cache", file]).await;
    assert_eq!(cleared.json()["cleared"], 2);
    let shown = run(&["cache", "show", "--ech-cache", file]).await;
    assert_eq!(shown.stdout, b"nothing is kept\n");
    std::fs::write(file, "something else").unwrap();
    let ended = run(&["cache", "show", "--ech-cache", file]).await;
    assert_eq!(ended.code, 26, "{}", ended.stderr);
    let ended = bed
        .ech(&["get", &stale, "--ech", "require", "--learn"])
        .await;
    assert_ne!(ended.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ddr_finds_the_encrypted_form_of_a_resolver_or_fails_on_request() {
    let bed = Bed::start(&["nominal"]).await;
    let url = bed.url("nominal");
    for command in ["get", "lookup"] {
        let ended = bed
            .ech(&[command, &url, "--json", "--ddr", "require"])
            .await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let document = ended.json();
        let dns = match command {
            "get" => &document["report"]["dns"],
            _ => &document["dns"],
        };
        assert_eq!(dns["protected"], true, "{dns}");
        let resolver = dns["resolver"].as_str().unwrap();
        assert!(resolver.starts_with("tls://127.0.0.1:"), "{resolver}");
    }
    let ended = bed.ech(&["lookup", &url, "--ddr", "maybe"]).await;
    assert_eq!(ended.code, 2);

    let builder = Testbed::builder().only(["nominal"]).designate([""; 0]);
    let testbed = builder.start().await.unwrap();
    let bed = Bed { testbed, ..bed };
    std::fs::write(bed.path("ca.pem"), bed.testbed.ca_pem()).unwrap();
    let url = bed.url("nominal");
    let ended = bed.ech(&["get", &url, "--ddr", "require"]).await;
    assert_eq!(ended.code, 6, "{}", ended.stderr);
    assert!(ended.stderr.contains("RFC 9462"), "{}", ended.stderr);
    let ended = bed.ech(&["get", &url, "--json", "--ddr", "try"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.json()["report"]["dns"]["protected"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn resolvers_over_https_are_given_by_uri_or_template() {
    let bed = Bed::start(&["nominal"]).await;
    let url = bed.url("nominal");
    let ca = bed.path("ca.pem");
    for plain in [bed.testbed.doh_uri(), bed.testbed.doh3_uri()] {
        let template = plain.replace('#', "{?dns}#");
        for dns in [&plain, &template] {
            let get = ["get", "--ech", "require", "--json", "--dns", dns];
            let ended = run(&[&get[..], &["--cacert", ca.to_str().unwrap(), &url]].concat()).await;
            assert_eq!(ended.code, 0, "{dns}: {}", ended.stderr);
            let found = &ended.json()["report"]["dns"];
            assert_eq!(found["protected"], true, "{dns}");
            assert_eq!(found["resolver"], **dns);
        }
        let refused = plain.replace('#', "{?dns,ct}#");
        let ended = run(&["lookup", &url, "--dns", &refused]).await;
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("{?dns,ct}"), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_alone_is_a_resolver_over_udp() {
    let bed = Bed::start(&["nominal"]).await;
    let url = bed.url("nominal");
    let address = bed.testbed.dns_address().to_string();
    let ended = run(&["lookup", &url, "--json", "--dns", &address]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.json()["dns"]["resolver"], format!("udp://{address}"));
    let ended = run(&["lookup", &url, "--dns", "127.0.0.1:x"]).await;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("127.0.0.1:x"), "{}", ended.stderr);
}
