//! `ech trace`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use echkit::policy::EchMode;

use super::family_args::FamilyArgs;
use super::network_args::NetworkArgs;
use super::proxy_args::ProxyArgs;
use super::seconds::seconds;

/// Show what an eavesdropper sees of a visit to a URL
///
/// Connects and asks for the head of the page, as `ech get -I` does. Each ClientHello is laid out
/// field by field as it was sent, beside the ClientHelloInner that was sealed in it, with the
/// server's answers, and whether the name could be read: in TLS, and in DNS. Exit codes are those of
/// `ech get`; the trace is printed also when the connection fails.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// An https:// or http:// URL; a bare host means https://
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// off, grease, prefer or require, as for `ech get`
    #[arg(
        long,
        value_name = "MODE",
        default_value = "prefer",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["off", "grease", "prefer", "require"])
            .try_map(|mode| mode.parse::<EchMode>())
    )]
    pub(crate) ech: EchMode,

    /// Offer this ECHConfigList instead of the record's, in the forms that `ech get` takes
    #[arg(long, value_name = "LIST", value_hint = ValueHint::Other)]
    pub(crate) ech_config: Option<String>,

    /// Show NAME in the outer hello instead of the config's public_name
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Hostname)]
    pub(crate) outer_sni: Option<String>,

    /// Do not connect again when the server rejects ECH
    #[arg(long)]
    pub(crate) no_retry: bool,

    /// Write the trace to FILE as a page of HTML that needs nothing else
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,

    /// Write the connections to FILE as a capture (pcapng) with their secrets, readable by its owner
    /// only. TCP and IP headers are synthesised
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pcap: Option<PathBuf>,

    /// The width of the text; that of the terminal, or 80, without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(80..=400))]
    pub(crate) columns: Option<u16>,

    /// Use ADDRESS for HOST, or for every host where it is *; HTTPS records still count
    #[arg(
        long,
        value_name = "HOST:PORT:ADDRESS[,ADDRESS]",
        allow_hyphen_values = true
    )]
    pub(crate) resolve: Vec<String>,

    /// Connect to HOST2:PORT2 for HOST1:PORT1, as for `ech get`
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2")]
    pub(crate) connect_to: Vec<String>,

    #[command(flatten)]
    pub(crate) proxies: ProxyArgs,

    #[command(flatten)]
    pub(crate) family: FamilyArgs,

    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) max_time: Duration,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
