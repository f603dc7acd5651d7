//! Flags of `ech publish`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueHint};

use super::network_args::NetworkArgs;
use super::proxy_args::ProxyArgs;
use super::seconds::seconds;

/// Publish an ECHConfigList in the HTTPS records of a site
///
/// The records that are there are kept, and only their ech parameter changes. With --tsig they are
/// sent to the zone's primary server by a signed dynamic update (RFC 2136, RFC 8945), which
/// changes nothing if the records were edited meanwhile. Without it and without --exec they are
/// printed, as lines of a zone file and as a script for nsupdate. Before anything is sent, each
/// address that the records lead to must accept the list; ECH is required there, so that the
/// site's name is not shown.
///
/// Exits with 1 when the server refuses the update, or the records were edited meanwhile; 6 when a
/// name cannot be looked up; 7 when a server cannot be reached; 28 when --wait ended too early; and
/// 101 when a server does not accept the list.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").args(["keys", "ech_config", "rollback"]).required(true).multiple(true)))]
pub(crate) struct PublishArgs {
    /// The sites that share the list
    #[arg(value_name = "HOST[:PORT]", required = true, value_hint = ValueHint::Hostname)]
    pub(crate) site: Vec<String>,

    /// Publish the key that is published in this key directory, and keep there what a rollback
    /// needs
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) keys: Option<PathBuf>,

    /// The group of the key files may read private keys
    #[arg(long, requires = "keys")]
    pub(crate) group_readable: bool,

    /// Publish this ECHConfigList, in the forms that `ech get` takes. With --keys it must be that
    /// of a key there; the variable is what `ech rotate --publish-command` sets
    #[arg(
        long,
        value_name = "LIST",
        env = "ECH_CONFIG_LIST",
        hide_env_values = true,
        value_hint = ValueHint::Other,
        conflicts_with = "rollback"
    )]
    pub(crate) ech_config: Option<String>,

    /// Put back what was there before the last publishing, as the file of --state or --keys has
    /// it; a second time undoes the first
    #[arg(long)]
    pub(crate) rollback: bool,

    /// Keep what a rollback needs in this file; of one site
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,

    /// Send a dynamic update, signed with the key in this file: what tsig-keygen or keymgr -t
    /// prints, or a line ALGORITHM:NAME:SECRET
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tsig: Option<PathBuf>,

    /// Run this in a shell instead, with ECH_OWNER, ECH_ZONE, ECH_TTL, ECH_RECORDS (one a line, the
    /// value alone) and ECH_CONFIG_LIST in its environment: for DNS providers with an interface of
    /// their own
    #[arg(
        long,
        value_name = "COMMAND",
        conflicts_with = "tsig",
        value_hint = ValueHint::CommandString
    )]
    pub(crate) exec: Option<String>,

    /// The zone's primary server; without it, the one that the SOA record names
    #[arg(long, value_name = "HOST[:PORT]", value_hint = ValueHint::Hostname)]
    pub(crate) server: Option<String>,

    /// The port of the zone's name servers
    #[arg(long, value_name = "PORT", default_value_t = 53)]
    pub(crate) ns_port: u16,

    /// The TTL of the records; without it, that of those that are there, or 300
    #[arg(
        long,
        value_name = "SECONDS",
        env = "ECH_TTL",
        value_parser = clap::value_parser!(u32).range(0..=2_147_483_647)
    )]
    pub(crate) ttl: Option<u32>,

    /// The protocols that the site speaks beside http/1.1, such as h2, where it has no HTTPS record
    /// yet
    #[arg(long, value_name = "ID[,ID]", value_delimiter = ',')]
    pub(crate) alpn: Vec<String>,

    /// Do not check that the servers accept the list
    #[arg(long)]
    pub(crate) no_check: bool,

    /// Print the records instead of sending them
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Wait until every authoritative server and each --resolver shows the records
    #[arg(long)]
    pub(crate) wait: bool,

    /// A resolver that --wait waits for too, as a URI that --dns takes; may be given more than once
    #[arg(long, value_name = "URI", requires = "wait")]
    pub(crate) resolver: Vec<String>,

    /// Wait for this many seconds at the most
    #[arg(short, long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub(crate) max_time: Duration,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    #[command(flatten)]
    pub(crate) proxies: ProxyArgs,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
