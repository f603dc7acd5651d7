//! What one connection offered, showed and got.
//!
//! Every connection yields a [`Report`], whether it succeeds or not. Its JSON form is stable:
//! fields may be added, never renamed. Outer SNI and ALPN are read back from the bytes that were
//! sent, never copied from what was intended.

use std::time::Duration;

use echkit_proto::client::{ConfigSource, SeenHello};
use serde::Serialize;

pub use crate::discover::DnsReport;
use crate::policy::EchMode;

/// The version of the JSON shape.
pub const REPORT_VERSION: u32 = 1;

/// What one connection offered, showed and got.
///
/// Responses, connections and errors have one. Its fields are there to be read, and it serializes
/// to the JSON that `ech get --json` prints.
///
/// ```
/// use echkit::report::EchStatus;
/// use echkit::{EchMode, Report};
///
/// /// Whether the name of the site stayed hidden.
/// fn hidden(report: &Report) -> bool {
///     report.ech.status == EchStatus::Accepted
/// }
///
/// let not_begun = Report::new("https://www.example", EchMode::Prefer);
/// assert!(!hidden(&not_begun));
/// println!("{}: {}", not_begun.origin, not_begun.ech.status);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// The origin: scheme, host and, where it is not the default, port.
    pub origin: String,
    /// The URL asked for, if there was one.
    pub url: Option<String>,
    /// The proxy that the connection goes through, as a URI without credentials.
    pub proxy: Option<String>,
    /// What DNS said; `None` where it was not asked (a literal address, a fixed endpoint).
    pub dns: Option<DnsReport>,
    /// Encrypted Client Hello.
    pub ech: EchReport,
    /// Whether the connection was made for an earlier request: what is said about DNS, ECH and TLS
    /// is about that one.
    pub reused: bool,
    /// Every attempt to connect, in the order of their start.
    pub attempts: Vec<AttemptReport>,
    /// The TLS session; `None` until a handshake was finished.
    pub tls: Option<TlsReport>,
    /// Durations.
    pub timings_ms: Timings,
    /// Bytes on the wire, of all attempts together, inside the tunnel where there is a proxy; on a
    /// reused connection, since the request.
    pub bytes: Bytes,
    /// What went wrong, in one line.
    pub error: Option<String>,
}

impl Report {
    /// A report about a connection that has not begun.
    pub fn new(origin: impl Into<String>, mode: EchMode) -> Self {
        Self {
            version: REPORT_VERSION,
            origin: origin.into(),
            url: None,
            proxy: None,
            dns: None,
            ech: EchReport::new(mode),
            reused: false,
            attempts: Vec::new(),
            tls: None,
            timings_ms: Timings::default(),
            bytes: Bytes::default(),
            error: None,
        }
    }
}

/// What became of Encrypted Client Hello on one connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EchReport {
    /// What the caller asked for.
    pub mode: EchMode,
    /// How it ended.
    pub status: EchStatus,
    /// Where the ECHConfig that was last offered came from.
    pub source: EchSource,
    /// The `config_id` in the last hello (RFC 9849 §5).
    pub config_id: Option<u8>,
    /// The public_name of the config that was last offered.
    pub public_name: Option<String>,
    /// The HPKE suite in the last hello, such as `x25519,hkdf-sha256,aes-128-gcm`.
    pub suite: Option<String>,
    /// The name inside the encrypted hello.
    pub inner_sni: Option<String>,
    /// The name that an eavesdropper read in the last hello.
    pub outer_sni: Option<String>,
    /// The application protocols that an eavesdropper read in the last hello.
    pub outer_alpn: Option<Vec<String>>,
    /// Connections made with retry configs after a rejection (RFC 9849 §6.1.6).
    pub retries: u32,
    /// The ECHConfigList that an authenticated server sent on rejection, in base64.
    pub retry_configs: Option<String>,
    /// What the caller should know although it was not an error.
    pub warnings: Vec<String>,
}

impl EchReport {
    pub(crate) fn new(mode: EchMode) -> Self {
        Self {
            mode,
            status: EchStatus::NotOffered,
            source: EchSource::None,
            config_id: None,
            public_name: None,
            suite: None,
            inner_sni: None,
            outer_sni: None,
            outer_alpn: None,
            retries: 0,
            retry_configs: None,
            warnings: Vec::new(),
        }
    }
}

/// How Encrypted Client Hello ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EchStatus {
    /// No `encrypted_client_hello` extension was sent.
    NotOffered,
    /// A GREASE extension was sent (RFC 9849 §6.2).
    Grease,
    /// The server accepted the offer.
    Accepted,
    /// An authenticated server rejected the offer and no connection came of it.
    Rejected,
    /// An authenticated server rejected the offer without usable means to try again, and the
    /// connection went on without ECH (RFC 9849 §6.1.6).
    Disabled,
    /// Offered, and ended before acceptance; or the rejection was not authenticated.
    Failed,
}

impl EchStatus {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotOffered => "not_offered",
            Self::Grease => "grease",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for EchStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an ECHConfig came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EchSource {
    /// There was none.
    None,
    /// An HTTPS record (RFC 9848).
    Dns,
    /// The caller.
    Manual,
    /// The server's own retry configs (RFC 9849 §6.1.6).
    Retry,
    /// Retry configs of an earlier connection.
    Cache,
    /// Retry configs asked for on purpose.
    Learned,
}

impl EchSource {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Dns => "dns",
            Self::Manual => "manual",
            Self::Retry => "retry",
            Self::Cache => "cache",
            Self::Learned => "learned",
        }
    }
}

impl From<ConfigSource> for EchSource {
    fn from(source: ConfigSource) -> Self {
        match source {
            ConfigSource::Dns => Self::Dns,
            ConfigSource::Manual => Self::Manual,
            ConfigSource::Retry => Self::Retry,
            ConfigSource::Cache => Self::Cache,
            ConfigSource::Learned => Self::Learned,
        }
    }
}

impl std::fmt::Display for EchSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One attempt to connect to one address.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AttemptReport {
    /// Address and port, behind the proxy where there is one; the name and the port where the proxy
    /// looks it up.
    pub address: String,
    /// The application protocol that was agreed on, if it came to that.
    pub protocol: Option<String>,
    /// When it began, counted from the start of the connection.
    pub started_ms: f64,
    /// When it ended.
    pub ended_ms: Option<f64>,
    /// How it ended.
    pub result: AttemptResult,
    /// Why it failed.
    pub error: Option<String>,
    /// The ClientHellos that were sent: one, or two after a HelloRetryRequest.
    pub hellos: Vec<HelloReport>,
}

/// What an eavesdropper could read in one ClientHello, from the bytes that were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HelloReport {
    /// The name in its SNI.
    pub outer_sni: Option<String>,
    /// The application protocols that it offers.
    pub outer_alpn: Option<Vec<String>>,
    /// Its `config_id`, where it has an `encrypted_client_hello` extension, GREASE included.
    pub config_id: Option<u8>,
    /// The HPKE suite in that extension.
    pub suite: Option<String>,
}

impl From<&SeenHello> for HelloReport {
    fn from(seen: &SeenHello) -> Self {
        Self {
            outer_sni: seen.outer_sni.clone(),
            outer_alpn: seen.outer_alpn.clone(),
            config_id: seen.config_id,
            suite: seen.suite.clone(),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptResult {
    /// It became the connection.
    Won,
    /// It failed, or led to a retry.
    Failed,
    /// Another attempt was faster, or the time was up.
    Cancelled,
}

/// A finished TLS handshake.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TlsReport {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: String,
    /// The cipher suite by its IANA name.
    pub cipher_suite: String,
    /// The key exchange group by its IANA name; unknown for a resumed TLS 1.2 session.
    pub group: Option<String>,
    /// The application protocol that was agreed on.
    pub alpn: Option<String>,
    /// Whether the session was resumed from a ticket.
    pub resumed: bool,
    /// Whether the server sent a HelloRetryRequest (RFC 8446 §4.1.4).
    pub hello_retry: bool,
    /// The server's certificate.
    pub certificate: Option<CertificateReport>,
}

/// What a report says about the server's certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CertificateReport {
    /// The names and addresses that it is valid for.
    pub subject_alt_names: Vec<String>,
    /// The end of its validity (RFC 3339).
    pub not_after: String,
}

impl CertificateReport {
    /// Reads a certificate in DER; `None` if it is not an X.509 certificate.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let subject_alt_names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|extension| {
                extension
                    .value
                    .general_names
                    .iter()
                    .filter_map(alternative_name)
                    .collect()
            })
            .unwrap_or_default();
        let not_after =
            time::OffsetDateTime::from_unix_timestamp(certificate.validity().not_after.timestamp())
                .ok()?
                .format(&time::format_description::well_known::Rfc3339)
                .ok()?;
        Some(Self {
            subject_alt_names,
            not_after,
        })
    }
}

fn alternative_name(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Durations in milliseconds; `None` for a step that did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// From the start until DNS had said enough for the first attempt, or all that it had to say.
    pub dns: Option<f64>,
    /// TCP, of the attempt that won, and the way through the proxy.
    pub tcp: Option<f64>,
    /// The TLS handshake, of the attempt that won.
    pub tls: Option<f64>,
    /// From the request's first byte to the response's first.
    pub first_byte: Option<f64>,
    /// From the start to the end: of the connection's set-up, or of the response.
    pub total: f64,
}

/// Bytes on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bytes {
    /// From us.
    pub sent: u64,
    /// To us.
    pub received: u64,
}

/// A duration as a report shows it: milliseconds, to the microsecond.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
