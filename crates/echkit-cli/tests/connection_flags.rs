//! Flags of `ech get` about where to connect, whom to trust and what to log, against the testbed.
#![allow(clippy::unwrap_used)]

use bed::{Bed, run, run_with};
use echkit_test::lab::{self, Pki};

mod bed;

#[tokio::test(flavor = "multi_thread")]
async fn places_are_given_as_curl_takes_them_and_the_outer_name_stays() {
    let bed = Bed::start(&["nominal"]).await;
    let case = bed.testbed.case("nominal").unwrap().clone();
    let list = bed.path("list");
    let looked_up = bed.ech(&["lookup", &case.url, "--json"]).await.json();
    let ech = looked_up["dns"]["records"][0]["ech"].as_str();
    std::fs::write(&list, ech.unwrap()).unwrap();
    let list = format!("@{}", list.display());
    let (host, port) = (&case.host, case.port);
    let url = format!("https://{host}:9/");
    // The page at port 9 of the host is one of port `port`: neither name changes.
    for to in [
        format!("::127.0.0.1:{port}"),
        format!("{host}::127.0.0.1:{port}"),
        format!(":9::{port}"),
    ] {
        bed.testbed.clear_captures();
        let get = [
            "get",
            "--json",
            "--ech",
            "require",
            "--connect-to",
            &to,
            "--ech-config",
            &list,
        ];
        let ended = bed.ech(&[&get[..], &[&url]].concat()).await;
        assert_eq!(ended.code, 0, "{to}: {}", ended.stderr);
        let report = &ended.json()["report"]["ech"];
        assert_eq!(report["outer_sni"], case.public_name.as_str(), "{to}");
        assert_eq!(report["inner_sni"], host.as_str(), "{to}");
        bed.testbed.quiet().await;
        let captures = bed.testbed.captures();
        assert!(captures.len() == 1 && !captures[0].contains(host), "{to}");
    }
    // Without a config the records of another place say nothing of this one.
    let to = format!("::127.0.0.1:{port}");
    bed.testbed.clear_captures();
    let ended = bed
        .ech(&["get", "--ech", "require", "--connect-to", &to, &url])
        .await;
    assert_eq!(ended.code, 101, "{}", ended.stderr);
    assert!(bed.testbed.captures().is_empty());

    let every = format!("*:{port}:127.0.0.1");
    let wrong = format!("{host}:{port}:192.0.2.1");
    let back = format!("-{host}:{port}");
    let get = [
        "get",
        "--json",
        "--ech",
        "require",
        &case.url,
        "--resolve",
        &every,
    ];
    for more in [&[][..], &["--resolve", &wrong, "--resolve", &back]] {
        let ended = bed.ech(&[&get[..], more].concat()).await;
        assert_eq!(ended.code, 0, "{more:?}: {}", ended.stderr);
        assert_eq!(
            ended.json()["report"]["attempts"][0]["address"],
            format!("127.0.0.1:{port}")
        );
    }
    for (flag, bad) in [("--resolve", "*:443"), ("--connect-to", "a:443:b")] {
        let ended = bed.ech(&["get", flag, bad, &url]).await;
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(bad), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_another_place_the_records_of_the_host_still_hide_its_name() {
    let bed = Bed::start(&["nominal"]).await;
    let case = bed.testbed.case("nominal").unwrap().clone();
    let to = format!("::localhost:{}", case.port);
    for mode in ["prefer", "require"] {
        bed.testbed.clear_captures();
        let get = ["get", "--json", "--ech", mode, "--connect-to", &to];
        let ended = bed.ech(&[&get[..], &[&case.url]].concat()).await;
        assert_eq!(ended.code, 0, "{mode}: {}", ended.stderr);
        let report = ended.report();
        assert_eq!(report["ech"]["status"], "accepted", "{mode}");
        assert_eq!(report["ech"]["outer_sni"], case.public_name.as_str());
        bed.testbed.quiet().await;
        let captures = bed.testbed.captures();
        assert!(!captures.is_empty());
        for capture in captures {
            assert!(!capture.contains(&case.host), "{mode}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_without_close_notify_ends_with_56_and_says_so() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, echkit_test::pki::pem("CERTIFICATE", &pki.root())).unwrap();
    let config = pki.server(&["cut.test"]);
    let address = lab::serve_cut_off(config, b"HTTP/1.0 200 OK\r\n\r\nhalf").await;
    let to = format!("cut.test:443:127.0.0.1:{}", address.port());
    let get = ["get", "--ech", "grease", "--cacert", ca.to_str().unwrap()];
    let place = ["--connect-to", &to, "https://cut.test/"];
    for more in [&[][..], &["--json"], &["--http1.1"]] {
        let ended = run(&[&get[..], &place, more].concat()).await;
        assert_eq!(ended.code, 56, "{more:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("close_notify"), "{}", ended.stderr);
        // What has come is there, as with curl.
        if more != ["--json"] {
            assert_eq!(ended.text(), "half");
        }
    }
}

/// Whether the machine has link-local addresses depends on it; that the interface is found, and no other
/// address than the one given is tried, does not.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_its_interface_is_read() {
    let ended = run(&[
        "get",
        "--json",
        "http://[fe80::1%25lo]:9/",
        "--connect-timeout",
        "5",
    ])
    .await;
    assert!([7, 28].contains(&ended.code), "{}", ended.stderr);
    let report = &ended.json()["report"];
    assert_eq!(report["attempts"][0]["address"], "[fe80::1]:9");
    let ended = run(&["get", "https://[fe80::1%25nosuchif]/"]).await;
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("nosuchif"), "{}", ended.stderr);
    let ended = run(&["get", "https://-x-.example/"]).await;
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("hyphen"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_takes_any_certificate_of_the_origin_and_no_rejection() {
    let bed = Bed::start(&["nominal", "stale"]).await;
    let other = Bed::start(&["nominal"]).await;
    let ca = other.path("ca.pem");
    let dns = bed.testbed.dns_uri();
    let get = ["get", "--ech", "require", "--cacert", ca.to_str().unwrap()];
    let (url, stale) = (bed.url("nominal"), bed.url("stale"));
    let refused = run(&[&get[..], &["--dns", &dns, &url]].concat()).await;
    assert_eq!(refused.code, 60, "{}", refused.stderr);
    for (flags, warned) in [(&["-k"][..], true), (&["--insecure", "-s"], false)] {
        let taken = run(&[&get[..], flags, &["--dns", &dns, &url]].concat()).await;
        assert_eq!(taken.code, 0, "{}", taken.stderr);
        assert_eq!(
            taken.stderr.contains("warning: -k"),
            warned,
            "{}",
            taken.stderr
        );
    }
    bed.testbed.quiet().await;
    let hidden = |case: &str| {
        let captures = bed.testbed.captures();
        let host = &bed.testbed.case(case).unwrap().host;
        assert!(!captures.iter().any(|capture| capture.contains(host)));
        captures.len()
    };
    assert_eq!(hidden("nominal"), 3);

    // Nothing authenticates what a rejection says: neither its keys nor that ECH is disabled.
    for mode in ["require", "prefer"] {
        bed.testbed.clear_captures();
        let rejected = run(&["get", "-k", "--ech", mode, "--dns", &dns, &stale]).await;
        assert_eq!(rejected.code, 35, "{mode}: {}", rejected.stderr);
        bed.testbed.quiet().await;
        assert_eq!(hidden("stale"), 1, "{mode}");
    }
    // The resolver is verified all the same.
    let doh = bed.testbed.doh_uri();
    let ended = run(&[&get[..], &["-k", "--dns", &doh, &url]].concat()).await;
    assert_eq!(ended.code, 6, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_of_each_step_and_names_no_host() {
    let bed = Bed::start(&["stale"]).await;
    let url = bed.url("stale");
    let get = ["get", "--ech", "require", "-o", "/dev/null", &url];
    let quiet = bed.ech(&get).await;
    assert_eq!(quiet.stderr, "");
    let steps = [
        "DNS query kind=HTTPS",
        "DNS answer kind=HTTPS status=Found",
        "endpoint index=0",
        "attempt started attempt=0 address=127.0.0.1",
        "connecting again retries=1 offer=\"real\" source=\"retry\"",
        "TLS handshake finished",
        "connected ech=accepted",
        "request head sent method=GET",
    ];
    let told = bed.ech(&[&get[..], &["-v"]].concat()).await.stderr;
    assert!(
        told.contains("> GET / HTTP/2.0") && told.contains("< HTTP/2.0 200"),
        "{told}"
    );
    assert!(!steps.iter().any(|step| told.contains(step)), "{told}");
    let told = bed.ech(&[&get[..], &["-vv"]].concat()).await.stderr;
    for step in steps {
        assert!(told.contains(step), "{step}: {told}");
    }
    assert!(told.contains("> GET / HTTP/2.0"), "{told}");

    // The log alone, with all that the library has.
    let (dns, ca) = (bed.testbed.dns_uri(), bed.path("ca.pem"));
    let network = ["--dns", &dns, "--cacert", ca.to_str().unwrap()];
    let log = [("ECHKIT_LOG", "echkit=trace")];
    let logged = run_with(&[&get[..], &network].concat(), &log).await.stderr;
    for step in steps {
        assert!(logged.contains(step), "{step}: {logged}");
    }
    assert!(!logged.contains("ech.test"), "{logged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_written_where_sslkeylogfile_says() {
    let bed = Bed::start(&["nominal"]).await;
    let (url, ca, log) = (bed.url("nominal"), bed.path("ca.pem"), bed.path("secrets"));
    let dns = bed.testbed.dns_uri();
    let get = [
        "get",
        "--ech",
        "require",
        "--dns",
        &dns,
        "--cacert",
        ca.to_str().unwrap(),
        &url,
    ];
    let ended = run(&get).await;
    assert_eq!((ended.code, log.exists()), (0, false), "{}", ended.stderr);
    let ended = run_with(&get, &[("SSLKEYLOGFILE", log.to_str().unwrap())]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let secrets = std::fs::read_to_string(&log).unwrap();
    for label in [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_TRAFFIC_SECRET_0",
        "ECH_SECRET",
        "ECH_CONFIG",
    ] {
        assert!(secrets.contains(label), "{label}: {secrets}");
    }
    // Those of the connection, and of no resolver or hello that came to nothing.
    assert_eq!(
        secrets.matches("CLIENT_TRAFFIC_SECRET_0 ").count(),
        1,
        "{secrets}"
    );
}
