//! What an operator of Encrypted Client Hello runs: keys, their rotation and their publishing.
//!
//! - [`KeyDirectory`] holds keys that rotate, each with its state; [`Rotation`] says when they
//!   change.
//! - [`KeyWatch`] hands them to a running server when they do.
//! - [`SiteRecord`] is the HTTPS record of a site, in each form in which DNS servers and providers
//!   take it.
//! - [`Publisher`] puts an ECHConfigList into the records of a zone by dynamic update, once
//!   [`check_accepted`] has found that servers accept it.
//! - [`ConnectionLimits`], [`Drain`] and `ServiceSignals` are for servers: bounds on connections, an
//!   orderly end, and what signals ask.
//! - `ServiceUser`, `ServiceState` and `passed_listeners`, with the feature `service`, give up root and
//!   speak with systemd.
//! - [`read_caddy_key`] and [`write_caddy_key`] take keys from Caddy's storage and put them there.
//!
//! With the feature `serve` there is an HTTPS server too, `serve::HttpServer`; with `route` the
//! client-facing server of split mode, `route::Router`. The TLS server alone is `echkit::server`.

mod caddy;
mod connection_limits;
mod drain;
mod key_directory;
mod key_watch;
mod log_file;
#[cfg(all(unix, feature = "service"))]
mod privileges;
mod publish;
#[cfg(feature = "route")]
pub mod route;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(all(unix, feature = "service"))]
mod service_manager;
#[cfg(unix)]
mod service_signals;
mod site_record;
#[cfg(any(feature = "route", feature = "serve"))]
mod time_text;

pub use caddy::{CaddyKeyError, read_caddy_key, write_caddy_key};
pub use connection_limits::{Admission, ConnectionLimits, ConnectionSlot};
pub use drain::Drain;
pub use key_directory::{
    KeyAccess, KeyDirectory, KeyDirectoryError, KeyEntry, KeyState, KeyStatus, LockedKeyDirectory,
    Rotation, RotationError, RotationStep,
};
pub use key_watch::{KeyWatch, KeyWatchError};
pub use log_file::open_log_file;
#[cfg(all(unix, feature = "service"))]
pub use privileges::{ServiceUser, ServiceUserError};
pub use publish::{
    CheckOptions, DnsServer, HttpsRrset, Publication, PublishError, PublishHistory, PublishedSite,
    Publisher, WaitFor, check_accepted, dns_servers, name_servers, wait_until_shown,
};
#[cfg(all(unix, feature = "service"))]
pub use service_manager::{ServiceState, passed_listeners};
#[cfg(unix)]
pub use service_signals::{ServiceSignal, ServiceSignals};
pub use site_record::{SiteError, SiteRecord};
