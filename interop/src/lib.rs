//! Other people's TLS software, driven as subprocesses, so that echkit is held against it.
//!
//! [`Peer`] names an implementation, [`PeerServer`] runs it as a server and [`PeerClient`] as a
//! client. Both tell what the peer itself says about a connection; the matrix in `tests/`
//! compares that with what echkit says, cell by cell, and lets peers serve the testbed's cases.

mod client;
mod keys;
mod page;
mod peers;
mod pki;
mod process;
mod server;

pub use client::{ClientWord, Offer, PeerClient};
pub use keys::PeerKey;
pub use page::{EchWord, Page};
pub use peers::{Missing, Peer, Peers, bogo_runner};
pub use pki::{PUBLIC_NAME, Pki, SECRET_NAME, Sites};
pub use process::{Finished, Process, ProcessError};
pub use server::{PeerServer, Running};
