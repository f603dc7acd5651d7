//! Encrypted Client Hello (RFC 9849) on stock rustls, without sockets or tasks.
//!
//! - [`client`]: makes rustls client connections that offer ECH, each with the guard that its
//!   outgoing hellos have to pass.
//! - [`hpke`]: our HPKE as rustls takes it.
//! - [`record_opener`]: opens received records in the caller's buffer, without rustls' two copies.
//! - [`server`]: the server side of ECH around an unpatched [`rustls::ServerConnection`].
//!
//! The crate `echkit` adds sockets, DNS and HTTP on tokio; the Python package drives this crate
//! over blocking sockets and memory BIOs.

//!
//! # Logs
//!
//! This crate logs no names. rustls may: with its feature `logging`, which is on by default and
//! which any crate in the build can turn on, rustls 0.23 names the host in a debug event of
//! `rustls::client::hs` and in a trace event of `rustls::client::ech`. Programs that hide names log
//! `rustls` at `info` and above, or depend on it without that feature. A warning is logged once,
//! through the crate `log`, when a real offer is made while those events would be taken.

// An enum or struct grows without a break, or says why it never will.
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
pub mod hpke;
pub mod record_opener;
mod retry_configs;
#[cfg(feature = "server")]
pub mod server;

pub use retry_configs::retry_configs;
