//! Proxies: HTTP CONNECT (RFC 9110 §9.3.6) over TCP or TLS, and SOCKS5 (RFC 1928).
//!
//! A proxy is given to a builder ([`Proxy`]), or read from the environment variables that curl
//! reads ([`ProxyEnvironment`]). The environment is read where the caller asks for it
//! ([`ProxyEnvironment::of_process`]) and nowhere else.
//!
//! Names are looked up by the client's own resolver, and the proxy is asked for an address: the
//! name of a host that ECH hides is never told to it, and TLS with ECH runs inside the tunnel as it
//! does without a proxy. With `socks5h` only the proxy looks names up. It would learn them, so in
//! [`EchMode::Prefer`](crate::EchMode::Prefer) and [`EchMode::Require`](crate::EchMode::Require)
//! that is an error, unless `proxy_resolves` of the builder says that the proxy may know.
//!
//! Resolvers over HTTPS and TLS (`https://`, `tls://`) that a builder is given by URI are reached
//! through the proxy for their own host, at an address, whatever the proxy may know of origins. Other
//! resolvers are asked directly, and the report warns of it. For a resolver that is made apart see
//! [`ResolverOptions::proxies`](crate::dns::ResolverOptions::proxies).

mod environment;
mod fault;
mod hop;
mod http_connect;
mod no_proxy;
mod proxy_uri;
mod socks;
mod target;
mod tcp_race;
mod wire;

pub use environment::{ProxyEnvironment, ProxyVariableError};
pub use fault::ProxyFault;
pub(crate) use hop::ProxyHop;
pub use proxy_uri::{Proxy, ProxyKind, ProxyUriError};
pub(crate) use target::ProxyTarget;
pub(crate) use wire::Wire;
