//! Names and paths that the testbed's zone and servers have in common.

/// The zone of the testbed.
pub const ZONE: &str = "ech.test";

/// The label of the name in outer hellos. It is not a case's host.
pub(crate) const PUBLIC: &str = "public";

/// Where DNS over HTTPS is asked (RFC 8484).
pub(crate) const DOH_PATH: &str = "/dns-query";

/// A name of the zone, from the labels before the zone's own.
pub(crate) fn in_zone(labels: &str) -> String {
    format!("{labels}.{ZONE}")
}
