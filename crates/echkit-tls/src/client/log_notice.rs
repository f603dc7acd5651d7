//! A warning to those whose log would show what ECH hides.
//!
//! rustls 0.23 with its feature `logging`, which is on by default and which a crate elsewhere in
//! the build may turn on, names hosts in two events that a client with ECH meets:
//!
//! - debug, `rustls::client::hs`: "No cached session for DnsName(…)", at every full handshake;
//! - trace, `rustls::client::ech`: "ECH Inner Hello: …", at every real offer.
//!
//! Neither can be prevented from here, nor can it be seen whether rustls was built with them. What
//! can be seen is whether the program's logger would take them.

use std::sync::Once;

use log::{Level, log_enabled, warn};

/// Warns once per process, at the first real offer, if the logger takes rustls' debug events.
pub(super) fn warn_once() {
    static ONCE: Once = Once::new();
    if log_enabled!(target: "rustls::client::hs", Level::Debug)
        || log_enabled!(target: "rustls::client::ech", Level::Debug)
    {
        ONCE.call_once(|| {
            warn!(
                "debug events of rustls are logged: where rustls was built with its feature \
                 `logging` they name the hosts that ECH hides; log `rustls` at info and above"
            );
        });
    }
}
