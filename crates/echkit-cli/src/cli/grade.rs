//! `ech grade`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::case_name::CaseName;
use super::seconds::seconds;

/// Judge another client: run it once for each case of the testbed, and see what it did
///
/// COMMAND is run with these replaced: {url}, {host}, {port}: what to fetch; {dns}: the testbed's
/// resolver (udp://ADDRESS:PORT); {doh}: the same over HTTPS, and {doh_port}; {ca}: a file with the
/// CA to trust; {address}, {endpoint_port} and {ech}: where the records lead to, and their
/// ECHConfigList in base64, for clients that look nothing up; {ech} is empty where there is none.
///
/// The verdict rests on the bytes that the client sent, on the server's word, and on the exit
/// status: 0 has to mean that the page came. Exits with 0 when the client is right in every case,
/// with 1 when not.
#[derive(Debug, Args)]
pub(crate) struct GradeArgs {
    /// A command line that is known, in place of COMMAND
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    pub(crate) recipe: Option<Recipe>,

    /// The program that a recipe runs, where it is not in PATH
    #[arg(long, value_name = "FILE", requires = "recipe", value_hint = ValueHint::ExecutablePath)]
    pub(crate) program: Option<PathBuf>,

    /// Run these cases only
    #[arg(
        long,
        value_name = "CASE",
        value_delimiter = ',',
        hide_possible_values = true,
        value_parser = CaseName
    )]
    pub(crate) only: Vec<String>,

    /// End the command after this many seconds: it then gave up. 20, and 100 for Firefox
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) max_time: Option<Duration>,

    /// Keep what passed in each case in DIR/CASE.pcapng. The client's secrets are not in it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) captures: Option<PathBuf>,

    /// Print a table in Markdown
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,

    /// Write the table to FILE as a page of HTML that needs nothing else
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// The client, and its arguments
    #[arg(
        last = true,
        value_name = "COMMAND",
        required_unless_present = "recipe"
    )]
    pub(crate) command: Vec<String>,
}

/// Command lines of known clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recipe {
    /// ech get
    Ech,
    /// curl, over the testbed's DNS over HTTPS; with --ech where it has that
    Curl,
    /// libcurl over BoringSSL, of the Python package curl_cffi, told the records' ECHConfigList
    CurlCffi,
    /// openssl s_client of OpenSSL 4, told the records' ECHConfigList
    Openssl,
    /// The Go program of interop/peers, told the records' ECHConfigList
    Go,
    /// NSS's tstclnt, told the records' ECHConfigList; needs certutil
    Nss,
    /// Chromium, headless, over the testbed's DNS over HTTPS; needs certutil
    Chromium,
    /// Firefox, headless, over the testbed's DNS over HTTPS; needs certutil and Python
    Firefox,
    /// The Python package niquests with rtls
    Niquests,
    /// Python's urllib
    Python,
}
