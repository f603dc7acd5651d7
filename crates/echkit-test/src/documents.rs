//! The documents with Rust in them, for rustdoc to compile. `scripts/snippets.py` says which is missing.

#[doc = include_str!("../../../README.md")]
mod readme {}

#[doc = include_str!("../../../docs/proxies.md")]
mod proxies {}
