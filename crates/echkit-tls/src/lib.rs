//! Encrypted Client Hello (RFC 9849) on stock rustls, without sockets or tasks.
//!
//! - [`client`]: makes rustls client connections that offer ECH, each with the guard that its
//!   outgoing hellos have to pass.
//! - [`server`]: the server side of ECH around an unpatched [`rustls::ServerConnection`].
//!
//! The crate `echkit` adds sockets, DNS and HTTP on tokio; the Python package drives this crate
//! over blocking sockets and memory BIOs.

pub mod client;
mod error;
pub mod server;
