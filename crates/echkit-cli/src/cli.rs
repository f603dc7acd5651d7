//! The command line, flags documented where they are defined.

mod case_name;
pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod curl_flags;
pub(crate) mod examples;
pub(crate) mod family_args;
pub(crate) mod grade;
pub(crate) mod network_args;
pub(crate) mod not_there;
pub(crate) mod proxy_args;
pub(crate) mod publish;
pub(crate) mod record;
pub(crate) mod rotate;
pub(crate) mod route;
mod seconds;
pub(crate) mod serve;
pub(crate) mod trace;

use std::path::PathBuf;
use std::time::Duration;

use case_name::CaseName;
use check::{CheckArgs, ExplainArgs};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use convert::ConvertArgs;
use curl_flags::CurlArgs;
use echkit::policy::EchMode;
use echkit_proto::hpke::{Kem, SymmetricSuite};
use family_args::FamilyArgs;
use grade::GradeArgs;
use network_args::NetworkArgs;
use proxy_args::ProxyArgs;
use publish::PublishArgs;
use record::RecordArgs;
use rotate::RotateArgs;
use route::RouteArgs;
use seconds::seconds;
use serve::ServeArgs;
use trace::TraceArgs;

/// Encrypted Client Hello: fetch, look up, decode, make and publish keys, and try it on loopback.
///
/// Exit codes are curl's where curl has one: 0 it worked, 1 a check failed, 2 usage, 3 bad URL,
/// 5 proxy not resolved, 6 name not resolved, 7 no connection, 22 -f and an error status, 23 and 26
/// files not written or read, 28 time-out, 33 -C and a server that cannot resume, 35 TLS failed, 45
/// address that cannot be listened on, 47 too many redirects, 56 HTTP or CONNECT failed, 60 certificate not trusted, 61 input or a
/// compressed body is malformed, 63 body too long for --json, 77 CA file not usable,
/// 97 SOCKS5 failed, or the proxy would learn a name that ECH may hide, 101 ECH required and
/// unavailable or not accepted, 130 ended by Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "ech", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// How often `-v` was given.
    pub(crate) fn verbosity(&self) -> u8 {
        match &self.command {
            Command::Get(args) => args.verbose,
            _ => 0,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Get(Box<GetArgs>),
    Lookup(LookupArgs),
    Trace(Box<TraceArgs>),
    Check(Box<CheckArgs>),
    Explain(ExplainArgs),
    Grade(Box<GradeArgs>),
    Decode(DecodeArgs),
    Cache(CacheArgs),
    Keygen(KeygenArgs),
    Convert(ConvertArgs),
    Rotate(Box<RotateArgs>),
    Publish(Box<PublishArgs>),
    Route(Box<RouteArgs>),
    Serve(Box<ServeArgs>),
    Testbed(TestbedArgs),
    Demo(DemoArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one page per command into a directory
    Man(ManArgs),
}

impl Command {
    /// Whether JSON was asked for.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Get(args) => args.json,
            Self::Lookup(args) => args.json,
            Self::Trace(args) => args.json,
            Self::Check(args) => args.json,
            Self::Explain(args) => args.json,
            Self::Grade(args) => args.json,
            Self::Decode(args) => args.json,
            Self::Cache(args) => args.json,
            Self::Keygen(args) => args.json,
            Self::Convert(args) => args.json,
            Self::Rotate(args) => args.json,
            Self::Publish(args) => args.json,
            Self::Route(args) => args.json,
            Self::Serve(args) => args.json,
            Self::Testbed(args) => args.json,
            Self::Demo(args) => args.json,
            Self::Completions(_) | Self::Man(_) => false,
        }
    }
}

/// Fetch a URL over ECH
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to fetch: https:// or http://; a bare host means https://
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// off: no ECH; grease: a look-alike only; prefer: ECH where it is published, else a
    /// look-alike; require: ECH accepted by the server, or an error before the name is shown
    #[arg(
        long,
        value_name = "MODE",
        default_value = "prefer",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["off", "grease", "prefer", "require"])
            .try_map(|mode| mode.parse::<EchMode>())
    )]
    pub(crate) ech: EchMode,

    /// Offer this ECHConfigList instead of the record's: base64, hex, PEM, an `ech=` parameter or
    /// an HTTPS record, or @FILE with one of these or binary
    #[arg(long, value_name = "LIST", value_hint = ValueHint::Other)]
    pub(crate) ech_config: Option<String>,

    /// Show NAME in the outer hello instead of the config's public_name
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Hostname)]
    pub(crate) outer_sni: Option<String>,

    /// Ask a server without ECHConfig in DNS for its own; this shows the name once, as a look-alike
    /// would
    #[arg(long, conflicts_with_all = ["no_retry", "ech_config"])]
    pub(crate) learn: bool,

    /// Keep servers' retry configs in this file, and use them while they hold; the file tells which
    /// sites were visited, and is created readable by its owner only
    #[arg(long, value_name = "FILE", env = "ECHKIT_ECH_CACHE")]
    pub(crate) ech_cache: Option<PathBuf>,

    /// Do not connect again when the server rejects ECH
    #[arg(long)]
    pub(crate) no_retry: bool,

    /// Write the connection's report (JSON) to FILE; - is stdout, and the body then needs -o
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Write the connections to FILE as a capture (pcapng) with their secrets, readable by its owner
    /// only. TCP and IP headers are synthesised
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pcap: Option<PathBuf>,

    /// Print one JSON document with report and response to stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the body to FILE; - is stdout, also for binary bodies on a terminal
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write the body to a file named like the last part of the URL that was given
    #[arg(short = 'O', long, conflicts_with = "output")]
    pub(crate) remote_name: bool,

    /// Print the response's head before the body
    #[arg(short, long)]
    pub(crate) include: bool,

    /// Ask for the head only, and print it
    #[arg(short = 'I', long)]
    pub(crate) head: bool,

    /// Follow redirects
    #[arg(short = 'L', long)]
    pub(crate) location: bool,

    /// Follow at most N redirects
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) max_redirs: usize,

    /// The request's method
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) request: Option<String>,

    /// A request header, as "Name: value"; "Name;" sends it empty, "Name:" leaves a default one
    /// out; may be given more than once
    #[arg(short = 'H', long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,

    #[command(flatten)]
    pub(crate) curl: CurlArgs,

    /// Send JSON (or @FILE, of at most 16 MiB) as the body, with POST
    #[arg(
        long,
        value_name = "JSON",
        conflicts_with_all = ["data", "data_binary", "data_raw", "data_urlencode"]
    )]
    pub(crate) json_body: Option<String>,

    /// No progress bar, no warnings and no error line
    #[arg(short, long)]
    pub(crate) silent: bool,

    /// With -s, print the error line all the same
    #[arg(short = 'S', long)]
    pub(crate) show_error: bool,

    /// Tell on stderr what happened, with the heads of requests (>) and responses (<), credentials
    /// and cookies left out; twice and more: logs of the library
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(flatten)]
    pub(crate) family: FamilyArgs,

    /// Use ADDRESS for HOST, or for every host where it is *; HTTPS records still count. -HOST:PORT
    /// takes one back
    #[arg(
        long,
        value_name = "HOST:PORT:ADDRESS[,ADDRESS]",
        allow_hyphen_values = true
    )]
    pub(crate) resolve: Vec<String>,

    /// Connect to HOST2:PORT2 for HOST1:PORT1; of the HTTPS records of HOST1 only the ECHConfigs
    /// count, unless --ech-config gives some. An empty HOST1 or PORT1 is every one, an empty HOST2 or PORT2 keeps it, and the first that fits holds
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2")]
    pub(crate) connect_to: Vec<String>,

    #[command(flatten)]
    pub(crate) proxies: ProxyArgs,

    /// The proxy may know the names of hosts, those that ECH hides included: it looks them up, and
    /// --dns is asked for HTTPS records alone
    #[arg(long)]
    pub(crate) proxy_resolves: bool,

    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) max_time: Option<Duration>,

    /// Give up connecting (DNS, TCP and TLS together) after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) connect_timeout: Option<Duration>,

    /// Speak HTTP/1.1 only
    #[arg(long = "http1.1", conflicts_with = "http2")]
    pub(crate) http1: bool,

    /// Speak HTTP/2 only (over TLS)
    #[arg(long)]
    pub(crate) http2: bool,

    /// Ask for a compressed body, and decompress it
    #[arg(long)]
    pub(crate) compressed: bool,
}

/// Show or clear the retry configs that are kept in a file
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// show: what is kept, and for how long; clear: forget all of it
    pub(crate) action: CacheAction,

    /// The file that `ech get --ech-cache` keeps them in
    #[arg(long, value_name = "FILE", env = "ECHKIT_ECH_CACHE")]
    pub(crate) ech_cache: PathBuf,

    /// Print one JSON document to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with the cache.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CacheAction {
    Show,
    Clear,
}

/// Look up HTTPS records and the ECHConfigs in them
///
/// Exits with 0 when the look-up worked, whatever it found; with 1 when the records are malformed,
/// so that clients ignore them; with 6 when the look-up failed; and, with --require-ech, with 101
/// when clients find no ECHConfig that they can use.
#[derive(Debug, Args)]
pub(crate) struct LookupArgs {
    /// A host, HOST:PORT or a URL
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,

    /// Exit with 101 when clients find no usable ECHConfig, for monitors
    #[arg(long)]
    pub(crate) require_ech: bool,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    #[command(flatten)]
    pub(crate) proxies: ProxyArgs,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `ech decode` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecodeKind {
    /// Detect it
    Auto,
    /// An ECHConfigList, or a PEM file with one
    Config,
    /// An HTTPS record
    Record,
    /// A ClientHello
    Hello,
}

/// Decode an ECHConfigList, an HTTPS record or a ClientHello
///
/// ECHConfigList: base64, hex, PEM, an `ech=` parameter or binary, with or without the list's
/// length. HTTPS records: presentation form ("1 . ech=…"), RFC 3597 ("\# 10 0001…"), or the output
/// of dig, kdig, drill, delv and others, JSON and YAML included, several at once too. ClientHello: hex, base64 or binary,
/// with or without its TLS record.
#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The value; @FILE reads a file, - (the default) standard input
    #[arg(default_value = "-", allow_hyphen_values = true)]
    pub(crate) input: String,

    /// The kind of input
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) kind: DecodeKind,

    /// List the ClientHellos over TCP in a capture file (pcap or pcapng; - is standard input), each
    /// with what can be said of its ECH extension
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["input", "kind"])]
    pub(crate) pcap: Option<PathBuf>,

    /// With --pcap: open ECH offers with the secrets in FILE (SSLKEYLOGFILE), beside those in the
    /// capture
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "pcap")]
    pub(crate) keylog: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make an ECH key
///
/// Writes a PEM file (RFC 9934) with the private key and the ECHConfigList, as `openssl ech` does.
/// With -o, prints what to publish: the `ech` parameter, and for each --site the record as lines of
/// a zone file, in both forms, and as a script for nsupdate.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// The name that outer hellos show; the server needs a certificate for it
    pub(crate) public_name: String,

    /// Write to FILE, readable by its owner only, and print what to publish; without it, the
    /// PEM goes to stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    pub(crate) force: bool,

    /// x25519, p256, p384, p521 or x-wing. The last three cost a server much more work for every
    /// hello that names the key, before it knows anything about the client
    #[arg(
        long,
        value_name = "KEM",
        default_value = "x25519",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["x25519", "p256", "p384", "p521", "x-wing"])
            .try_map(|kem| kem.parse::<Kem>())
    )]
    pub(crate) kem: Kem,

    /// KDF,AEAD such as hkdf-sha256,aes-128-gcm (the default); may be given more than once,
    /// preferred first
    #[arg(long, value_name = "KDF,AEAD")]
    pub(crate) suite: Vec<SymmetricSuite>,

    /// The config_id; random without it
    #[arg(long, value_name = "0-255")]
    pub(crate) config_id: Option<u8>,

    /// The longest name that clients pad for (maximum_name_length); 0 leaves padding to the client
    #[arg(long, value_name = "0-255", default_value_t = 0)]
    pub(crate) max_name_length: u8,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run an ECH internet on loopback: DNS, a CA, and servers, good, odd and broken
#[derive(Debug, Args)]
pub(crate) struct TestbedArgs {
    /// List the cases and the proxies, each with the outcome expected of a correct client, and exit
    #[arg(long)]
    pub(crate) list: bool,

    /// Serve only these cases
    #[arg(
        long,
        value_name = "CASE",
        value_delimiter = ',',
        hide_possible_values = true,
        value_parser = CaseName
    )]
    pub(crate) only: Vec<String>,

    /// Serve N further hosts in each case, h1.CASE.ech.test to hN.CASE.ech.test, as the case's own host
    /// is served: for tests with many names. --json lists their URLs
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) more_hosts: u16,

    /// Use the same ports every time, from this one on: DNS at PORT, DNS over HTTPS at PORT + 1,
    /// captures over HTTP at PORT + 9, the cases' servers from PORT + 10, the proxies from PORT + 200
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Write the CA's certificate (PEM) here instead of to a temporary file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Run in the background: the command returns once everything serves, prints the process id, and
    /// exits with an error where it cannot start
    #[arg(long, conflicts_with = "list")]
    pub(crate) detach: bool,

    /// Write the process id to FILE, which is removed when the testbed ends; `kill $(cat FILE)` ends it
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub(crate) pid_file: Option<PathBuf>,

    /// What --detach starts.
    #[arg(long, hide = true, conflicts_with_all = ["list", "detach"])]
    pub(crate) detached: bool,

    /// Print one JSON document when everything serves
    #[arg(long)]
    pub(crate) json: bool,
}

/// See ECH hide a name: with and without, and what an eavesdropper read
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where manual pages go.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write ech.1, ech-get.1 and so on into DIR; without it, ech(1) goes to stdout
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

/// The shell to complete for.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    pub(crate) shell: clap_complete::Shell,
}
