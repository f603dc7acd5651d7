//! Flags of `ech route`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Forward TLS connections to the servers of their names, which ECH hides
///
/// The client-facing server of split mode: it opens ClientHellos with the ECH keys, and forwards
/// each to the backend of the name inside; it needs no certificate. Other hellos go by the name in
/// the clear, else to the server of the public name. With several backends, --config FILE says the
/// same and more in TOML. SIGHUP reads names and backends again, changed keys are loaded by
/// themselves, SIGUSR1 opens the log again, and SIGTERM finishes what has begun.
#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// Read everything but the log from this TOML file
    #[arg(
        short,
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = [
            "listen", "keys", "public", "inner_name", "outer_name", "send_proxy", "accept_proxy"
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

    /// The server of the public name. It has the same ECH keys, and sends the retry_configs
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        required_unless_present = "config"
    )]
    pub(crate) public: Option<String>,

    /// The backend of a name that ECH hides, or of all names below *.NAME; several addresses are
    /// taken in turn. May be given more than once
    #[arg(short = 'n', long, value_name = "NAME=HOST:PORT[,HOST:PORT]")]
    pub(crate) inner_name: Vec<String>,

    /// The server of a name in the clear, in place of the public name's. May be given more than once
    #[arg(long, value_name = "NAME=HOST:PORT[,HOST:PORT]")]
    pub(crate) outer_name: Vec<String>,

    /// Tell the backends of --inner-name the client's address, in a PROXY protocol header (version 2)
    #[arg(long)]
    pub(crate) send_proxy: bool,

    /// Expect a PROXY protocol header (version 2) before each hello; only where none but the load
    /// balancer can connect
    #[arg(long)]
    pub(crate) accept_proxy: bool,

    /// Write a line of JSON for each connection that has ended to FILE; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) access_log: Option<PathBuf>,

    /// Log the names that ECH hides too, and the backends that tell them
    #[arg(long, requires = "access_log")]
    pub(crate) log_inner_names: bool,

    /// Say all that is wrong with the configuration and the keys, a line each, and exit: with 1 when
    /// something is
    #[arg(long)]
    pub(crate) check: bool,

    /// With --check, print one JSON document
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
}
