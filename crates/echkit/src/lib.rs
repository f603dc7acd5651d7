//! Encrypted Client Hello (RFC 9849) for clients and servers on stock rustls, with its discovery
//! in DNS.

pub mod discover;
pub mod dns;
pub mod origin;
