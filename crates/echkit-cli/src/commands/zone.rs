//! URLs whose host is an IPv6 address with the interface that it is reached over (RFC 6874).

use crate::failure::Failure;

/// Splits the zone off `[ADDRESS%25ZONE]`, or `[ADDRESS%ZONE]` as curl takes it too. It is of meaning for
/// this machine alone, and never sent.
pub(crate) fn split(url: &str) -> Result<(String, Option<u32>), Failure> {
    let parts = (|| {
        let (before, rest) = url.split_once('[')?;
        let (inside, after) = rest.split_once(']')?;
        // A bracket in a path is none around a host.
        let authority = before.split_once("://").map_or(before, |(_, rest)| rest);
        let (address, zone) = inside
            .split_once('%')
            .filter(|_| !authority.contains('/'))?;
        let zone = zone
            .strip_prefix("25")
            .filter(|zone| !zone.is_empty())
            .unwrap_or(zone);
        Some((format!("{before}[{address}]{after}"), inside, zone))
    })();
    let Some((plain, inside, zone)) = parts else {
        return Ok((url.to_owned(), None));
    };
    match index(zone) {
        Some(index) => Ok((plain, Some(index))),
        None => Err(Failure::of_kind(
            echkit::ErrorKind::Url,
            format!("[{inside}]: this machine has no network interface {zone:?}"),
        )),
    }
}

/// The index of an interface: a number, or a name where the system is asked for one.
fn index(zone: &str) -> Option<u32> {
    match zone.parse() {
        Ok(number) => Some(number),
        Err(_) => by_name(zone),
    }
}

#[cfg(target_os = "linux")]
fn by_name(name: &str) -> Option<u32> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
    rustix::net::netdevice::name_to_index(socket, name).ok()
}

#[cfg(not(target_os = "linux"))]
fn by_name(_: &str) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_interface_is_split_off_and_what_has_none_stays() {
        for (url, plain, index) in [
            (
                "https://[fe80::1%257]:8443/x",
                "https://[fe80::1]:8443/x",
                Some(7),
            ),
            ("[fe80::1%7]", "[fe80::1]", Some(7)),
            (
                "https://u:p@[fe80::1%257]/",
                "https://u:p@[fe80::1]/",
                Some(7),
            ),
            ("https://[fe80::1]/", "https://[fe80::1]/", None),
            ("https://a.test/[%20]", "https://a.test/[%20]", None),
            ("https://a.test/%5B", "https://a.test/%5B", None),
        ] {
            assert_eq!(split(url).unwrap(), (plain.to_owned(), index), "{url}");
        }
        let error = split("https://[fe80::1%25nosuchif]/").unwrap_err();
        assert_eq!(error.code(), 3);
        assert!(error.line().unwrap().contains("nosuchif"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn loopback_is_known_by_name() {
        assert!(split("https://[fe80::1%25lo]/").unwrap().1.is_some());
    }
}
