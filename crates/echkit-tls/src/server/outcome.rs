//! What became of a client's ECH offer.

use std::fmt;

use echkit_proto::hello::ClientHello;
use echkit_proto::hpke::Suite;
use echkit_proto::server::RejectReason;
use rustls_pki_types::DnsName;

/// What became of the ECH offer of one connection.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EchOutcome {
    /// The client did not offer ECH.
    NotOffered,
    /// The inner hello was opened and answered.
    Accepted {
        /// The config_id of the key that opened it.
        config_id: u8,
        /// The HPKE suite.
        suite: Suite,
        /// The name inside: the site that the client asked for.
        inner_sni: Option<String>,
        /// The name outside.
        outer_sni: Option<String>,
    },
    /// No key opened the offer: GREASE, or a key that this server has not. The outer hello was
    /// answered, exactly as without ECH.
    Rejected {
        /// The name outside: the site that was served.
        outer_sni: Option<String>,
        /// Why the offer was not opened.
        reason: RejectReason,
        /// Whether retry_configs were sent.
        retry_configs: bool,
    },
    /// As a backend server: a client-facing server had opened the hello.
    Backend {
        /// The name inside.
        inner_sni: Option<String>,
    },
}

/// Shows everything but the names that ECH hides.
impl fmt::Debug for EchOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("NotOffered"),
            Self::Accepted {
                config_id,
                suite,
                outer_sni,
                ..
            } => f
                .debug_struct("Accepted")
                .field("config_id", config_id)
                .field("suite", suite)
                .field("outer_sni", outer_sni)
                .finish_non_exhaustive(),
            Self::Rejected {
                outer_sni,
                reason,
                retry_configs,
            } => f
                .debug_struct("Rejected")
                .field("outer_sni", outer_sni)
                .field("reason", reason)
                .field("retry_configs", retry_configs)
                .finish(),
            Self::Backend { .. } => f.debug_struct("Backend").finish_non_exhaustive(),
        }
    }
}

/// The host name that a hello asks for, checked to be a DNS name and in lower case: what a server may
/// look up, log or show. `None` when there is none, or none that is a DNS name.
pub(super) fn dns_name(hello: &ClientHello) -> Option<String> {
    let name = DnsName::try_from(hello.server_name()?).ok()?;
    Some(name.as_ref().to_ascii_lowercase())
}
