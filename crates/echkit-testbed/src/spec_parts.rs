//! Parts that many cases of the table are made of.

use crate::configs::{ConfigSpec, KeySpec, ListSpec};
use crate::zone::{DataSpec, Param, Target};

/// `alpn` with both versions of HTTP that the servers speak.
pub(crate) const BOTH: Param = Param::Alpn(&["h2", "http/1.1"]);

/// `ech` with the ECHConfig of the key `current`.
pub(crate) const CURRENT: Param = Param::Ech(ListSpec::Of(&[ConfigSpec::Key("current")]));

/// `ech` with the ECHConfig of the key `stale`.
pub(crate) const STALE: Param = Param::Ech(ListSpec::Of(&[ConfigSpec::Key("stale")]));

/// The key whose config is published and which the server holds.
pub(crate) fn current() -> KeySpec {
    KeySpec::new("current")
}

/// A key whose config is published and which the server has lost.
pub(crate) fn stale() -> KeySpec {
    KeySpec::new("stale").lost()
}

/// A ServiceMode record (RFC 9460 §2.4.3).
pub(crate) fn service(priority: u16, target: Target, params: impl Into<Vec<Param>>) -> DataSpec {
    DataSpec::Service {
        priority,
        target,
        params: params.into(),
    }
}
