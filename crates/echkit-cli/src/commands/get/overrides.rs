//! `--resolve` and `--connect-to`, in curl's forms.

use std::net::IpAddr;

use echkit::origin::Host;

use crate::failure::Failure;

/// `HOST:PORT:ADDRESS[,ADDRESS]`.
pub(super) struct Resolve {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) addresses: Vec<IpAddr>,
}

/// `HOST1:PORT1:HOST2:PORT2`.
pub(super) struct ConnectTo {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) to_host: String,
    pub(super) to_port: u16,
}

pub(super) fn resolve(text: &str) -> Result<Resolve, Failure> {
    let bad = || Failure::usage(format!("--resolve {text:?}: write HOST:PORT:ADDRESS"));
    let (host, rest) = host(text).ok_or_else(bad)?;
    let (port, addresses) = rest.split_once(':').ok_or_else(bad)?;
    let addresses = addresses
        .split(',')
        .map(|address| Host::address(address).ok_or_else(bad));
    Ok(Resolve {
        host: host.to_owned(),
        port: port.parse().map_err(|_| bad())?,
        addresses: addresses.collect::<Result<_, _>>()?,
    })
}

pub(super) fn connect_to(text: &str) -> Result<ConnectTo, Failure> {
    let bad = || {
        Failure::usage(format!(
            "--connect-to {text:?}: write HOST1:PORT1:HOST2:PORT2"
        ))
    };
    let (from, rest) = host(text).ok_or_else(bad)?;
    let (port, rest) = rest.split_once(':').ok_or_else(bad)?;
    let (to_host, to_port) = host(rest).ok_or_else(bad)?;
    Ok(ConnectTo {
        host: from.to_owned(),
        port: port.parse().map_err(|_| bad())?,
        to_host: to_host.to_owned(),
        to_port: to_port.parse().map_err(|_| bad())?,
    })
}

/// A host before a colon, an IPv6 address in brackets, and what follows the colon.
fn host(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    (!host.is_empty()).then_some((host, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn curls_forms_are_read() {
        let one = resolve("a.example:443:127.0.0.1,[::1]").unwrap();
        assert_eq!((one.host.as_str(), one.port), ("a.example", 443));
        assert_eq!(one.addresses.len(), 2);
        let two = connect_to("a.example:443:[::1]:8443").unwrap();
        assert_eq!((two.to_host.as_str(), two.to_port), ("::1", 8443));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "a",
            "a:443",
            "a:b:127.0.0.1",
            "a:443:localhost",
            ":443:127.0.0.1",
        ] {
            assert!(resolve(text).is_err(), "{text}");
        }
        for text in ["a:443:b", "a:443:b:c", "a:443:[::1:8443"] {
            assert!(connect_to(text).is_err(), "{text}");
        }
    }
}
