//! Why a testbed could not start.

use std::io;
use std::net::SocketAddr;

/// Why a testbed could not start, each with the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// A case was asked for that the table does not have.
    #[error("no case is named `{name}`; {}", advice(nearest))]
    UnknownCase {
        /// The name asked for.
        name: String,
        /// The few names that look most like it.
        nearest: Vec<String>,
    },

    /// A port is taken, or may not be bound.
    #[error("cannot listen on {address} for {what}: {error}; choose other ports, or free ones")]
    Bind {
        /// What would have been served there.
        what: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },

    /// Stable ports would run past 65535.
    #[error("ports from {first} do not fit: {needed} are needed below 65536")]
    Ports {
        /// The first port asked for.
        first: u16,
        /// How many ports the chosen cases need.
        needed: usize,
    },

    /// A certificate could not be made.
    #[error("cannot make a certificate for {name}: {reason}")]
    Certificate {
        /// The certificate's name.
        name: String,
        /// What the certificate library said.
        reason: String,
    },

    /// A TLS configuration was refused.
    #[error("cannot set up TLS for {name}: {error}")]
    Tls {
        /// The server's case, or the resolver.
        name: String,
        /// What rustls said.
        error: rustls::Error,
    },

    /// A case's zone data makes no sense: a mistake in the table.
    #[error("the zone data of case `{case}` is wrong: {reason}")]
    Zone {
        /// The case.
        case: String,
        /// What is wrong with it.
        reason: String,
    },

    /// ECH keys could not be made.
    #[error("cannot make the ECH keys of case `{case}`: {reason}")]
    Key {
        /// The case.
        case: String,
        /// What went wrong.
        reason: String,
    },
}

fn advice(nearest: &[String]) -> String {
    match nearest.is_empty() {
        true => "`ech testbed --list` names them all".to_owned(),
        false => format!("did you mean {}?", nearest.join(" or ")),
    }
}
