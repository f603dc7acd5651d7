//! ECH servers in memory: every way that an offer can go, with stock rustls clients.

#![allow(clippy::unwrap_used)]

mod accept;
mod backend;
mod choice;
mod padding;
mod records;
mod refuse;
mod reject;
mod split;
