//! Each case of the testbed has exactly the findings that are due.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use echkit::ErrorKind;
use echkit::dns::{Resolver, ResolverOptions};
use echkit::tls::{ClientTls, Trust};
use echkit_check::{Checker, FindingId, HostReport, ProbeSelection, Severity, anonymity};
use echkit_testbed::Testbed;
use futures_util::{StreamExt, stream};
use tokio::net::TcpSocket;

mod expected;

use expected::EXPECTED;

fn checker(testbed: &Testbed, selection: ProbeSelection) -> Checker {
    let trust = Trust::certificates([testbed.ca_der()]).unwrap();
    let resolver = Resolver::from_uri(&testbed.dns_uri(), &ResolverOptions::default()).unwrap();
    Checker::builder()
        .tls(ClientTls::builder().trust(trust))
        .resolver(resolver)
        .selection(selection)
        .http_port(closed_port())
        .build()
        .unwrap()
}

/// A port where nothing listens: what this machine has at port 80 is no matter of a test.
fn closed_port() -> u16 {
    static CLOSED: OnceLock<TcpSocket> = OnceLock::new();
    let closed = CLOSED.get_or_init(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket
    });
    closed.local_addr().unwrap().port()
}

/// The testbed's DNS is asked in the clear.
fn encrypted_dns_aside() -> ProbeSelection {
    let selection = ProbeSelection::default();
    selection.with_skip("ECH-DNS-IN-THE-CLEAR").unwrap()
}

fn ids(report: &HostReport) -> BTreeSet<&'static str> {
    report.findings.iter().map(|f| f.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_case_of_the_testbed_has_the_findings_that_are_due_and_no_others() {
    let testbed = Testbed::start().await.unwrap();
    let checker = checker(&testbed, encrypted_dns_aside());
    let no_ipv6 = std::net::TcpListener::bind("[::1]:0").is_err();
    let reports = stream::iter(testbed.cases())
        .map(|case| {
            let checker = &checker;
            let origin = case.url.parse().unwrap();
            async move { (case.name.clone(), checker.check(&origin).await) }
        })
        .buffer_unordered(6);
    let reports: Vec<(String, HostReport)> = reports.collect().await;
    assert!(reports.len() > 60);
    let mut wrong = Vec::new();
    for (name, report) in &reports {
        if no_ipv6 && name.starts_with("ipv6-") {
            continue;
        }
        let expected = EXPECTED.iter().find(|(case, _)| case == name);
        let expected: BTreeSet<&str> = expected
            .map(|(_, ids)| ids.iter().copied().collect())
            .unwrap_or_default();
        let error = report.error.as_ref().map(|error| error.kind);
        let expected_error = (name == "servfail").then_some(ErrorKind::Name);
        if ids(report) != expected || error != expected_error {
            wrong.push(format!("{name}: {:#?} {error:?}", report.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, _) in EXPECTED {
        assert!(reports.iter().any(|(case, _)| case == name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_check_never_shows_the_host_in_a_connection() {
    let cases = ["nominal", "stale", "disabled", "stale-wrong-name", "tls12"];
    let testbed = Testbed::builder().only(cases).start().await.unwrap();
    let names = |testbed: &Testbed, case: &str| {
        let host = testbed.case(case).unwrap().host.clone();
        let captures = testbed.captures();
        captures.iter().filter(|c| c.contains(&host)).count()
    };
    let private = checker(&testbed, encrypted_dns_aside().with_private(true));
    for case in cases {
        let origin = testbed.url(case).unwrap().parse().unwrap();
        let report = private.check(&origin).await;
        assert_eq!(names(&testbed, case), 0, "{case}");
        let skipped = report.skipped.iter().map(|s| s.probe.as_str());
        let skipped: Vec<_> = skipped.collect();
        assert_eq!(
            skipped,
            ["authoritative", "grease", "plain", "tls12", "http"],
            "{case}"
        );
    }
    assert!(testbed.captures().len() >= cases.len());
    // The same search finds the name where it is shown.
    let open = checker(&testbed, encrypted_dns_aside());
    let origin = testbed.url("nominal").unwrap().parse().unwrap();
    open.check(&origin).await;
    assert!(names(&testbed, "nominal") >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_alone_under_its_public_name_is_told_and_one_among_others_is_not() {
    let testbed = Testbed::builder()
        .only(["nominal", "hrr", "no-record"])
        .start()
        .await
        .unwrap();
    let selection = ProbeSelection::default();
    let checker = checker(&testbed, selection.clone());
    let mut reports = Vec::new();
    for case in testbed.cases() {
        reports.push(checker.check(&case.url.parse().unwrap()).await);
    }
    anonymity(&mut reports, &selection);
    let alone = |report: &HostReport| ids(report).contains("ECH-ANONYMITY-SET-OF-ONE");
    assert!(!reports.iter().any(alone));
    let mut two = [reports[0].clone(), reports[2].clone()];
    anonymity(&mut two, &selection);
    assert!(alone(&two[0]) && !alone(&two[1]));
    assert!(ids(&reports[0]).contains("ECH-DNS-IN-THE-CLEAR"));
    assert_eq!(reports[0].worst(), Some(Severity::Note));
    let mut one = [reports[0].clone()];
    anonymity(&mut one, &selection);
    assert!(!alone(&one[0]));
}

#[tokio::test]
async fn what_is_no_ech_deployment_is_refused_before_any_query() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let checker = checker(&testbed, ProbeSelection::default());
    for url in ["https://127.0.0.1", "http://nominal.ech.test"] {
        let report = checker.check(&url.parse().unwrap()).await;
        let error = report.error.unwrap();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.message.starts_with(url), "{error}");
        assert!(report.findings.is_empty() && report.dns.is_none());
    }
    assert!(FindingId::ALL.len() > 40);
}
