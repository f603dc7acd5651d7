//! Flags of the records that publish a key.

use clap::Args;
use clap::ValueHint;

/// The record that publishes a key.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Print the whole HTTPS record of this site; may be given more than once
    #[arg(long, value_name = "HOST[:PORT]", value_hint = ValueHint::Hostname)]
    pub(crate) site: Vec<String>,

    /// The protocols that the site speaks beside http/1.1, for its record, such as h2
    #[arg(long, value_name = "ID[,ID]", value_delimiter = ',', requires = "site")]
    pub(crate) alpn: Vec<String>,

    /// For how many seconds resolvers keep the record: a key that is replaced must open hellos for
    /// at least as long
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=2_147_483_647)
    )]
    pub(crate) ttl: u32,
}
