//! Encrypted Client Hello (RFC 9849) without sockets, clocks or tasks: bytes and values in, bytes
//! and values out.
//!
//! Every rule of the protocol lives here, so that it is tested in microseconds and used alike by
//! clients, servers and tools. The crate `echkit` adds sockets and time.
//!
//! - [`config`]: ECHConfigList: parse, encode, select.
//! - [`hpke`]: the HPKE suites.
//! - [`key`]: ECH key pairs and their files (RFC 9934).

pub mod codec;
pub mod config;
pub mod hpke;
pub mod key;
