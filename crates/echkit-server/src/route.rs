//! The client-facing server of split mode (RFC 9849 §7.1): opens hellos, and forwards them to the
//! servers of their names.
//!
//! - [`Router`] serves clients; [`RouteTable`] has names and [`Backend`]s, [`RouteLimits`] what is
//!   bounded.
//! - [`RoutedConnection`] says what became of a connection, [`RouteCounts`] counts that.
//! - [`HealthChecks`] finds out which addresses of backends take connections.
//! - [`RouteConfig`] is all of it, as a TOML file has it.
//!
//! What is forwarded is decided in `echkit_proto::server::ClientFacing`. docs/route.md is about the
//! command.

mod backend;
mod config;
mod connection;
mod health;
mod limits;
mod passed;
mod proxy_header;
mod relay;
mod report;
mod router;
#[cfg(target_os = "linux")]
mod splice;
mod table;

pub use backend::{Backend, BackendError};
pub use config::{RouteConfig, RouteProblems};
pub use echkit_proto::server::{ForwardError, ForwardedHello, Rules};
pub use health::{HealthChange, HealthChecks};
pub use limits::RouteLimits;
pub use report::{RouteCounts, RouteEnd, RoutedConnection, hello_word};
pub use router::Router;
pub use table::{NameError, NameTable, RouteTable};
