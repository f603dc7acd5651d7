//! Proxies of flags and environment, with the real binary against the testbed.
#![allow(clippy::unwrap_used)]

use echkit_test::lab::Pki;
use echkit_testbed::proxy::{ProxyHabit, TestProxy};
use serde_json::Value;

use bed::{Bed, Ended};

mod bed;

/// The host of the page, which ECH hides.
const HIDDEN: &str = "nominal.ech.test";

/// Nobody listens there, and it has a password that nobody may read.
const NOWHERE: &str = "http://user:hunter2@127.0.0.1:9";

impl Bed {
    /// `ech get` of the page with these variables and no others.
    async fn get(&self, set: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let mut command = bed::command();
        command
            .args(["get", self.testbed.url("nominal").unwrap()])
            .args(arguments)
            .envs(set.iter().copied());
        if !arguments.contains(&"--dns") {
            command.args(["--dns", &self.testbed.dns_uri()]);
        }
        if !arguments.contains(&"--cacert") {
            command.arg("--cacert").arg(self.path("ca.pem"));
        }
        bed::run_behind_proxy(command).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_variable_and_the_flag_lead_through_the_proxy_which_reads_no_hidden_name() {
    let bed = Bed::start(&["nominal"]).await;
    let direct = bed.get(&[], &["--json", "--ech", "require"]).await.page();
    assert!(direct.is_string());
    for scheme in ["http", "socks5"] {
        let proxy = TestProxy::start(ProxyHabit::Password).await.unwrap();
        let uri = proxy.uri_with_credentials(scheme);
        let mut ways = vec![(vec![("https_proxy", NOWHERE)], vec!["-x", &*uri])];
        for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            ways.push((vec![(variable, &*uri)], vec![]));
        }
        for (set, arguments) in ways {
            let more = ["--json", "--ech", "require", "-v"];
            let ended = bed.get(&set, &[&arguments[..], &more].concat()).await;
            assert_eq!(ended.code, 0, "{ended:?}");
            let report = ended.report();
            assert_eq!(report["ech"]["status"], "accepted");
            assert_eq!(report["proxy"], proxy.uri(scheme));
            assert!(
                ended.stderr.contains(&format!("* proxy     {scheme}://")),
                "{ended:?}"
            );
            assert_eq!(ended.page(), direct);
        }
        assert!(proxy.kept() > 5000 && !proxy.shows(HIDDEN), "{scheme}");
        for place in proxy.asked() {
            assert!(place.parse::<std::net::SocketAddr>().is_ok(), "{place}");
        }
        // Without ECH the same search finds the name.
        let off = bed.get(&[("https_proxy", &uri)], &["--ech", "off"]).await;
        assert_eq!(off.code, 0, "{off:?}");
        assert!(proxy.shows(HIDDEN), "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_proxy_of_the_testbed_ends_with_its_exit_code_and_reads_no_hidden_name() {
    let bed = Bed::start(&["nominal"]).await;
    let direct = bed.get(&[], &["--json"]).await.page();
    for case in bed.testbed.proxy_cases() {
        let proxy = bed.testbed.proxy(&case.name).unwrap();
        for way in &case.ways {
            proxy.clear_captures();
            let uri = way.uri.as_deref().unwrap();
            let limit = match way.exit_code {
                28 => "2",
                _ => "60",
            };
            for mode in ["prefer", "require"] {
                let arguments = ["-x", uri, "--connect-timeout", limit, "--ech", mode];
                let ended = bed.get(&[], &[&arguments[..], &["--json"]].concat()).await;
                let what = format!("{} {} {mode} {ended:?}", case.name, way.scheme);
                assert_eq!(i32::from(way.exit_code), ended.code, "{what}");
                match ended.code {
                    0 => {
                        assert_eq!(ended.report()["ech"]["status"], "accepted", "{what}");
                        assert_eq!(ended.page(), direct, "{what}");
                    }
                    _ => {
                        assert_eq!(ended.stderr.lines().count(), 1, "{what}");
                        for part in [HIDDEN, &*proxy.uri(&way.scheme)] {
                            assert!(ended.stderr.contains(part), "{part}: {what}");
                        }
                    }
                }
                assert!(!proxy.shows(HIDDEN), "{what}");
            }
            if way.exit_code_with_names != way.exit_code {
                let arguments = ["-x", uri, "--proxy-resolves", "--ech", "require"];
                let ended = bed.get(&[], &arguments).await;
                let code = i32::from(way.exit_code_with_names);
                assert_eq!(code, ended.code, "{} {ended:?}", case.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_proxies_end_with_curls_exit_codes_and_say_why() {
    let bed = Bed::start(&["nominal"]).await;
    for (name, scheme, code, said) in [
        (
            "password-in-vain",
            "http",
            56,
            "does not accept the credentials (407)",
        ),
        ("password", "http", 56, "asks for credentials (407)"),
        ("password", "socks5", 97, "asks for credentials"),
        ("forbids", "http", 56, "status 403"),
        ("forbids", "socks5", 97, "not allowed"),
        ("forbids", "socks5", 97, "--proxy-resolves"),
        ("names-only", "http", 56, "--proxy-resolves"),
        ("names-only", "socks5", 97, "--proxy-resolves"),
        ("closes-at-once", "http", 56, "before it answered"),
        ("closes-at-once", "socks5", 97, "before it answered"),
        ("closes-at-once", "https", 35, "TLS with the proxy"),
        ("not-a-proxy", "https", 35, "TLS with the proxy"),
        ("not-a-proxy", "http", 56, "not one to CONNECT"),
        ("not-a-proxy", "socks5", 97, "not SOCKS5"),
        ("endless-head", "http", 56, "not one to CONNECT"),
        ("talks-first", "http", 56, "after its head"),
        ("silent", "http", 28, "timed out"),
        ("open", "socks5h", 97, "--proxy-resolves"),
    ] {
        let proxy = bed.testbed.proxy(name).unwrap();
        let uri = match name {
            "password" => proxy.uri(scheme),
            _ => proxy.uri_with_credentials(scheme),
        };
        // Time enough to reach the proxy, whose silence takes the rest.
        let limit = match code {
            28 => "5",
            _ => "60",
        };
        let arguments = ["-x", &uri, "--connect-timeout", limit];
        let ended = bed.get(&[], &arguments).await;
        assert_eq!(ended.code, code, "{name} {scheme} {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        for part in [said, HIDDEN, &*proxy.uri(scheme)] {
            assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        }
        assert!(!proxy.shows(HIDDEN), "{name} {scheme}");
    }
    let strange = Pki::new();
    let strange = TestProxy::start_tls(ProxyHabit::Open, strange.server(&["127.0.0.1"]));
    let strange = strange.await.unwrap();
    for (uri, code, said) in [
        ("http://nowhere.example:3128", 5, "does not resolve"),
        (NOWHERE, 7, "cannot connect to the proxy"),
        (&strange.uri("https"), 60, "TLS with the proxy failed"),
        (
            "socks4://user:hunter2@127.0.0.1",
            2,
            "-x: the proxy's scheme",
        ),
    ] {
        let ended = bed.get(&[], &["-x", uri]).await;
        assert_eq!(ended.code, code, "{uri} {ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    let odd = bed
        .get(&[("https_proxy", "gopher://user:hunter2@127.0.0.1")], &[])
        .await;
    assert_eq!(odd.code, 2, "{odd:?}");
    assert!(odd.stderr.contains("https_proxy"), "{odd:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_may_know_names_is_told_them() {
    let bed = Bed::start(&["nominal"]).await;
    let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
    let arguments = ["-x", &proxy.uri("socks5h"), "--proxy-resolves"];
    let ended = bed.get(&[], &[&arguments[..], &["--json"]].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.report()["ech"]["status"], "accepted");
    assert!(proxy.asked()[0].starts_with("nominal.ech.test:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_a_proxy_can_be_given_by_a_flag_of_its_own() {
    let bed = Bed::start(&["nominal"]).await;
    let proxy = TestProxy::start(ProxyHabit::Password).await.unwrap();
    let uri = proxy.uri("http");
    let ended = bed.get(&[], &["-x", &uri, "-U", "user:hunter2"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = bed.get(&[], &["-x", &uri, "-U", "user"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_without_a_proxy_are_fetched_directly() {
    let bed = Bed::start(&["nominal"]).await;
    let set = ("https_proxy", NOWHERE);
    for (variables, arguments) in [
        (vec![set], &["--noproxy", "*"][..]),
        (vec![set], &["--noproxy", "other.test,ech.test"]),
        (vec![set], &["-x", ""]),
        (vec![], &["-x", NOWHERE, "--noproxy", "*"]),
        (vec![("NO_PROXY", "ech.test")], &["-x", NOWHERE]),
        (vec![set, ("NO_PROXY", "ech.test")], &[]),
        (vec![set, ("no_proxy", ".ech.test")], &[]),
        (vec![set, ("NO_PROXY", "other.test")], &["--noproxy", "*"]),
        (vec![("http_proxy", NOWHERE), ("HTTP_PROXY", NOWHERE)], &[]),
        (vec![("https_proxy", ""), ("ALL_PROXY", "")], &[]),
    ] {
        let more = ["--json", "--ech", "require"];
        let ended = bed.get(&variables, &[arguments, &more].concat()).await;
        assert_eq!(ended.code, 0, "{variables:?} {ended:?}");
        assert_eq!(ended.stderr, "", "{variables:?}");
        assert_eq!(ended.report()["proxy"], Value::Null, "{variables:?}");
    }
}

/// A file with the certificate of an authority.
fn pem_file(bed: &Bed, name: &str, pki: &Pki) -> String {
    let path = bed.path(name);
    std::fs::write(&path, echkit_test::pki::pem("CERTIFICATE", &pki.root())).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_over_tls_are_verified_by_a_ca_of_their_own_or_not_at_all_and_servers_as_ever() {
    let bed = Bed::start(&["nominal"]).await;
    let (pki, other) = (Pki::new(), Pki::new());
    let good = pem_file(&bed, "proxy-ca.pem", &pki);
    let wrong = pem_file(&bed, "other-ca.pem", &other);
    let proxy = TestProxy::start_tls(ProxyHabit::Password, pki.server(&["127.0.0.1"]));
    let proxy = proxy.await.unwrap();
    let uri = proxy.uri_with_credentials("https");
    let doh = bed.testbed.doh_uri();
    for (arguments, code, said) in [
        (vec![], 60, "TLS with the proxy failed"),
        (
            vec!["--proxy-cacert", &*wrong],
            60,
            "TLS with the proxy failed",
        ),
        (vec!["--proxy-cacert", &good], 0, ""),
        (vec!["--proxy-cacert", &good, "--dns", &doh], 0, ""),
        (vec!["--dns", &doh], 6, "TLS with the proxy failed"),
        (vec!["--proxy-insecure"], 0, "--proxy-insecure: the proxy's"),
        (
            vec!["--proxy-insecure", "--dns", &doh],
            0,
            "--proxy-insecure: the proxy's",
        ),
        (vec!["--proxy-insecure", "-s"], 0, ""),
        (
            vec!["--proxy-cacert", "/nonexistent.pem"],
            77,
            "/nonexistent.pem",
        ),
        // The origin's certificate is another matter.
        (vec!["-k"], 60, "TLS with the proxy failed"),
        (
            vec!["--cacert", &wrong, "--proxy-insecure", "-sS"],
            60,
            "nominal.ech.test: ",
        ),
        (
            vec!["--cacert", &wrong, "--proxy-cacert", &good],
            60,
            "nominal.ech.test: ",
        ),
    ] {
        let more = ["-x", &uri, "--ech", "require"];
        let ended = bed.get(&[], &[&arguments[..], &more].concat()).await;
        assert_eq!(ended.code, code, "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?} {ended:?}");
        if said.is_empty() {
            assert_eq!(ended.stderr, "", "{arguments:?}");
        }
    }
    assert!(proxy.kept() > 1000 && !proxy.shows(HIDDEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn curls_other_flags_for_proxies_are_answered_with_what_to_do() {
    let bed = Bed::start(&["nominal"]).await;
    for (flag, said) in [
        ("--preproxy", "name it with -x"),
        ("--socks5", "-x socks5://HOST:PORT"),
        ("--socks5-hostname", "socks5h://"),
        ("--socks4", "version 5"),
        ("--proxy1.0", "HTTP/1.1"),
        ("-p", "through a tunnel"),
        ("--proxy-digest", "Basic"),
        ("--proxy-header", "Proxy-Authorization"),
        ("--proxy-capath", "--proxy-cacert"),
        ("--proxy-cert", "-U"),
    ] {
        let ended = bed.get(&[], &[flag, "value"]).await;
        assert_eq!(ended.code, 2, "{flag} {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        let start = format!("ech: {flag} is not supported: ");
        assert!(ended.stderr.starts_with(&start), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
}

#[test]
fn the_testbed_lists_its_proxies_with_what_a_client_comes_to() {
    let list = |arguments: &[&str]| {
        let mut command = bed::command();
        let output = command.args(["testbed", "--list"]).args(arguments).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let text = list(&[]);
    let document: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let proxies = document["proxies"].as_array().unwrap();
    assert!(proxies.len() >= 20);
    for proxy in proxies {
        let name = proxy["name"].as_str().unwrap();
        for way in proxy["ways"].as_array().unwrap() {
            let code = way["exit_code"].to_string();
            let words = [name, way["scheme"].as_str().unwrap(), &code];
            let about = proxy["about"].as_str().unwrap();
            let row = text.lines().find(|line| {
                line.starts_with(&format!("{name} "))
                    && words.iter().all(|word| line.contains(word))
            });
            assert!(row.unwrap().ends_with(about), "{name}");
        }
    }
}
