//! Encrypted Client Hello (RFC 9849) for clients and servers on stock rustls, with its discovery
//! in DNS.
//!
//! TLS encrypts almost everything but the name of the site, which the first message shows to
//! everyone on the path. Encrypted Client Hello hides it: the client seals that message under a key
//! that the site publishes in DNS, and shows a public name instead.
//!
//! # Fetch a page
//!
//! [`Client`] does all of it: it asks DNS for the key and the endpoints, offers ECH, and tries
//! again by the rules when a server has changed its key. Each response carries a [`Report`]: what
//! was offered, what an eavesdropper could read, and what came of it.
//!
//! ```no_run
//! use echkit::{Client, EchMode};
//!
//! # async fn example() -> Result<(), echkit::Error> {
//! let client = Client::builder().ech(EchMode::Require).build()?;
//! let mut response = client.get("https://nominal.ech.test/").send().await?;
//! println!("{}", response.status());
//! println!("{} bytes", response.bytes().await?.len());
//!
//! let ech = response.report().ech;
//! println!("{}: an eavesdropper saw {:?}", ech.status, ech.outer_sni);
//! # Ok(())
//! # }
//! ```
//!
//! [`EchMode`] says how much ECH is needed: `Require` sends nothing that names the site when ECH is
//! unavailable; `Prefer`, the default, continues without ECH where the site has none.
//!
//! # One module deeper
//!
//! - [`connect`]: TLS streams for any protocol over TCP.
//! - [`http`]: requests, responses, redirects.
//! - [`tls`]: trust, client certificates, and the guard that reads each hello before it is sent.
//! - [`dns`] and [`discover`]: resolvers, and endpoints from HTTPS records (RFC 9460, RFC 9848).
//!   `Client::builder().dns("https://dns.example/dns-query#192.0.2.1")` hides the names there too.
//! - [`server`]: accept connections with ECH, on stock rustls.
//! - [`policy`], [`report`], [`error`](mod@error): what is wanted, what happened, what went wrong.
//! - [`cache`]: retry configs that serve later connections.
//! - [`wire`]: records what was sent and received, for captures and traces.
//! - [`proxy`]: HTTP CONNECT and SOCKS5, which learn no hidden name.
//! - [`config`], [`key`], [`hpke`], [`svcb`]: ECHConfigs, ECH keys, their algorithms, and HTTPS
//!   records, as the crate `echkit-proto` has them.
//!
//! Whatever a signature here mentions is exported here too: [`rustls`], the types of `http`,
//! `bytes` and `url`. A program needs no version of its own of any of them.
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `client` | yes | discovery in DNS (in the clear and over TLS) and TLS connections with ECH |
//! | `http` | yes | the HTTP client, and resolvers over HTTPS |
//! | `cookies` | no | cookies in the HTTP client |
//! | `decompress` | no | compressed bodies in the HTTP client |
//! | `dns-https` | with `http` | resolvers over HTTPS alone |
//! | `dns-quic` | no | resolvers over QUIC and HTTP/3 |
//! | `socks` | yes | SOCKS5 proxies |
//! | `server` | no | the TLS acceptor |
//! | `axum` | no | `server`, below `axum::serve` |
//! | `x-wing` | yes | the post-quantum KEM X-Wing for ECH |
//!
//! A server alone is `default-features = false, features = ["server"]`.
//!
//! # What is not hidden
//!
//! The address that is connected to; the name in DNS, unless the resolver is an encrypted one; and
//! the size and timing of what is sent. TLS 1.3 is the oldest version that can carry ECH.
//!
//! And the name in logs of rustls: this crate logs no hidden name at any level, but rustls with its
//! feature `logging`, which is on by default wherever a crate in the build asks for it, names the
//! host at `debug` and `trace`. Log `rustls` at `info` and above (`RUST_LOG=debug,rustls=info`).

// An enum or struct grows without a break, or says why it never will.
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

#[cfg(feature = "client")]
pub mod cache;
#[cfg(feature = "client")]
#[doc(hidden)]
pub mod clock;
#[cfg(feature = "client")]
pub mod connect;
#[cfg(any(feature = "client", feature = "server"))]
mod deadline;
#[cfg(any(feature = "http", feature = "server"))]
mod delegated_stream;
#[cfg(feature = "client")]
pub mod discover;
#[cfg(feature = "client")]
pub mod dns;
#[cfg(feature = "client")]
pub mod error;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "client")]
mod keyed_futures;
#[cfg(feature = "client")]
pub mod origin;
#[cfg(feature = "client")]
pub mod policy;
#[cfg(feature = "client")]
pub mod proxy;
#[cfg(feature = "client")]
pub mod report;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "client")]
pub mod tls;
#[cfg(feature = "client")]
pub mod wire;

pub use echkit_proto::{alert, config, hpke, key, svcb};
pub use rustls;
#[cfg(feature = "client")]
pub use url::Url;

#[cfg(feature = "http")]
pub use self::http::{Client, Response};
#[cfg(feature = "client")]
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "client")]
pub use origin::Origin;
#[cfg(feature = "client")]
pub use policy::EchMode;
#[cfg(feature = "client")]
pub use report::Report;

/// The README is compiled as it stands.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
mod readme {}
