//! Flags about DNS and trust, shared by commands that use the network.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use echkit::dns::DiscoverEncrypted;

/// Where names are looked up and whom to trust: shared by commands that use the network.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// The resolver: system, ADDRESS[:PORT], udp://ADDRESS:PORT, tcp://ADDRESS:PORT,
    /// tls://HOST#ADDRESS (DNS over TLS), quic://HOST#ADDRESS (DNS over QUIC),
    /// https://HOST/PATH#ADDRESS (DNS over HTTPS) or h3://HOST/PATH#ADDRESS (the same over HTTP/3);
    /// ADDRESS saves looking HOST up. A PATH that ends in {?dns} has queries sent by GET instead of
    /// POST
    #[arg(long, value_name = "URI", env = "ECHKIT_DNS", default_value = "system")]
    pub(crate) dns: String,

    /// Ask system, udp:// and tcp:// resolvers for their encrypted form (RFC 9462), and use that.
    /// off: do not ask; try: use the resolver in the clear if none can be verified;
    /// require: fail then
    #[arg(
        long,
        value_name = "MODE",
        env = "ECHKIT_DDR",
        default_value = "off",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["off", "try", "require"])
            .try_map(|mode| mode.parse::<DiscoverEncrypted>())
    )]
    pub(crate) ddr: DiscoverEncrypted,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
}
