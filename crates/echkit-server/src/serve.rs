//! An HTTPS server with ECH in shared mode: what `ech serve` runs.
//!
//! [`HttpServer`] serves what a [`ServeConfig`] says: sites by the name inside, each with its
//! certificate, from files or from a server behind; the site of the public name; keys that rotate
//! in their directory.

mod access_log;
mod activity;
mod backend_connection;
mod body;
mod certificates;
mod config;
mod config_file;
mod connection;
mod content;
mod dispatch;
mod event;
mod file_changes;
mod files;
mod key_source;
mod live;
mod metrics;
mod metrics_server;
mod origin_svcb;
mod outcome;
mod peer;
mod problem;
mod reverse_proxy;
mod server;
mod small_file;
mod status_page;

pub use config::{
    AccessLogConfig, AccessLogFormat, ProxyTarget, STATUS_PATH, ServeConfig, ServeLimits,
    ServedSite, SiteContent,
};
pub use event::ServeEvent;
pub use problem::{ServeProblem, ServeProblemKind, ServeProblems};
pub use server::{HttpServer, HttpServerHandle};
