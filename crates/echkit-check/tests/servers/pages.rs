//! What HTTP tells: pages over ECH, the site of the public_name, and the host without TLS.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use echkit::server::EchKeys;
use echkit_check::{HostReport, ProbeFamily};
use echkit_test::pki::Authority;
use tokio::net::TcpListener;

use crate::site::{
    Answer, HOST, PUBLIC, Page, Site, assert_findings, check_with, ech, findings_of, key, record,
    serve,
};

/// An answer of the host's own at `/`; elsewhere and at other hosts nothing odd.
fn home(page: impl Fn() -> Page + Send + Sync + 'static) -> Answer {
    Arc::new(move |authority, path| match (authority, path) {
        (HOST, "/") => page(),
        (_, "/") => Page::new(200),
        _ => Page::new(404),
    })
}

#[tokio::test]
async fn where_the_page_over_ech_leads_is_found() {
    for (location, expected) in [
        ("http://site.test/", "ECH-REDIRECT-TO-HTTP"),
        ("http://public.test/", "ECH-REDIRECT-TO-HTTP"),
        ("https://PUBLIC.test/start", "ECH-REDIRECT-TO-PUBLIC-NAME"),
        ("https://www.site.test/", "ECH-REDIRECT-ELSEWHERE"),
    ] {
        let answer = home(move || Page::to(302, location));
        findings_of(|site, _| site.answer = answer, &[expected]).await;
    }
    let answer = home(|| Page::to(301, "/start"));
    findings_of(|site, _| site.answer = answer, &[]).await;
}

#[tokio::test]
async fn a_page_without_hsts_is_found_over_either_version_of_http() {
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let without = home(|| Page {
            headers: Vec::new(),
            ..Page::new(200)
        });
        let forgotten = home(|| Page {
            headers: vec![("strict-transport-security", "max-age=0".to_owned())],
            ..Page::new(200)
        });
        for answer in [without, forgotten] {
            let ca = Authority::new();
            let key = key(PUBLIC, 7);
            let mut site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
            (site.alpn, site.answer) = (alpn, answer);
            let address = site.start(&ca).await;
            let published = ech(vec![key.config().clone()]);
            let listed = format!("alpn={} no-default-alpn", alpn[0]);
            let record = record(&published, address.port(), &listed);
            let report = check_with(&ca, vec![record], |checker| checker).await;
            assert_findings(&report, &["ECH-HSTS-MISSING"]);
        }
    }
}

#[tokio::test]
async fn a_public_name_whose_site_names_the_host_is_found() {
    let both: &'static [(&str, &[&str])] = &[(HOST, &[HOST]), (PUBLIC, &[PUBLIC, "SITE.test"])];
    findings_of(
        |site, _| site.certificates = both.to_vec(),
        &["ECH-PUBLIC-CERTIFICATE-NAMES-HOST"],
    )
    .await;
    let answer: Answer = Arc::new(|authority, path| match (authority, path) {
        (HOST, "/") => Page::new(200),
        (HOST, _) => Page::new(404),
        _ => Page::to(302, "https://site.test/"),
    });
    findings_of(
        |site, _| site.answer = answer,
        &["ECH-PUBLIC-SITE-NAMES-HOST"],
    )
    .await;
}

/// A check of a good site whose host has this answer without TLS, and how many connections came
/// there.
async fn without_tls(answer: Answer, private: bool) -> (HostReport, usize) {
    let ca = Authority::new();
    let key = key(PUBLIC, 7);
    let site = Site::new(EchKeys::new(vec![key.clone()]).unwrap());
    let address = site.start(&ca).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(tcp, answer.clone()));
        }
    });
    let published = ech(vec![key.config().clone()]);
    let record = record(&published, address.port(), "alpn=h2");
    let change = |checker: echkit_check::CheckerBuilder| checker.http_port(port).private(private);
    let report = check_with(&ca, vec![record], change).await;
    (report, count.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_host_that_answers_without_tls_is_found_and_left_alone_in_private() {
    let page = |status: u16| -> Answer { Arc::new(move |_, _| Page::new(status)) };
    let to = |url: &'static str| -> Answer { Arc::new(move |_, _| Page::to(301, url)) };
    for (answer, expected) in [
        (page(200), "ECH-HTTP-SERVES-PAGE"),
        (to("http://www.site.test/"), "ECH-HTTP-SERVES-PAGE"),
        (to("https://site.test/"), "ECH-HTTP-ANSWERED"),
        (page(403), "ECH-HTTP-ANSWERED"),
    ] {
        let (report, connections) = without_tls(answer.clone(), false).await;
        assert_findings(&report, &[expected]);
        assert_eq!(connections, 1);
        assert!(report.shown_by.contains(&ProbeFamily::Http));
        let (report, connections) = without_tls(answer, true).await;
        assert_findings(&report, &[]);
        assert_eq!((connections, report.shown_by.len()), (0, 0));
    }
}
