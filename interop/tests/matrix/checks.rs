//! What `ech check` finds at a peer that stands in for the server of a testbed case: nothing where
//! it is set up well, and the right fault where it is not.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use echkit::dns::{Resolver, ResolverOptions};
use echkit::tls::{ClientTls, Trust};
use echkit_check::{Checker, ProbeSelection};
use echkit_interop::{Peer, Running};
use echkit_testbed::{Blueprint, Testbed};
use tokio::runtime::Runtime;

use crate::cell::{Cell, Lab, Outcome, PEERS};
use crate::testbed::{stand_in_with, text};

/// A server that was put in the place of another.
pub(crate) trait StandIn {
    /// What it printed, for the reader of a failure.
    fn words(&self) -> String;
}

impl StandIn for Running {
    fn words(&self) -> String {
        self.output()
    }
}

/// By case: what is found, whichever the peer.
const CASES: [(&str, &[&str]); 7] = [
    ("minimal", &[]),
    ("http11-only", &[]),
    ("nominal", &[]),
    ("hrr", &[]),
    ("stale", &["ECH-KEY-REJECTED"]),
    (
        "stale-wrong-name",
        &["ECH-KEY-REJECTED", "ECH-PUBLIC-NAME-CERTIFICATE"],
    ),
    ("disabled", &["ECH-DISABLED"]),
];

/// Advice and notes about the page and the sessions of every peer, where the key is accepted: pages
/// without HSTS, and tickets that are taken whatever the name.
pub(crate) const OF_EVERY_PEER: [&str; 2] = ["ECH-HSTS-MISSING", "ECH-RESUMED-ACROSS-NAMES"];

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (case, expected) in CASES {
        for peer in PEERS {
            let name = format!("check_{peer}_server::{case}");
            cells.push(Cell::new(name, move |lab| {
                run(lab, peer, case, true, expected)
            }));
        }
    }
    // Go without `SendAsRetry`, and what is the same for OpenSSL.
    for peer in PEERS {
        let name = format!("check_{peer}_server::without_retry_configs");
        cells.push(Cell::new(name, move |lab| {
            run(lab, peer, "minimal", false, &["ECH-RETRY-MISSING"])
        }));
    }
    cells
}

fn run(lab: &Lab, peer: Peer, case: &str, retry: bool, expected: &[&str]) -> Outcome {
    let mut expected: BTreeSet<&str> = expected.iter().copied().collect();
    if !expected.contains("ECH-KEY-REJECTED") && !expected.contains("ECH-DISABLED") {
        expected.extend(OF_EVERY_PEER);
    }
    if peer == Peer::OpenSsl {
        // The peer is told to speak TLS 1.3 alone. That is a note.
        expected.insert("ECH-TLS12-CUT-OFF");
        // It speaks HTTP/1.1 alone, so that records which list HTTP/2 are wrong for it.
        if ["nominal", "hrr"].contains(&case) {
            expected.insert("ECH-ALPN-NOT-SPOKEN");
        }
    }
    finds(case, &expected, |blueprint| {
        let at = stand_in_with(lab, peer, blueprint, retry)?;
        Ok((at.address, at))
    })
}

/// Puts a server in the place of the case's own and checks it: `expected` are all the findings.
pub(crate) fn finds<S>(
    case: &str,
    expected: &BTreeSet<&str>,
    start: impl FnOnce(&Blueprint) -> Result<(SocketAddr, S), String>,
) -> Outcome
where
    S: StandIn,
{
    let runtime = Runtime::new().map_err(text)?;
    runtime.block_on(async {
        let builder = Testbed::builder().only([case]);
        let testbed = builder.start().await.map_err(text)?;
        let blueprint = testbed.blueprint(case).map_err(text)?;
        let (address, at) = start(&blueprint)?;
        testbed.hand_over(case, address).map_err(text)?;
        let options = ResolverOptions::default();
        let resolver = Resolver::from_uri(&testbed.dns_uri(), &options).map_err(text)?;
        let trust = Trust::certificates([testbed.ca_der()]).map_err(text)?;
        let selection = ProbeSelection::default();
        let checker = Checker::builder()
            .tls(ClientTls::builder().trust(trust))
            .resolver(resolver)
            .selection(selection.with_skip("ECH-DNS-IN-THE-CLEAR").map_err(text)?)
            .build()
            .map_err(text)?;
        let url = testbed.url(case).ok_or("the case is served")?;
        let report = checker.check(&url.parse().map_err(text)?).await;
        let found: BTreeSet<&str> = report.findings.iter().map(|f| f.id.as_str()).collect();
        match found == *expected && report.error.is_none() {
            true => Ok(()),
            false => Err(format!("{report:#?}\n{}", at.words())),
        }
    })
}
