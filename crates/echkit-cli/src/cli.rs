//! The command line, flags documented where they are defined.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use echkit_proto::hpke::{Kem, SymmetricSuite};

/// Encrypted Client Hello: fetch, look up, decode, make keys, and try it on loopback.
///
/// Exit codes are curl's where curl has one: 0 it worked, 1 a check failed, 2 usage, 3 bad URL,
/// 6 name not resolved, 7 no connection, 23 and 26 files not written or read, 28 time-out,
/// 35 TLS failed, 47 too many redirects, 56 HTTP failed, 60 certificate not trusted, 61 input is
/// not what it should be, 77 CA file not usable, 101 ECH required and not had.
#[derive(Debug, Parser)]
#[command(name = "ech", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// How often `-v` was given.
    pub(crate) fn verbosity(&self) -> u8 {
        0
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Decode(DecodeArgs),
    Keygen(KeygenArgs),
    Testbed(TestbedArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page (roff)
    Man,
}

impl Command {
    /// Whether JSON was asked for.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Decode(args) => args.json,
            Self::Keygen(args) => args.json,
            Self::Testbed(args) => args.json,
            Self::Completions(_) | Self::Man => false,
        }
    }
}

/// What `ech decode` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecodeKind {
    /// Find out
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
/// ECHConfigList: base64, hex, PEM or binary. HTTPS record: presentation form ("1 . ech=…") or
/// RFC 3597 ("\# 10 0001…"). ClientHello: hex, base64 or binary, with or without its TLS record.
#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The value; @FILE reads a file, - (the default) standard input
    #[arg(default_value = "-", allow_hyphen_values = true)]
    pub(crate) input: String,

    /// What it is
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) kind: DecodeKind,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make an ECH key
///
/// Writes a PEM file (RFC 9934) with the private key and the ECHConfigList, as `openssl ech` does.
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

    /// x25519, p256, p384, p521 or x-wing
    #[arg(long, value_name = "KEM", default_value = "x25519")]
    pub(crate) kem: Kem,

    /// KDF,AEAD such as hkdf-sha256,aes-128-gcm (the default); may be given more than once,
    /// preferred first
    #[arg(long, value_name = "KDF,AEAD")]
    pub(crate) suite: Vec<SymmetricSuite>,

    /// The config_id; random without it
    #[arg(long, value_name = "0-255")]
    pub(crate) config_id: Option<u8>,

    /// The longest name that clients shall pad for; 0 leaves it to them
    #[arg(long, value_name = "0-255", default_value_t = 0)]
    pub(crate) max_name_length: u8,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run an ECH internet on loopback: DNS, a CA, and servers, good, odd and broken
#[derive(Debug, Args)]
pub(crate) struct TestbedArgs {
    /// List the cases with what a correct client must come to, and exit
    #[arg(long)]
    pub(crate) list: bool,

    /// Serve only these cases
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Use the same ports every time, from this one on: DNS at PORT, DNS over HTTPS at PORT + 1
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Write the CA's certificate (PEM) here instead of to a temporary file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Print one JSON document when everything serves
    #[arg(long)]
    pub(crate) json: bool,
}

/// The shell to complete for.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    pub(crate) shell: clap_complete::Shell,
}
