//! What a case is: a published deployment, a server, and how a correct client ends there.
//!
//! The `Expected…` types repeat words of echkit's report on purpose: reports are held against
//! them, so that a word that changes there does not change here with it.

use serde::{Deserialize, Serialize};

use crate::configs::KeySpec;
use crate::dns::Fault;
use crate::zone::{DataSpec, Owner, Param, RecordSpec, Target, ZoneRecord};

/// One deployment of the testbed, as it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Case {
    /// The case's name, and the first label of its host.
    pub name: String,
    /// One sentence on what it is.
    pub about: String,
    /// The host that a client is asked to hide.
    pub host: String,
    /// The URL to fetch.
    pub url: String,
    /// The same at further hosts of the case: `h1.CASE.ech.test` and so on. None, unless
    /// [`Builder::more_hosts`](crate::Builder::more_hosts) asks for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_urls: Vec<String>,
    /// The port of the case's server on loopback.
    pub port: u16,
    /// The name that the case's ECHConfigs show to the network.
    pub public_name: String,
    /// What the DNS says, in presentation form.
    #[serde(serialize_with = "presentation")]
    pub zone: Vec<ZoneRecord>,
    /// The outcome expected of a correct client in each mode.
    pub expect: Expectations,
}

fn presentation<S: serde::Serializer>(zone: &[ZoneRecord], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(zone.iter().map(ToString::to_string))
}

/// The outcomes of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Expectations {
    /// With ECH where the record offers it.
    pub prefer: Expected,
    /// With ECH or not at all.
    pub require: Expected,
    /// In place of `prefer`, for a client whose ClientHelloOuter offers TLS 1.2: where the server
    /// answers with it, authenticated for the public_name, such a client may take ECH for securely
    /// disabled (RFC 9849 §6.1.6). Absent where the version makes no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer_with_tls12: Option<Expected>,
}

/// What a correct client reports of one fetch. Field names are those of the client's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Expected {
    /// The exit code of `ech get`.
    pub exit_code: u8,
    /// `dns.https`.
    pub https: ExpectedHttps,
    /// `ech.status`.
    pub status: ExpectedStatus,
    /// `ech.source`.
    pub source: ExpectedSource,
    /// `ech.retries`.
    pub retries: u32,
    /// The status of the HTTP response, when there is one.
    pub http_status: Option<u16>,
    /// What the server says of the connection that carried the response.
    pub server: Option<ServerWord>,
    /// `tls.hello_retry` of the connection that carried the response.
    pub hello_retry: bool,
    /// No byte that the client sends over TLS may show the host's name.
    pub hidden: bool,
    /// No byte at all goes to the server.
    pub silent: bool,
}

/// `dns.https` of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExpectedHttps {
    /// There are HTTPS records.
    Found,
    /// There are none.
    None,
    /// The query had no answer.
    Failed,
    /// The record set is malformed.
    Malformed,
}

/// `ech.status` of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExpectedStatus {
    /// No `encrypted_client_hello` extension was sent.
    NotOffered,
    /// A GREASE extension was sent (RFC 9849 §6.2).
    Grease,
    /// The server took the inner hello.
    Accepted,
    /// The server refused, and no connection came of it.
    Rejected,
    /// The server, authenticated for the public name, does not do ECH (RFC 9849 §6.1.6).
    Disabled,
    /// Offered, and the handshake ended before it was accepted.
    Failed,
}

/// `ech.source` of the report: where the ECHConfig came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExpectedSource {
    /// An HTTPS record.
    Dns,
    /// The server's retry_configs.
    Retry,
    /// Nowhere: no ECHConfig was used.
    None,
}

/// `ech.status` of a server's status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerWord {
    /// The inner hello was opened and used.
    Accepted,
    /// An offer, or GREASE, that no key opens.
    Rejected,
    /// The hello had no `encrypted_client_hello`.
    NotOffered,
    /// This server knows nothing of ECH.
    Off,
}

impl Expected {
    /// ECH from the record, accepted at once.
    pub(crate) const ACCEPTED: Self = Self {
        exit_code: 0,
        https: ExpectedHttps::Found,
        status: ExpectedStatus::Accepted,
        source: ExpectedSource::Dns,
        retries: 0,
        http_status: Some(200),
        server: Some(ServerWord::Accepted),
        hello_retry: false,
        hidden: true,
        silent: false,
    };

    /// Rejected once, then accepted with the server's retry_configs.
    pub(crate) const RETRIED: Self = Self {
        source: ExpectedSource::Retry,
        retries: 1,
        ..Self::ACCEPTED
    };

    /// No usable ECHConfig: a page, under GREASE.
    pub(crate) const GREASE: Self = Self {
        status: ExpectedStatus::Grease,
        source: ExpectedSource::None,
        server: Some(ServerWord::Rejected),
        hidden: false,
        ..Self::ACCEPTED
    };

    /// Switched off by a server that proved its public_name: a page, without ECH.
    pub(crate) const DISABLED: Self = Self {
        status: ExpectedStatus::Disabled,
        source: ExpectedSource::None,
        server: Some(ServerWord::Off),
        hidden: false,
        ..Self::ACCEPTED
    };

    /// Nothing sent, since ECH is required and unavailable.
    pub(crate) const REFUSED: Self = Self {
        exit_code: exit::ECH_REQUIRED,
        https: ExpectedHttps::Found,
        status: ExpectedStatus::NotOffered,
        source: ExpectedSource::None,
        retries: 0,
        http_status: None,
        server: None,
        hello_retry: false,
        hidden: true,
        silent: true,
    };

    /// Offered, and no page came of it.
    pub(crate) const fn broken(exit_code: u8, status: ExpectedStatus) -> Self {
        Self {
            exit_code,
            status,
            source: ExpectedSource::Dns,
            silent: false,
            ..Self::REFUSED
        }
    }

    pub(crate) const fn https(self, https: ExpectedHttps) -> Self {
        Self { https, ..self }
    }

    pub(crate) const fn server(self, word: ServerWord) -> Self {
        Self {
            server: Some(word),
            ..self
        }
    }

    pub(crate) const fn hello_retry(self) -> Self {
        self.with_hello_retry(true)
    }

    /// The same with or without a HelloRetryRequest: a client that has met the server before sends
    /// the key share that it asked for.
    #[must_use]
    pub const fn with_hello_retry(self, hello_retry: bool) -> Self {
        Self {
            hello_retry,
            ..self
        }
    }
}

/// Exit codes of `ech get`, which are curl's.
pub(crate) mod exit {
    pub(crate) const NAME: u8 = 6;
    pub(crate) const TIMEOUT: u8 = 28;
    pub(crate) const TLS: u8 = 35;
    pub(crate) const PROXY_TUNNEL: u8 = 56;
    pub(crate) const CERTIFICATE: u8 = 60;
    pub(crate) const PROXY: u8 = 97;
    pub(crate) const ECH_REQUIRED: u8 = 101;
}

/// One row of the table: a case before ports are bound and keys are made.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) url_port: UrlPort,
    pub(crate) records: Vec<RecordSpec>,
    pub(crate) keys: Vec<KeySpec>,
    pub(crate) server: ServerSpec,
    /// What the DNS does with questions for the host's HTTPS records instead of answering.
    pub(crate) fault: Option<Fault>,
    pub(crate) expect: Expectations,
}

/// Which port the URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UrlPort {
    /// The server's.
    Server,
    /// None, which is 443: only the record leads to the server.
    Default,
}

/// How a case's server behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerSpec {
    pub(crate) ech: Ech,
    pub(crate) public_certificate: PublicCertificate,
    pub(crate) versions: Versions,
    pub(crate) groups: Groups,
    pub(crate) alpn: &'static [&'static str],
    pub(crate) ipv6: Ipv6,
}

/// What a server does at `::1`, where the machine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    /// Nothing listens there.
    None,
    /// The same as at 127.0.0.1.
    Served,
    /// Connections are never answered.
    BlackHole,
}

/// What a server knows of ECH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ech {
    /// Opens hellos with the case's keys.
    Keys,
    /// Makes a new key for each connection, as a farm whose machines disagree would look.
    NewKeyEachTime,
    /// Ignores the extension.
    Off,
}

/// The certificate under which a server rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublicCertificate {
    /// Valid for the public name.
    Good,
    /// Valid, for another name.
    OtherName,
    /// For the public name, and signed by an untrusted root.
    OtherRoot,
    /// For the public name, and expired.
    Expired,
}

/// TLS versions of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// 1.3 and 1.2.
    All,
    /// 1.2 only, which has no ECH.
    Tls12,
}

/// Key exchange groups of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// What the TLS library likes.
    All,
    /// P-384, for which clients send no key share unasked: HelloRetryRequest.
    P384,
}

impl ServerSpec {
    pub(crate) const NOMINAL: Self = Self {
        ech: Ech::Keys,
        public_certificate: PublicCertificate::Good,
        versions: Versions::All,
        groups: Groups::All,
        alpn: &["h2", "http/1.1"],
        ipv6: Ipv6::None,
    };
}

impl Spec {
    /// A case that is nominal but for what follows.
    pub(crate) fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            url_port: UrlPort::Server,
            records: vec![RecordSpec {
                owner: Owner::Origin,
                data: DataSpec::Addresses,
            }],
            keys: Vec::new(),
            server: ServerSpec::NOMINAL,
            fault: None,
            expect: Expectations {
                prefer: Expected::ACCEPTED,
                require: Expected::ACCEPTED,
                prefer_with_tls12: None,
            },
        }
    }

    pub(crate) fn key(mut self, key: KeySpec) -> Self {
        self.keys.push(key);
        self
    }

    /// Replaces the records that every case starts with: the addresses of its host.
    pub(crate) fn no_addresses(mut self) -> Self {
        self.records.clear();
        self
    }

    pub(crate) fn record(mut self, owner: Owner, data: DataSpec) -> Self {
        self.records.push(RecordSpec { owner, data });
        self
    }

    /// A ServiceMode record of the case's host.
    pub(crate) fn service(self, priority: u16, params: impl Into<Vec<Param>>) -> Self {
        let params = params.into();
        let data = DataSpec::Service {
            priority,
            target: Target::Owner,
            params,
        };
        self.record(Owner::Origin, data)
    }

    pub(crate) fn server(mut self, server: ServerSpec) -> Self {
        self.server = server;
        self
    }

    pub(crate) fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    pub(crate) fn url_port(mut self, url_port: UrlPort) -> Self {
        self.url_port = url_port;
        self
    }

    pub(crate) fn expect(mut self, prefer: Expected, require: Expected) -> Self {
        self.expect.prefer = prefer;
        self.expect.require = require;
        self
    }

    /// Another outcome for clients that offer TLS 1.2 outside.
    pub(crate) fn expect_with_tls12(mut self, prefer: Expected) -> Self {
        self.expect.prefer_with_tls12 = Some(prefer);
        self
    }
}
