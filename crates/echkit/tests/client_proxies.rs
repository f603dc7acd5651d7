//! Proxies: what they are asked, what they can read, and how each of their failures is told.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use echkit::dns::{RecordType, Resolver, ResolverOptions};
use echkit::http::ClientBuilder;
use echkit::policy::Timeouts;
use echkit::proxy::{Proxy, ProxyEnvironment};
use echkit::report::{EchStatus, Report};
use echkit::server::EchKeys;
use echkit::{Client, EchMode, Error, ErrorKind};
use echkit_test::clock::PacedClock;
use echkit_test::dns::{Reply, Script, Server, https};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, answer, ech_key, list, listen, serve, serve_ech};
use echkit_testbed::proxy::{PROXY_PASSWORD as PASSWORD, ProxyHabit, TestProxy};

const BOTH: [EchMode; 2] = [EchMode::Prefer, EchMode::Require];

/// The name of a proxy over TLS.
const PROXY_NAME: &str = "proxy.test";

/// A site with ECH, and its zone.
struct Site {
    pki: Pki,
    dns: Server,
    address: SocketAddr,
}

impl Site {
    async fn start() -> Self {
        let pki = Pki::new();
        let key = ech_key();
        let keys = EchKeys::new(vec![key.clone()]).unwrap();
        let address = serve_ech(&pki, &[HIDDEN, PUBLIC], false, keys).await;
        let ech = list(&key).to_base64();
        let record = format!("1 . port={} ech={ech}", address.port());
        let loopback = Reply::Records(vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
        let dns = Server::start(Script::new([
            (
                HIDDEN,
                RecordType::HTTPS,
                Reply::Records(vec![https(&record)]),
            ),
            (HIDDEN, RecordType::A, loopback.clone()),
            (PROXY_NAME, RecordType::A, loopback),
        ]))
        .await;
        Self { pki, dns, address }
    }

    fn client(&self, mode: EchMode) -> ClientBuilder {
        let resolver = Resolver::from_uri(&self.dns.udp(), &ResolverOptions::default());
        Client::builder()
            .tls(self.pki.tls())
            .ech(mode)
            .resolver(resolver.unwrap())
    }

    fn through(&self, mode: EchMode, proxy: &str) -> ClientBuilder {
        self.client(mode).proxy(Proxy::parse(proxy).unwrap())
    }

    /// The page at a port, which counts where there is no record to name one.
    fn url(&self) -> String {
        format!("https://{HIDDEN}:{}/", self.address.port())
    }

    fn asked(&self, kind: RecordType) -> usize {
        self.dns.script.count(HIDDEN, kind)
    }
}

fn refuses(code: u16) -> ProxyHabit {
    ProxyHabit::Refuses {
        status: code,
        reply: u8::try_from(code & 0xff).unwrap(),
    }
}

async fn fetch(client: ClientBuilder, url: &str) -> Result<Report, Error> {
    let client = client.build().unwrap();
    let mut response = client.get(url).send().await?;
    assert_eq!(response.bytes().await?, "hello");
    Ok(response.report())
}

fn hidden_url() -> String {
    format!("https://{HIDDEN}/")
}

#[tokio::test]
async fn through_each_kind_of_proxy_ech_is_accepted_and_the_proxy_reads_no_hidden_name() {
    let site = Site::start().await;
    for scheme in ["http", "https", "socks5"] {
        for habit in [ProxyHabit::Open, ProxyHabit::Password] {
            let proxy = match scheme {
                "https" => TestProxy::start_tls(habit, site.pki.server(&[PROXY_NAME]))
                    .await
                    .unwrap(),
                _ => TestProxy::start(habit).await.unwrap(),
            };
            let port = proxy.address().port();
            let uri = format!("{scheme}://user:{PASSWORD}@{PROXY_NAME}:{port}");
            for mode in BOTH {
                let report = fetch(site.through(mode, &uri), &hidden_url())
                    .await
                    .unwrap();
                assert_eq!(report.ech.status, EchStatus::Accepted, "{scheme}");
                let shown = format!("{scheme}://{PROXY_NAME}:{port}");
                assert_eq!(report.proxy.as_deref(), Some(&*shown));
                assert_eq!(report.attempts[0].address, site.address.to_string());
                assert!(!format!("{report:?}").contains(PASSWORD));
            }
            let place = site.address.to_string();
            assert_eq!(proxy.asked(), [place.clone(), place], "{scheme} {habit:?}");
            assert!(proxy.kept() > 1000);
            assert!(!proxy.shows(HIDDEN), "{scheme} {habit:?}");

            // What the search is worth: without ECH it finds the name, and the proxy is asked for an
            // address all the same.
            let url = format!("https://{HIDDEN}:{}/", site.address.port());
            let report = fetch(site.through(EchMode::Off, &uri), &url).await.unwrap();
            assert_eq!(report.ech.status, EchStatus::NotOffered);
            assert!(proxy.shows(HIDDEN), "{scheme} {habit:?}");
            assert_eq!(proxy.asked()[2], site.address.to_string());
        }
    }
}

#[tokio::test]
async fn each_failure_of_a_proxy_has_its_kind_and_names_the_proxy_without_its_credentials() {
    let _clock = PacedClock::new();
    use ProxyHabit::*;
    let site = Site::start().await;
    for (scheme, habit, kind, said) in [
        ("http", refuses(407), ErrorKind::ProxyTunnel, "(407)"),
        ("http", refuses(403), ErrorKind::ProxyTunnel, "status 403"),
        (
            "http",
            refuses(502),
            ErrorKind::ProxyTunnel,
            "--proxy-resolves",
        ),
        (
            "http",
            ClosesAtOnce,
            ErrorKind::ProxyTunnel,
            "before it answered",
        ),
        (
            "http",
            ClosesWhenAsked,
            ErrorKind::ProxyTunnel,
            "before it answered",
        ),
        ("http", Silent, ErrorKind::Timeout, "timed out"),
        (
            "http",
            Answers(b"SSH-2.0-x\r\n"),
            ErrorKind::ProxyTunnel,
            "not one to CONNECT",
        ),
        (
            "http",
            Answers(b"HTTP/1.1 200 OK\r\n\r\nx"),
            ErrorKind::ProxyTunnel,
            "after its head",
        ),
        (
            "http",
            Answers(&[b'\r'; 40_000]),
            ErrorKind::ProxyTunnel,
            "not one to CONNECT",
        ),
        (
            "http",
            Answers(b"HTTP/1.1 200 OK\r\na: b"),
            ErrorKind::Timeout,
            "timed out",
        ),
        (
            "https",
            Answers(b"HTTP/1.1 200 OK\r\n\r\n"),
            ErrorKind::Tls,
            "TLS with the proxy",
        ),
        ("https", ClosesAtOnce, ErrorKind::Tls, "TLS with the proxy"),
        ("https", Silent, ErrorKind::Timeout, "timed out"),
        ("socks5", refuses(2), ErrorKind::Proxy, "not allowed"),
        ("socks5", refuses(5), ErrorKind::Proxy, "refused"),
        (
            "socks5",
            refuses(200),
            ErrorKind::Proxy,
            "a code that SOCKS5 does not have",
        ),
        (
            "socks5",
            ClosesAtOnce,
            ErrorKind::Proxy,
            "before it answered",
        ),
        (
            "socks5",
            ClosesWhenAsked,
            ErrorKind::Proxy,
            "before it answered",
        ),
        ("socks5", Silent, ErrorKind::Timeout, "timed out"),
        (
            "socks5",
            Answers(b"HTTP/1.1 400 No\r\n\r\n"),
            ErrorKind::Proxy,
            "not SOCKS5",
        ),
    ] {
        let proxy = TestProxy::start(habit).await.unwrap();
        let uri = format!("{scheme}://user:{PASSWORD}x@{}", proxy.address());
        let limits = match kind {
            ErrorKind::Timeout => Timeouts::default().with_tcp(Duration::from_millis(500)),
            _ => Timeouts::default(),
        };
        for mode in BOTH {
            let client = site.through(mode, &uri).timeouts(limits);
            let error = fetch(client, &hidden_url()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{scheme} {habit:?}: {error}");
            let report = error.report().unwrap();
            for text in [error.to_string(), report.error.clone().unwrap()] {
                assert!(text.contains(&proxy.uri(scheme)), "{text}");
                assert!(text.contains(said), "{text}");
            }
            assert_eq!(report.proxy, Some(proxy.uri(scheme)));
            let all = format!("{error} {error:?} {report:?}");
            assert!(!all.contains(PASSWORD), "{all}");
        }
        assert!(!proxy.shows(HIDDEN), "{scheme} {habit:?}");
    }
}

#[tokio::test]
async fn credentials_that_are_missing_or_wrong_are_asked_for_once() {
    let site = Site::start().await;
    for scheme in ["http", "socks5"] {
        let kind = match scheme {
            "http" => ErrorKind::ProxyTunnel,
            _ => ErrorKind::Proxy,
        };
        for (credentials, said) in [("", "give them"), ("user:wrong@", "does not accept")] {
            let proxy = TestProxy::start(ProxyHabit::Password).await.unwrap();
            let uri = format!("{scheme}://{credentials}{}", proxy.address());
            let client = site.through(EchMode::Prefer, &uri);
            let error = fetch(client, &hidden_url()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(error.report().unwrap().attempts.len(), 1);
        }
    }
}

#[tokio::test]
async fn proxies_that_are_not_found_or_not_there_or_not_trusted_have_errors_of_their_own() {
    let site = Site::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (closed, gone) = (closed.local_addr().unwrap(), closed);
    drop(gone);
    let strange = TestProxy::start_tls(ProxyHabit::Open, Pki::new().server(&[PROXY_NAME]))
        .await
        .unwrap();
    let strange = format!("https://{PROXY_NAME}:{}", strange.address().port());
    for (uri, kind, said) in [
        (
            "http://nowhere.test:3128",
            ErrorKind::ProxyName,
            "does not resolve",
        ),
        (
            &format!("http://{closed}"),
            ErrorKind::Connect,
            "cannot connect to the proxy",
        ),
        (
            &format!("socks5://{closed}"),
            ErrorKind::Connect,
            "cannot connect to the proxy",
        ),
        (
            &strange,
            ErrorKind::Certificate,
            "TLS with the proxy failed",
        ),
    ] {
        let client = site.through(EchMode::Require, uri);
        let error = fetch(client, &hidden_url()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_leads_elsewhere_is_shown_no_hidden_name_and_ech_is_not_given_up() {
    let site = Site::start().await;
    let elsewhere = serve(site.pki.server(&["elsewhere.test"])).await;
    for scheme in ["http", "socks5"] {
        let proxy = TestProxy::start(ProxyHabit::LeadsTo(elsewhere))
            .await
            .unwrap();
        for mode in BOTH {
            let client = site.through(mode, &proxy.uri(scheme));
            let error = fetch(client, &hidden_url()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Certificate, "{error}");
            assert_eq!(error.report().unwrap().ech.status, EchStatus::Failed);
        }
        assert!(proxy.kept() > 1000 && !proxy.shows(HIDDEN), "{scheme}");
    }
}

#[tokio::test]
async fn a_proxy_that_looks_names_up_is_refused_where_ech_may_hide_them_and_asked_nothing() {
    let site = Site::start().await;
    let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
    for mode in BOTH {
        for url in [hidden_url(), format!("http://{HIDDEN}/")] {
            let client = site.through(mode, &proxy.uri("socks5h"));
            let error = fetch(client, &url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Proxy, "{error}");
            assert!(error.to_string().contains("--proxy-resolves"), "{error}");
        }
    }
    assert_eq!((proxy.kept(), site.asked(RecordType::HTTPS)), (0, 0));
    // Who hides no name may leave it to the proxy, and then no resolver is asked.
    for mode in [EchMode::Off, EchMode::Grease] {
        let client = site.through(mode, &proxy.uri("socks5h"));
        let report = fetch(client, &site.url()).await.unwrap();
        let place = format!("{HIDDEN}:{}", site.address.port());
        assert_eq!(proxy.asked().last(), Some(&place));
        assert_eq!(report.attempts[0].address, place);
    }
    assert_eq!(
        (site.asked(RecordType::HTTPS), site.asked(RecordType::A)),
        (0, 0)
    );
}

#[tokio::test]
async fn a_proxy_that_may_resolve_is_told_the_name_and_ech_comes_from_the_record() {
    let site = Site::start().await;
    for scheme in ["http", "socks5", "socks5h"] {
        let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
        for mode in BOTH {
            let client = site.through(mode, &proxy.uri(scheme)).proxy_resolves(true);
            let report = fetch(client, &hidden_url()).await.unwrap();
            assert_eq!(report.ech.status, EchStatus::Accepted, "{scheme}");
            let place = format!("{HIDDEN}:{}", site.address.port());
            assert_eq!(proxy.asked().last(), Some(&place), "{scheme}");
        }
    }
    assert_eq!(site.asked(RecordType::A), 0);
}

#[tokio::test]
async fn proxies_of_the_environment_are_used_by_scheme_and_after_an_upgrade_by_the_new_one() {
    let site = Site::start().await;
    let proxy = TestProxy::start(ProxyHabit::Open).await.unwrap();
    let uri = proxy.uri("http");
    for (scheme, variable, used) in [
        ("https", "HTTPS_PROXY", true),
        ("https", "all_proxy", true),
        ("https", "http_proxy", false),
        // The records make it an https origin.
        ("http", "https_proxy", true),
        ("http", "http_proxy", false),
    ] {
        for mode in BOTH {
            let variables = [(variable, uri.as_str())];
            let environment = ProxyEnvironment::from_variables(variables);
            let client = site.client(mode).proxy_environment(environment.clone());
            let url = format!("{scheme}://{HIDDEN}/");
            let report = fetch(client, &url).await.unwrap();
            assert_eq!(report.ech.status, EchStatus::Accepted);
            assert_eq!(report.proxy.is_some(), used, "{scheme} {variable}");

            let direct = site.client(mode);
            let direct = direct.proxy_environment(environment.with_no_proxy("test"));
            assert_eq!(fetch(direct, &url).await.unwrap().proxy, None);
        }
    }
    let variables = [("https_proxy", "gopher://user:hunter2@192.0.2.1")];
    let environment = ProxyEnvironment::from_variables(variables);
    let client = site.client(EchMode::Prefer).proxy_environment(environment);
    let error = fetch(client, &hidden_url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("https_proxy") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn http_urls_go_to_an_http_proxy_in_absolute_form_and_through_socks_in_a_tunnel() {
    let site = Site::start().await;
    let server = listen(answer).await;
    let url = format!("http://{server}/a?b");
    for (scheme, asked) in [("http", url.clone()), ("socks5", server.to_string())] {
        let proxy = TestProxy::start(ProxyHabit::Password).await.unwrap();
        let client = site.through(EchMode::Prefer, &proxy.uri_with_credentials(scheme));
        let report = fetch(client, &url).await.unwrap();
        assert_eq!(proxy.asked(), [asked]);
        assert_eq!(report.proxy, Some(proxy.uri(scheme)));
    }
}
