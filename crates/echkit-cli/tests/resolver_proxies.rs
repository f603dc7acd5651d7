//! Resolvers behind proxies: which transports go through, what the proxy can read, and how its
//! failures are told. With the real binary, and with the library, against the testbed.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::policy::AddressFamily;
use echkit::proxy::{Proxy, ProxyEnvironment};
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, EchMode};
use echkit_proto::dns::{EdnsUse, Question};
use echkit_test::lab;
use echkit_testbed::proxy::{ProxyHabit, TestProxy};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use bed::{Bed, Ended};

mod bed;

/// A label of the name that ECH hides, as it is in a DNS query and in a hello.
const LABEL: &str = "nominal";
const HIDDEN: &str = "nominal.ech.test";
const RESOLVER: &str = "dns.ech.test";

impl Bed {
    /// The resolvers that go through proxies.
    fn resolvers(&self) -> [String; 2] {
        [self.testbed.doh_uri(), self.testbed.dot_uri()]
    }

    /// Where the page is.
    fn site(&self) -> String {
        let port = self.testbed.case(LABEL).unwrap().port;
        format!("127.0.0.1:{port}")
    }

    /// `ech get` or `ech lookup` of the page, with these variables and no others.
    async fn run(&self, command: &str, set: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let mut process = bed::command();
        process
            .args([command, self.testbed.url(LABEL).unwrap(), "--cacert"])
            .arg(self.path("ca.pem"))
            .args(arguments)
            .args(["-4"].iter().filter(|_| command == "get"))
            .envs(set.iter().copied());
        bed::run_behind_proxy(process).await
    }
}

impl Ended {
    /// Whether there is a warning that queries went past the proxy.
    fn warns(&self) -> bool {
        let warnings = self.report()["dns"]["warnings"].to_string();
        warnings.contains("do not go through the proxy")
    }
}

/// The address after `#`, with the port.
fn address(uri: &str) -> String {
    let (rest, address) = uri.rsplit_once('#').unwrap();
    let authority = rest.split('/').nth(2).unwrap();
    format!("{address}:{}", authority.rsplit_once(':').unwrap().1)
}

/// What the search for names is worth: it finds a query that passes in the clear.
async fn search_finds_queries(proxy: &TestProxy, dns: SocketAddr) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let request = format!("CONNECT {dns} HTTP/1.1\r\nhost: {dns}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let question = Question {
        name: HIDDEN.parse().unwrap(),
        kind: RecordType::HTTPS,
    };
    let query = question.encode_for_stream(1, EdnsUse::Plain);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(&query).await.unwrap();
    assert!(stream.read_u16().await.unwrap() > 0);
    assert!(proxy.shows(LABEL));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_over_tls_and_https_go_through_the_proxy_which_reads_no_name() {
    let bed = Bed::start(&[LABEL]).await;
    for scheme in ["http", "socks5", "socks5h"] {
        for uri in bed.resolvers() {
            let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
            let through = proxy.uri(scheme);
            // What the proxy may know of origins makes no difference for the resolver.
            let resolves: &[&str] = match scheme {
                "socks5h" => &[
                    "--proxy-resolves",
                    "--noproxy",
                    "ech.invalid,nominal.ech.test",
                ],
                _ => &[],
            };
            let arguments = ["--dns", &uri, "--ech", "require", "--json", "-x", &through];
            let ended = bed.run("get", &[], &[&arguments, resolves].concat()).await;
            assert_eq!(ended.code, 0, "{ended:?}");
            let report = ended.report();
            assert_eq!(report["ech"]["status"], "accepted");
            assert_eq!(report["dns"]["proxy"], *through, "{scheme} {uri}");
            assert_eq!(report["dns"]["protected"], true);
            assert_eq!(report["dns"]["warnings"], Value::Array(Vec::new()));
            let mut asked = vec![address(&uri)];
            if resolves.is_empty() {
                asked.push(bed.site());
            }
            assert_eq!(proxy.asked(), asked, "{scheme} {uri}");
            assert!(proxy.kept() > 1000 && !proxy.shows(LABEL), "{scheme} {uri}");

            let plain = proxy.uri("http");
            let words = ["-v", "--dns", &uri, "-x", &plain];
            let words = bed.run("get", &[], &words).await;
            assert!(words.stderr.contains("through proxy http://"), "{words:?}");
            assert!(!proxy.shows(LABEL), "{scheme} {uri}");
            search_finds_queries(&proxy, bed.testbed.dns_address()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_follow_the_flag_and_the_variables_of_https() {
    let bed = Bed::start(&[LABEL]).await;
    for uri in bed.resolvers() {
        let proxy = TestProxy::start(ProxyHabit::Password).await.unwrap();
        let through = proxy.uri_with_credentials("http");
        let plain = proxy.uri("http");
        for (set, arguments) in [
            (vec![], vec!["-x", &*through]),
            (vec![], vec!["-x", &plain, "-U", "user:hunter2"]),
            (vec![("https_proxy", &*plain)], vec!["-U", "user:hunter2"]),
            (vec![("https_proxy", &*through)], vec![]),
            (vec![("ALL_PROXY", &*through)], vec![]),
        ] {
            let arguments = [&arguments[..], &["--dns", &uri, "--require-ech"]].concat();
            let ended = bed.run("lookup", &set, &arguments).await;
            assert_eq!(ended.code, 0, "{ended:?}");
            let line = format!("proxy      {plain}\n");
            assert!(ended.text().contains(&line), "{ended:?}");
        }
        assert_eq!(proxy.asked(), vec![address(&uri); 5]);
        assert!(!proxy.shows(LABEL));
        // A host without proxy, by its own name and not by that of the page.
        for (list, through) in [(RESOLVER, false), (HIDDEN, true), ("127.0.0.1", true)] {
            let set = [("https_proxy", &*plain), ("no_proxy", list)];
            let arguments = ["--dns", &uri, "--json", "-U", "user:hunter2"];
            let ended = bed.run("lookup", &set, &arguments).await;
            assert_eq!(ended.code, 0, "{ended:?}");
            assert_eq!(ended.report()["dns"]["proxy"].is_string(), through);
            assert!(!ended.warns(), "{list} {ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_transports_go_past_the_proxy_and_the_report_warns_of_it() {
    let bed = Bed::start(&[LABEL]).await;
    let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
    let through = proxy.uri("http");
    let testbed = &bed.testbed;
    for uri in [
        testbed.dns_uri(),
        testbed.dns_tcp_uri(),
        testbed.doq_uri(),
        testbed.doh3_uri(),
    ] {
        let arguments = ["--dns", &uri, "--json"];
        let flag = [&arguments[..], &["-x", &through]].concat();
        let ended = bed.run("get", &[], &flag).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.report()["dns"]["proxy"], Value::Null);
        assert!(ended.warns(), "{uri} {ended:?}");
        // A flag that would do nothing is an error; a variable may be there for other programs.
        let refused = bed.run("lookup", &[], &flag).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused
                .stderr
                .contains(&format!("-x: queries to the resolver {uri}"))
        );
        let variable = [("https_proxy", &*through)];
        let ended = bed.run("lookup", &variable, &arguments).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.warns(), "{uri} {ended:?}");
        let ended = bed.run("lookup", &[], &arguments).await;
        assert!(!ended.warns(), "{uri} {ended:?}");
    }
    assert_eq!(proxy.asked(), vec![bed.site(); 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_form_that_is_designated_is_asked_directly() {
    let bed = Bed::start(&[LABEL]).await;
    let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
    let through = proxy.uri("http");
    let dns = bed.testbed.dns_uri();
    let arguments = ["--dns", &dns, "--ddr", "require", "--json", "-x", &through];
    let ended = bed.run("get", &[], &arguments).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.report()["dns"]["protected"], true);
    assert_eq!(ended.report()["dns"]["proxy"], Value::Null);
    assert!(ended.warns(), "{ended:?}");
    assert_eq!(proxy.asked(), [bed.site()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_lead_to_the_resolver_ends_the_fetch_before_a_name_is_shown() {
    let bed = Bed::start(&[LABEL]).await;
    let mut strange = lab::Pki::new().server(&[RESOLVER]);
    strange.alpn_protocols.clear();
    let elsewhere = lab::serve(strange).await;
    for (name, scheme, code, said) in [
        (
            "password-in-vain",
            "http",
            6,
            "does not accept the credentials",
        ),
        ("forbids", "http", 6, "with status 403; where direct"),
        ("names-only", "http", 6, "with status 403; where direct"),
        ("closes-when-asked", "http", 6, "before it answered"),
        ("closes-mid-tunnel", "http", 6, ""),
        ("not-a-proxy", "http", 6, "not one to CONNECT"),
        ("tampers", "http", 6, ""),
        ("silent", "http", 28, "timed out"),
        ("tls-untrusted", "https", 6, "TLS with the proxy"),
        ("forbids", "socks5", 6, "SOCKS5 to 127.0.0.1:"),
        ("not-a-proxy", "socks5", 6, "not SOCKS5"),
        ("leads-elsewhere", "socks5", 6, "invalid peer certificate"),
    ] {
        for uri in bed.resolvers() {
            bed.testbed.clear_captures();
            let strange;
            let proxy = match name {
                // The testbed's own leads to its resolver over HTTPS.
                "leads-elsewhere" => {
                    strange = TestProxy::start(ProxyHabit::LeadsTo(elsewhere))
                        .await
                        .unwrap();
                    &strange
                }
                _ => bed.testbed.proxy(name).unwrap(),
            };
            let through = match scheme {
                "https" => proxy.uri(scheme),
                _ => format!("{scheme}://user:hunter2x@{}", proxy.address()),
            };
            let limit = match code {
                28 => "1",
                _ => "60",
            };
            for mode in ["prefer", "require", "off"] {
                let arguments = ["--dns", &uri, "-x", &through, "--connect-timeout", limit];
                // The origin itself has no proxy: nothing keeps the client from going there but that
                // it does not know where it is.
                let more = ["--noproxy", HIDDEN, "--ech", mode];
                let ended = bed.run("get", &[], &[&arguments[..], &more].concat()).await;
                assert_eq!(ended.code, code, "{name} {scheme} {ended:?}");
                assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
                let parts = match code {
                    28 => vec![said, HIDDEN],
                    _ => vec![said, HIDDEN, &*uri, "through proxy "],
                };
                for part in parts {
                    assert!(ended.stderr.contains(part), "{part}: {ended:?}");
                }
            }
            assert!(!proxy.shows(LABEL), "{name} {scheme}");
            let captures = bed.testbed.captures();
            let silent = captures.iter().all(|capture| !capture.contains(LABEL));
            assert!(silent, "{name} {scheme}");
        }
    }
    let set = [("https_proxy", "gopher://user:hunter2@127.0.0.1")];
    let arguments = ["--dns", &bed.testbed.doh_uri(), "--json"];
    let ended = bed.run("lookup", &set, &arguments).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.text().contains("https_proxy: the proxy's scheme"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn clients_reach_a_resolver_given_by_uri_through_their_proxy_and_another_through_its_own() {
    let bed = Bed::start(&[LABEL]).await;
    let roots = || ClientTls::builder().trust(Trust::certificates([bed.testbed.ca_der()]).unwrap());
    let builder = || {
        let builder = Client::builder().ech(EchMode::Require).tls(roots());
        builder.family(AddressFamily::V4)
    };
    for uri in bed.resolvers() {
        let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
        let through: Proxy = proxy.uri("socks5").parse().unwrap();
        let client = builder();
        let client = client.dns(&uri).proxy(through.clone()).build().unwrap();
        let page = client.get(bed.testbed.url(LABEL).unwrap()).send().await;
        let dns = page.unwrap().report().dns.unwrap();
        assert_eq!(dns.proxy, Some(through.to_string()));
        assert_eq!(proxy.asked(), [address(&uri), bed.site()]);

        // A resolver that was made without proxies has none, whatever the client's are.
        let options = ResolverOptions::default();
        let options = options.with_tls(roots().build().unwrap().plain_config().unwrap());
        let given = ProxyEnvironment::default().with_proxy(through.clone());
        for (options, used) in [
            (options.clone(), None),
            (options.with_proxies(given), Some(&through)),
        ] {
            let resolver = Resolver::from_uri(&uri, &options).unwrap();
            assert_eq!(resolver.proxy(), used);
            let before = proxy.asked().len();
            let client = builder();
            let client = client.resolver(resolver).build().unwrap();
            let page = client.get(bed.testbed.url(LABEL).unwrap()).send().await;
            let report = page.unwrap().report();
            assert_eq!(report.proxy, None);
            assert_eq!(report.dns.unwrap().proxy, used.map(ToString::to_string));
            assert_eq!(proxy.asked().len() - before, usize::from(used.is_some()));
        }
        assert!(!proxy.shows(LABEL));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_warns_where_the_proxys_name_is_looked_up_in_the_clear() {
    let bed = Bed::start(&[LABEL]).await;
    let proxy = bed.testbed.proxy("open").unwrap();
    let doh = bed.testbed.doh_uri();
    // Loopback by name is not looked up; another name is, and this one is nowhere.
    let local = format!("http://localhost:{}", proxy.address().port());
    let arguments = ["--dns", &doh, "--json", "-x", &local];
    let ended = bed.run("get", &[], &arguments).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.report()["dns"]["proxy"], *local);
    assert_eq!(ended.report()["dns"]["warnings"], Value::Array(Vec::new()));
    assert!(proxy.kept() > 1000 && !proxy.shows(LABEL));

    let tls = ClientTls::builder().trust(Trust::certificates([bed.testbed.ca_der()]).unwrap());
    let tls = tls.build().unwrap().plain_config().unwrap();
    for (uri, looked_up) in [
        ("http://proxy.invalid:3128", Some("proxy.invalid")),
        (&local, None),
        ("socks5h://127.0.0.1:9", None),
    ] {
        let proxies = ProxyEnvironment::default().with_proxy(uri.parse().unwrap());
        let options = ResolverOptions::default().with_tls(Arc::clone(&tls));
        let resolver = Resolver::from_uri(&doh, &options.with_proxies(proxies)).unwrap();
        assert_eq!(resolver.looked_up_proxy_name(), looked_up, "{uri}");
    }
    // RFC 6761 §6.4: the name does not exist, at any resolver.
    let arguments = ["--dns", &doh, "-x", "http://proxy.invalid:3128"];
    let ended = bed
        .run("lookup", &[], &[&arguments[..], &["--json"]].concat())
        .await;
    assert_eq!(ended.code, 6, "{ended:?}");
    let warnings = ended.report()["dns"]["warnings"].to_string();
    assert!(
        warnings.contains("the proxy proxy.invalid was looked up"),
        "{ended:?}"
    );
    assert!(
        ended.text().contains("its name does not resolve"),
        "{ended:?}"
    );
}
