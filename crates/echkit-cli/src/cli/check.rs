//! `ech check` and `ech explain`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::family_args::FamilyArgs;
use super::network_args::NetworkArgs;
use super::seconds::seconds;

/// Check how sites deploy ECH: what is wrong, and what to do
///
/// Looks up the HTTPS records of each host, and connects to every address that they lead to: with
/// the published key, with a key that the server cannot have, through a HelloRetryRequest, for the
/// page / and for sessions to resume, and, unless --private is given, with GREASE, without ECH, by
/// TLS 1.2 and without TLS, which show the host's name. Authoritative DNS servers are asked one by
/// one, which shows it too.
///
/// Exits with 0 when nothing was found at --fail-on or above, with 1 when something was, else as
/// `ech get` does when a host could not be checked (6: its records could not be looked up, 28:
/// --max-time ran out); with 130 after Ctrl-C, when what was done is printed.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A host, HOST:PORT or an https URL; several are checked at once
    #[arg(value_hint = ValueHint::Hostname, required_unless_present = "batch")]
    pub(crate) hosts: Vec<String>,

    /// Check the hosts in this file too, one a line; what follows a # is passed over; - is standard
    /// input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) batch: Option<PathBuf>,

    /// Check this many hosts at the same time
    #[arg(short, long, value_name = "N", default_value = "4")]
    pub(crate) jobs: NonZeroUsize,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// Leave out the probes that show the host's name in the clear: authoritative, grease, plain,
    /// tls12 and http. DNS queries show it unless --dns is an encrypted resolver
    #[arg(long)]
    pub(crate) private: bool,

    /// Only these probes or findings: records, configs, public-name, key, rejection, hello-retry,
    /// alpn, page, origin-svcb, resumption, public-site, authoritative, grease, plain, tls12, http,
    /// batch, or ids such as ECH-KEY-REJECTED
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// All but these probes or findings
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,

    /// Exit with 1 for findings of this severity and above
    #[arg(long, value_name = "SEVERITY", default_value = "error")]
    pub(crate) fail_on: FailOn,

    /// Give a host up after this many seconds, with what was found by then
    #[arg(short, long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) max_time: Duration,

    /// Give a connection up after this many seconds: TCP and TLS each
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) connect_timeout: Duration,

    /// The port of authoritative DNS servers
    #[arg(long, value_name = "PORT", default_value_t = 53)]
    pub(crate) ns_port: u16,

    /// Ask hosts without TLS at this port; by default at 80 where the host's port is 443, else not
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,

    /// Write the connections to FILE as a capture (pcapng) with their secrets, readable by its owner
    /// only. TCP and IP headers are synthesised
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pcap: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) family: FamilyArgs,

    /// Use ADDRESS for HOST, or for every host where it is *; HTTPS records still count
    #[arg(
        long,
        value_name = "HOST:PORT:ADDRESS[,ADDRESS]",
        allow_hyphen_values = true
    )]
    pub(crate) resolve: Vec<String>,

    /// Write one page of HTML to FILE as well, for a browser
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// From which severity on `ech check` exits with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Errors alone
    Error,
    /// Warnings too
    Warning,
    /// Advice too
    Advice,
    /// Never for findings
    Never,
}

/// Explain a finding of `ech check`
///
/// Without an id, lists all findings.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Such as ECH-KEY-REJECTED
    pub(crate) id: Option<String>,

    /// Print all explanations as one Markdown page
    #[arg(long, conflicts_with_all = ["id", "json"])]
    pub(crate) markdown: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
