//! Flags of `ech serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Serve sites over HTTPS, their names hidden by ECH
///
/// Each site has its names, its certificate, and a directory or a server behind it; the public name
/// of the ECH keys is a site too. With several sites, --config FILE says the same and more in TOML.
/// SIGHUP reads the configuration again, changed certificates and keys are read by themselves,
/// SIGUSR1 opens the access log again, and SIGTERM finishes what has begun. Sockets that systemd
/// passes take the place of --listen.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Read everything from this TOML file
    #[arg(
        short,
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = [
            "listen", "keys", "site", "status_page", "public_name_only", "access_log", "metrics", "user"
        ]
    )]
    pub(crate) config: Option<PathBuf>,

    /// Listen here; may be given more than once. Without it, on port 443 of every address
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,

    /// The directory of the ECH keys, as `ech rotate` keeps it
    #[arg(
        short,
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        required_unless_present = "config"
    )]
    pub(crate) keys: Option<PathBuf>,

    /// A site: its names, cert=FILE, key=FILE unless the certificate's file has it, and root=DIR,
    /// proxy=URL (http://127.0.0.1:8080 or unix:/run/app.sock) or status. May be given more than once
    #[arg(
        short,
        long,
        value_name = "NAME,…,cert=FILE,…",
        required_unless_present = "config"
    )]
    pub(crate) site: Vec<String>,

    /// Tell visitors of every site what became of ECH, at /ech-status
    #[arg(long)]
    pub(crate) status_page: bool,

    /// Refuse clients without accepted ECH that ask for another site than the public name's
    #[arg(long)]
    pub(crate) public_name_only: bool,

    /// Add a line for each request to FILE (- is standard output), without the names that ECH hid
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) access_log: Option<PathBuf>,

    /// Write the access log as JSON, an object a line
    #[arg(long, requires = "access_log")]
    pub(crate) log_json: bool,

    /// Have the access log show the names that ECH hid
    #[arg(long, requires = "access_log")]
    pub(crate) log_inner_names: bool,

    /// Serve /metrics (for Prometheus) and /health here, over plain HTTP
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Become this user once the ports are bound
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username)]
    pub(crate) user: Option<String>,

    /// With --user: the group, in place of the user's own
    #[arg(long, value_name = "GROUP", requires = "user")]
    pub(crate) group: Option<String>,

    /// Say all that is wrong with the configuration and its files, a line each, and exit: with 1
    /// when something is
    #[arg(long)]
    pub(crate) check: bool,

    /// With --check, print one JSON document
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
}
