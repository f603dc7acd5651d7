//! The proxies of a testbed: what each does, and the outcome expected of a correct client.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::case::exit;
use crate::proxy::{ProxyHabit, TestProxy};

/// A proxy of the testbed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProxyCase {
    /// Its name.
    pub name: String,
    /// One sentence on what it does.
    pub about: String,
    /// The ways in which it is spoken to.
    pub ways: Vec<ProxyWay>,
}

/// A way in which a proxy is spoken to, and the outcome of a fetch of the case `nominal` over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProxyWay {
    /// `http`, `https` or `socks5`.
    pub scheme: String,
    /// What `ech get -x` takes, with user and password where they are known; `None` where no
    /// testbed was started.
    pub uri: Option<String>,
    /// The exit code of `ech get`, in the modes prefer and require alike.
    pub exit_code: u8,
    /// The exit code with `--proxy-resolves`, by which the proxy is told names.
    pub exit_code_with_names: u8,
}

impl ProxyCase {
    /// The way of this scheme.
    pub fn way(&self, scheme: &str) -> Option<&ProxyWay> {
        self.ways.iter().find(|way| way.scheme == scheme)
    }
}

/// Every proxy that a testbed has, in the order of their ports.
pub fn proxy_list() -> Vec<ProxyCase> {
    proxy_table().iter().map(|spec| spec.case(None)).collect()
}

/// One row of the table.
pub(crate) struct ProxySpec {
    pub(crate) name: &'static str,
    about: &'static str,
    pub(crate) tls: ProxyTls,
    pub(crate) does: Does,
    /// Scheme, exit code, exit code with names.
    ways: Vec<(&'static str, u8, u8)>,
}

/// Whether a proxy is spoken to over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyTls {
    None,
    /// With a certificate of the testbed's authority.
    Trusted,
    /// With a certificate of an authority that is not trusted.
    Untrusted,
}

/// What a proxy does, before there are addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Habit(ProxyHabit),
    /// Leads to a server with another name.
    LeadsElsewhere,
    /// Leads there for names alone.
    LooksUpWrongly,
}

impl Does {
    pub(crate) fn habit(self, elsewhere: SocketAddr) -> ProxyHabit {
        match self {
            Self::Habit(habit) => habit,
            Self::LeadsElsewhere => ProxyHabit::LeadsTo(elsewhere),
            Self::LooksUpWrongly => ProxyHabit::LooksUpWrongly(elsewhere),
        }
    }
}

impl ProxySpec {
    pub(crate) fn case(&self, running: Option<&TestProxy>) -> ProxyCase {
        let uri = |scheme: &str| {
            let proxy = running?;
            Some(match self.does {
                Does::Habit(ProxyHabit::Password | ProxyHabit::PasswordInVain) => {
                    proxy.uri_with_credentials(scheme)
                }
                _ => proxy.uri(scheme),
            })
        };
        let way = |(scheme, exit_code, exit_code_with_names): &(&str, u8, u8)| ProxyWay {
            scheme: (*scheme).to_owned(),
            uri: uri(scheme),
            exit_code: *exit_code,
            exit_code_with_names: *exit_code_with_names,
        };
        ProxyCase {
            name: self.name.to_owned(),
            about: self.about.to_owned(),
            ways: self.ways.iter().map(way).collect(),
        }
    }
}

/// A proxy that is spoken to by HTTP and SOCKS5 at the same port, with its exit codes.
fn both(name: &'static str, about: &'static str, habit: ProxyHabit, codes: [u8; 2]) -> ProxySpec {
    let [http, socks] = codes;
    ProxySpec {
        name,
        about,
        tls: ProxyTls::None,
        does: Does::Habit(habit),
        ways: vec![("http", http, http), ("socks5", socks, socks)],
    }
}

impl ProxySpec {
    /// The same for HTTP alone.
    fn http(mut self) -> Self {
        self.ways.truncate(1);
        self
    }

    /// The same over TLS.
    fn tls(mut self, tls: ProxyTls) -> Self {
        self.tls = tls;
        self.ways.truncate(1);
        self.ways[0].0 = "https";
        self
    }

    /// The same with another exit code where the proxy is told names.
    fn with_names(mut self, code: u8) -> Self {
        for way in &mut self.ways {
            way.2 = code;
        }
        self
    }

    fn does(mut self, does: Does) -> Self {
        self.does = does;
        self
    }
}

/// The table. New rows come last: each has its port by its place.
pub(crate) fn proxy_table() -> Vec<ProxySpec> {
    use ProxyHabit::*;
    const OK: [u8; 2] = [0, 0];
    const REFUSED: [u8; 2] = [exit::PROXY_TUNNEL, exit::PROXY];
    const TLS: [u8; 2] = [exit::TLS, exit::TLS];
    const CERTIFICATE: [u8; 2] = [exit::CERTIFICATE, exit::CERTIFICATE];
    const TIME: [u8; 2] = [exit::TIMEOUT, exit::TIMEOUT];
    vec![
        both("open", "connects to where it is told", Open, OK),
        both("password", PASSWORD_ABOUT, Password, OK),
        both("tls", "the same over TLS", Open, OK).tls(ProxyTls::Trusted),
        both(
            "tls-untrusted",
            "over TLS, with a certificate of an unknown authority",
            Open,
            CERTIFICATE,
        )
        .tls(ProxyTls::Untrusted),
        both(
            "password-in-vain",
            "asks for a password each time, and accepts none",
            PasswordInVain,
            REFUSED,
        ),
        both(
            "forbids",
            "answers 403, and in SOCKS5 that it is not allowed",
            Refuses {
                status: 403,
                reply: 2,
            },
            REFUSED,
        ),
        both(
            "names-only",
            "connects to names, and refuses addresses",
            NamesOnly,
            REFUSED,
        )
        .with_names(0),
        both(
            "closes-at-once",
            "closes each connection when it is accepted",
            ClosesAtOnce,
            REFUSED,
        ),
        both(
            "closes-when-asked",
            "closes once it has read where to connect to",
            ClosesWhenAsked,
            REFUSED,
        ),
        both(
            "closes-mid-tunnel",
            "closes when the server's first bytes arrive",
            ClosesMidTunnel { after: 1 },
            TLS,
        ),
        both(
            "silent",
            "accepts connections and sends nothing",
            Silent,
            TIME,
        ),
        both(
            "slow",
            "takes half a second to answer",
            Slow(Duration::from_millis(500)),
            OK,
        ),
        both("drips", "passes one byte at a time", Drips, OK),
        both(
            "long-head",
            "sends three interim answers and a head of 20 KiB",
            LongHead,
            OK,
        )
        .http(),
        both(
            "endless-head",
            "sends a head that does not end",
            EndlessHead,
            REFUSED,
        )
        .http(),
        both(
            "talks-first",
            "sends bytes of the tunnel in the same segment as its answer",
            TalksFirst,
            [exit::PROXY_TUNNEL, exit::TLS],
        ),
        both(
            "not-a-proxy",
            "answers with the banner of an SSH server",
            Answers(b"SSH-2.0-OpenSSH_9.9\r\n"),
            REFUSED,
        ),
        both(
            "leads-elsewhere",
            "connects to another server than it is told",
            Open,
            CERTIFICATE,
        )
        .does(Does::LeadsElsewhere),
        both(
            "looks-up-wrongly",
            "connects to another server for names, and as told for addresses",
            Open,
            OK,
        )
        .does(Does::LooksUpWrongly)
        .with_names(exit::CERTIFICATE),
        both(
            "tampers",
            "changes a bit of what the server sends",
            Tampers,
            TLS,
        ),
    ]
}

const PASSWORD_ABOUT: &str = "the same for a user with the password in its URL";
