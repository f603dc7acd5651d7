//! What a client did at a case, from the bytes that it sent, the server's word and its exit status.

use std::time::Duration;

use echkit_proto::hello::{ClientHello, EchExtension, HelloReader};
use serde::Serialize;

use crate::capture::Capture;
use crate::capture::Served;
use crate::case::{Case, Expected, ServerWord};
use crate::error::TestbedError;
use crate::testbed::{Testbed, unknown_case};

/// How long connections of a client that has ended may take to end.
const SETTLE: Duration = Duration::from_secs(20);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// What a client did at one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientVerdict {
    /// What a correct client does.
    Right,
    /// No page came of it, where a correct client gets one.
    GaveUp,
    /// It went on without ECH, or with a page, where a correct client must not.
    FellBack,
    /// It used retry_configs that it must not use, or tried more often than it may.
    WrongRetry,
    /// It did not offer the ECHConfig of the record.
    NoEch,
    /// It offered ECH, and the host's name could be read all the same.
    Leaked,
}

impl ClientVerdict {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::GaveUp => "gave up",
            Self::FellBack => "fell back",
            Self::WrongRetry => "wrong retry",
            Self::NoEch => "no ECH",
            Self::Leaked => "leaked",
        }
    }
}

impl std::fmt::Display for ClientVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Judgement {
    /// The case.
    pub case: String,
    /// What the client did.
    pub verdict: ClientVerdict,
    /// Whether the host's name could be read in what it sent, where it has to be hidden.
    pub name_shown: bool,
    /// Connections that it made to the case's server.
    pub connections: usize,
    /// Connections that began with a real offer: an ECH extension under another name than the
    /// host's.
    pub offers: usize,
    /// What the server says of the connections on which it served a request.
    pub served: Vec<ServerWord>,
    /// How the client's process ended; `null` when it was ended for taking too long, or by a signal.
    pub exit_code: Option<i32>,
    /// Why, in a sentence.
    pub why: String,
}

impl Testbed {
    /// Judges what a client has done at a case since [`clear_captures`](Self::clear_captures). Its
    /// process has ended, with `exit_code`. Waits until its connections have ended too.
    ///
    /// A client is right when it does what is expected of one in mode `prefer`, or in `require`.
    /// Which exit status a failure has is its own affair.
    ///
    /// # Errors
    ///
    /// When no such case is served.
    pub async fn judge(
        &self,
        case: &str,
        exit_code: Option<i32>,
    ) -> Result<Judgement, TestbedError> {
        let Some(case) = self.case(case) else {
            let known = self.cases().iter().map(|case| case.name.as_str());
            return Err(unknown_case(case, known));
        };
        let of_case = || {
            let mut captures = self.captures();
            captures.retain(|capture| capture.case == case.name);
            captures
        };
        let settled = async {
            while of_case().iter().any(|capture| !capture.ended) {
                tokio::time::sleep(GLANCE).await;
            }
        };
        // What a connection that stays open has shown counts all the same.
        let _ = tokio::time::timeout(SETTLE, settled).await;
        let mut served = self.served();
        served.retain(|served| served.case == case.name);
        Ok(judge(case, &of_case(), &served, exit_code))
    }
}

/// What was seen of the client.
struct Observed<'a> {
    case: &'a Case,
    captures: &'a [Capture],
    /// The first ClientHello of each connection that had one.
    hellos: Vec<ClientHello>,
    /// What the server says of the connections on which it served a request.
    served: Vec<ServerWord>,
    /// How many connections it accepted ECH on.
    accepted: usize,
    exit_code: Option<i32>,
    name_shown: bool,
}

pub(crate) fn judge(
    case: &Case,
    captures: &[Capture],
    served: &[Served],
    exit_code: Option<i32>,
) -> Judgement {
    let accepted = |served: &&Served| served.ech.status == ServerWord::Accepted;
    let with_request = served.iter().filter(|served| served.requests > 0);
    let observed = Observed {
        case,
        captures,
        hellos: captures.iter().filter_map(first_hello).collect(),
        served: with_request.map(|served| served.ech.status).collect(),
        accepted: served.iter().filter(accepted).count(),
        exit_code,
        name_shown: captures.iter().any(|capture| capture.contains(&case.host)),
    };
    let expect = &case.expect;
    let acceptable = [
        Some(expect.prefer),
        Some(expect.require),
        expect.prefer_with_tls12,
    ];
    let right = acceptable.into_iter().flatten().any(|e| observed.meets(&e));
    let (verdict, why) = match right {
        true => (ClientVerdict::Right, observed.as_expected()),
        false => observed.fault(&expect.prefer),
    };
    Judgement {
        case: case.name.clone(),
        verdict,
        name_shown: !right && observed.name_shown && expect.prefer.hidden,
        connections: captures.len(),
        offers: observed.offers(),
        served: observed.served,
        exit_code,
        why,
    }
}

impl Observed<'_> {
    fn offers(&self) -> usize {
        let offers = |hello: &&ClientHello| {
            let shown = hello.server_name().unwrap_or_default();
            has_ech(hello) && !shown.eq_ignore_ascii_case(&self.case.host)
        };
        self.hellos.iter().filter(offers).count()
    }

    fn succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }

    fn accepted(&self) -> bool {
        self.served.contains(&ServerWord::Accepted)
    }

    /// Whether the client tried more often than it may. Connections on which its ECH was accepted do
    /// not count: browsers open several for one page.
    fn too_many(&self, expected: &Expected) -> bool {
        /// Each try at both addresses, and a spare connection to each.
        const AT_ONCE: usize = 4;
        self.refused() > (expected.retries as usize + 1) * AT_ONCE
    }

    /// Offers that the server did not accept.
    fn refused(&self) -> usize {
        self.offers().saturating_sub(self.accepted)
    }

    /// Whether this is what `expected` says.
    fn meets(&self, expected: &Expected) -> bool {
        if expected.hidden && self.name_shown || self.too_many(expected) {
            return false;
        }
        if expected.silent {
            let sent = self
                .captures
                .iter()
                .any(|capture| !capture.bytes.is_empty());
            return !sent && !self.succeeded();
        }
        match expected.http_status {
            None => !self.succeeded() && self.served.is_empty(),
            Some(_) => {
                let accepted = expected.server == Some(ServerWord::Accepted);
                self.succeeded() && !self.served.is_empty() && (!accepted || self.accepted())
            }
        }
    }

    fn as_expected(&self) -> String {
        match (self.served.last(), self.captures.is_empty()) {
            (Some(ServerWord::Accepted), _) => "a page, with ECH accepted",
            (Some(_), _) => "a page without ECH, rightly",
            (None, true) => "nothing sent: the command failed",
            (None, false) => "no page: the command failed",
        }
        .to_owned()
    }

    /// What is wrong, where a correct client does what `expected` says.
    fn fault(&self, expected: &Expected) -> (ClientVerdict, String) {
        let offered = self.offers() > 0;
        if expected.hidden && self.name_shown {
            let in_sni = self.hellos.iter().any(|hello| {
                let shown = hello.server_name().unwrap_or_default();
                shown.eq_ignore_ascii_case(&self.case.host)
            });
            return match (offered, in_sni) {
                (true, true) => (
                    ClientVerdict::FellBack,
                    "offered ECH, then connected under the host's name".to_owned(),
                ),
                (true, false) => (
                    ClientVerdict::Leaked,
                    "offered ECH, and the host's name was readable beside it".to_owned(),
                ),
                (false, _) => (
                    ClientVerdict::NoEch,
                    "connected under the host's name, which the record lets it hide".to_owned(),
                ),
            };
        }
        if self.too_many(expected) {
            let why = format!("{} offers were not accepted", self.refused());
            return (ClientVerdict::WrongRetry, why);
        }
        if expected.http_status.is_none() && !self.served.is_empty() {
            return match (self.accepted(), self.offers() > 1) {
                (true, true) => (
                    ClientVerdict::WrongRetry,
                    "used retry_configs that nothing authenticated".to_owned(),
                ),
                (true, false) => (
                    ClientVerdict::FellBack,
                    "used a record that it has to pass over".to_owned(),
                ),
                (false, _) => (
                    ClientVerdict::FellBack,
                    "asked for a page where the handshake has to fail".to_owned(),
                ),
            };
        }
        if expected.http_status.is_none() {
            let why = "the command succeeded where it has to fail".to_owned();
            return (ClientVerdict::FellBack, why);
        }
        let accepted = expected.server == Some(ServerWord::Accepted);
        if accepted && !self.served.is_empty() && !self.accepted() {
            let why = "got a page, but not with ECH".to_owned();
            return (ClientVerdict::FellBack, why);
        }
        if accepted && !offered && !self.captures.is_empty() {
            return (ClientVerdict::NoEch, "made no offer".to_owned());
        }
        let why = match (self.exit_code, self.served.is_empty()) {
            (None, _) => "took too long, or was ended by a signal".to_owned(),
            (Some(0), _) => "the command succeeded without a page".to_owned(),
            (Some(code), true) => format!("no page; the command ended with {code}"),
            (Some(code), false) => format!("the server sent a page; the command ended with {code}"),
        };
        (ClientVerdict::GaveUp, why)
    }
}

fn has_ech(hello: &ClientHello) -> bool {
    matches!(hello.ech(), Ok(Some(EchExtension::Outer(_))))
}

fn first_hello(capture: &Capture) -> Option<ClientHello> {
    let (_, message) = HelloReader::default().read(&capture.bytes).ok()?;
    ClientHello::parse(message?).ok()
}
