//! The `dns` object of a connection report.

use echkit_proto::config::{self, EchConfigList};
use serde::Serialize;

use super::{Discovery, RecordVerdict};

/// What discovery found, in the form that reports have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DnsReport {
    /// The URI of the resolver that was used.
    pub resolver: String,
    /// The proxy that queries went through, as a URI without credentials.
    pub proxy: Option<String>,
    /// Whether the name was hidden from the network in DNS.
    pub protected: bool,
    /// The owner name asked for its HTTPS records; `null` when none was.
    pub query_name: Option<String>,
    /// Targets of the AliasMode records that were followed.
    pub aliases: Vec<String>,
    /// `found`, `none`, `failed` or `malformed`.
    pub https: &'static str,
    /// The records of the last name asked.
    pub records: Vec<RecordReport>,
    /// Whether the client had to stay within the records.
    pub svcb_reliant: bool,
    /// Whether an `http` URL was to be fetched as `https`.
    pub https_upgrade: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One HTTPS record in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecordReport {
    /// SvcPriority.
    pub priority: u16,
    /// TargetName, `.` included.
    pub target: String,
    /// The `port` parameter.
    pub port: Option<u16>,
    /// The `alpn` parameter; octets that are not printable ASCII are escaped.
    pub alpn: Vec<String>,
    /// Whether `no-default-alpn` is there.
    pub no_default_alpn: bool,
    /// The `ipv4hint` parameter.
    pub ipv4hint: Vec<String>,
    /// The `ipv6hint` parameter.
    pub ipv6hint: Vec<String>,
    /// The ECHConfigList in base64.
    pub ech: Option<String>,
    /// Whether the record is compatible: whether an endpoint came of it.
    pub usable: bool,
    /// The configs in `ech`.
    pub configs: Vec<ConfigReport>,
    /// Why the record is not compatible.
    pub why_not: Option<String>,
}

/// One ECHConfig in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConfigReport {
    /// Its id, where its version is one that has ids.
    pub config_id: Option<u8>,
    /// Why it cannot be used.
    pub why_not: Option<String>,
}

impl From<&Discovery> for DnsReport {
    fn from(discovery: &Discovery) -> Self {
        Self {
            resolver: discovery.resolver.clone(),
            proxy: discovery.proxy.as_ref().map(ToString::to_string),
            protected: discovery.protected,
            query_name: discovery.query_name.as_ref().map(ToString::to_string),
            aliases: discovery.aliases.iter().map(ToString::to_string).collect(),
            https: discovery.https.as_str(),
            records: discovery.records.iter().map(RecordReport::from).collect(),
            svcb_reliant: discovery.svcb_reliant,
            https_upgrade: discovery.https_upgrade,
            warnings: discovery.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&RecordVerdict> for RecordReport {
    fn from(verdict: &RecordVerdict) -> Self {
        let params = &verdict.record.params;
        Self {
            priority: verdict.record.priority,
            target: verdict.record.target.to_string(),
            port: params.port,
            alpn: params
                .alpn
                .iter()
                .map(|id| id.escape_ascii().to_string())
                .collect(),
            no_default_alpn: params.no_default_alpn,
            ipv4hint: params.ipv4hint.iter().map(ToString::to_string).collect(),
            ipv6hint: params.ipv6hint.iter().map(ToString::to_string).collect(),
            ech: params.ech.as_ref().map(EchConfigList::to_base64),
            usable: verdict.why_not.is_none(),
            configs: verdict.configs().iter().map(ConfigReport::from).collect(),
            why_not: verdict.why_not.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&config::ConfigVerdict> for ConfigReport {
    fn from(verdict: &config::ConfigVerdict) -> Self {
        Self {
            config_id: verdict.config_id,
            why_not: verdict.why_not.as_ref().map(ToString::to_string),
        }
    }
}
