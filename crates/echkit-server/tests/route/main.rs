//! The client-facing server of split mode between clients and backend servers, on loopback.
#![cfg(feature = "route")]
#![allow(clippy::unwrap_used)]

mod bed;
mod bytes;
mod ends;
mod example;
mod health;
mod hellos;
mod limits;
mod proxy_protocol;
