//! Flags of `ech convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// Convert an ECH key between servers' forms
///
/// KEY is a PEM file (RFC 9934), which nginx, HAProxy, lighttpd and `openssl ech` read, or a key of
/// Caddy's: the folder ech/configs/ID in its storage, or a file in it. A site that moves from one
/// server to another keeps the key that its record publishes.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The key to read
    #[arg(value_name = "KEY", value_hint = ValueHint::AnyPath)]
    pub(crate) key: PathBuf,

    /// The form to write
    #[arg(long, value_name = "FORM")]
    pub(crate) to: KeyForm,

    /// pem: the file, readable by its owner only; without it, the PEM goes to stdout. caddy: the
    /// directory of Caddy's storage
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,

    /// Replace the file, or the key of Caddy's with the same config_id, if it exists
    #[arg(long, requires = "output")]
    pub(crate) force: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a server keeps its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyForm {
    /// One file with private key and ECHConfigList (RFC 9934)
    Pem,
    /// A folder in Caddy's storage
    Caddy,
}
