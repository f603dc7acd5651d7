//! Discovery against scripted zones: each rule of RFC 9460 §3 and RFC 9848 §5 by name.
#![allow(clippy::unwrap_used)]

mod addresses;
mod aliases;
mod answers;
mod ech;
mod report;
mod zone;
