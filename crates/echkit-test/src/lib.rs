//! What the tests share, compiled once: certificates, DNS servers that follow a script, servers and
//! an eavesdropper on loopback, and handshakes in memory.
//!
//! Whatever goes wrong here fails the test that uses it: everything panics.
#![allow(missing_docs, clippy::unwrap_used, clippy::result_large_err)]

pub mod clock;
pub mod dns;
#[cfg(doctest)]
mod documents;
pub mod hello;
pub mod in_memory;
pub mod lab;
pub mod pair;
pub mod pki;
pub mod sealed;

/// Whether a name is in these bytes, in upper or lower case.
pub fn contains(bytes: &[u8], name: &str) -> bool {
    bytes
        .windows(name.len())
        .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
}
