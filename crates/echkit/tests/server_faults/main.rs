//! Whole handshakes in which something happens that must not: rustls behaves otherwise than this
//! layer relies on, or a server sends what it should not. Each ends with an alert that is read back
//! from the bytes on the wire.

#![allow(clippy::unwrap_used)]

mod retry_configs;
mod server_hello;
