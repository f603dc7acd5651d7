//! Which kind of addresses a command connects to.

use clap::Args;
use echkit::policy::AddressFamily;

#[derive(Debug, Args)]
pub(crate) struct FamilyArgs {
    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(crate) ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,
}

impl FamilyArgs {
    /// The kind that was asked for.
    pub(crate) fn chosen(&self) -> AddressFamily {
        match (self.ipv4, self.ipv6) {
            (true, _) => AddressFamily::V4,
            (_, true) => AddressFamily::V6,
            _ => AddressFamily::Any,
        }
    }
}
