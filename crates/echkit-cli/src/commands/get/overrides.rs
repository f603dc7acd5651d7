//! `--resolve` and `--connect-to`, in curl's forms.

use std::net::IpAddr;

use echkit::discover::FixedAddresses;
use echkit::http::ClientBuilder;
use echkit::origin::{Host, HostName};

use crate::failure::Failure;

/// One `--resolve`.
#[derive(Debug, PartialEq)]
enum Resolve {
    /// `[+]HOST:PORT:ADDRESS[,ADDRESS]`. curl's `+` lets the entry expire, as answers of DNS do; here
    /// a command ends before that.
    Add(String, u16, Vec<IpAddr>),
    /// `-HOST:PORT`: an entry before it does not hold.
    Remove(String, u16),
}

/// `HOST1:PORT1:HOST2:PORT2`, each part of which may be empty.
#[derive(Debug, PartialEq)]
struct ConnectTo {
    host: String,
    /// 0 where it is empty, as in the library.
    port: u16,
    to_host: String,
    to_port: u16,
}

/// The builder with the addresses of all `--resolve`.
pub(in crate::commands) fn resolve(
    builder: ClientBuilder,
    texts: &[String],
) -> Result<ClientBuilder, Failure> {
    let add =
        |builder: ClientBuilder, (host, port, addresses)| builder.resolve(host, port, addresses);
    Ok(entries(texts)?.into_iter().fold(builder, add))
}

/// The addresses of all `--resolve`, for discovery alone.
pub(in crate::commands) fn fixed_addresses(
    texts: &[String],
) -> Result<Vec<FixedAddresses>, Failure> {
    let fixed = |(host, port, addresses): Entry| {
        if host == "*" {
            return Ok(FixedAddresses::of_every_host(Some(port), addresses));
        }
        let host = HostName::parse(&host)
            .map_err(|error| Failure::usage(format!("--resolve {host}: {error}")))?;
        Ok(FixedAddresses::new(host, Some(port), addresses))
    };
    entries(texts)?.into_iter().map(fixed).collect()
}

/// Host, port and addresses.
type Entry = (String, u16, Vec<IpAddr>);

/// What is left of all `--resolve`.
fn entries(texts: &[String]) -> Result<Vec<Entry>, Failure> {
    let mut entries: Vec<Entry> = Vec::new();
    for text in texts {
        match read_resolve(text)? {
            Resolve::Add(host, port, addresses) => entries.push((host, port, addresses)),
            Resolve::Remove(host, port) => entries.retain(|(other, other_port, _)| {
                !other.eq_ignore_ascii_case(&host) || *other_port != port
            }),
        }
    }
    Ok(entries)
}

/// The builder with the places of all `--connect-to`.
pub(in crate::commands) fn connect_to(
    builder: ClientBuilder,
    texts: &[String],
) -> Result<ClientBuilder, Failure> {
    texts.iter().try_fold(builder, |builder, text| {
        let to = read_connect_to(text)?;
        Ok(builder.connect_to(to.host, to.port, to.to_host, to.to_port))
    })
}

fn read_resolve(text: &str) -> Result<Resolve, Failure> {
    let bad = || {
        Failure::usage(format!(
            "--resolve {text:?}: write HOST:PORT:ADDRESS[,ADDRESS], with * for every HOST, or \
             -HOST:PORT to take one back"
        ))
    };
    if let Some(text) = text.strip_prefix('-') {
        let (host, port) = host(text)
            .filter(|(host, _)| !host.is_empty())
            .ok_or_else(bad)?;
        return Ok(Resolve::Remove(
            host.to_owned(),
            self::port(port).ok_or_else(bad)?,
        ));
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let (host, rest) = host(text)
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(bad)?;
    let (port, addresses) = rest.split_once(':').ok_or_else(bad)?;
    let addresses = addresses
        .split(',')
        .map(|address| Host::address(address).ok_or_else(bad));
    let addresses = addresses.collect::<Result<_, _>>()?;
    let port = self::port(port).ok_or_else(bad)?;
    Ok(Resolve::Add(host.to_owned(), port, addresses))
}

fn read_connect_to(text: &str) -> Result<ConnectTo, Failure> {
    let bad = || {
        Failure::usage(format!(
            "--connect-to {text:?}: write HOST1:PORT1:HOST2:PORT2; an empty HOST1 or PORT1 is every \
             one, an empty HOST2 or PORT2 the same"
        ))
    };
    let port_or_empty = |text: &str| match text {
        "" => Ok(0),
        text => port(text).ok_or_else(bad),
    };
    let (from, rest) = host(text).ok_or_else(bad)?;
    let (port, rest) = rest.split_once(':').ok_or_else(bad)?;
    let (to_host, to_port) = host(rest).ok_or_else(bad)?;
    Ok(ConnectTo {
        host: from.to_owned(),
        port: port_or_empty(port)?,
        to_host: to_host.to_owned(),
        to_port: port_or_empty(to_port)?,
    })
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A host before a colon, an IPv6 address in brackets, and what follows the colon.
fn host(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            Some((host, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn curls_forms_of_resolve_are_read() {
        let add = |host: &str, port, addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| text.parse().unwrap());
            Resolve::Add(host.to_owned(), port, addresses.collect())
        };
        let remove = |host: &str, port| Resolve::Remove(host.to_owned(), port);
        for (text, expected) in [
            (
                "a.example:443:127.0.0.1",
                add("a.example", 443, &["127.0.0.1"]),
            ),
            (
                "+a.example:1:127.0.0.1,[::1]",
                add("a.example", 1, &["127.0.0.1", "::1"]),
            ),
            ("*:443:::1", add("*", 443, &["::1"])),
            ("[::1]:443:127.0.0.1", add("::1", 443, &["127.0.0.1"])),
            ("-a.example:443", remove("a.example", 443)),
            ("-*:443", remove("*", 443)),
        ] {
            assert_eq!(read_resolve(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "a",
            "a:443",
            "a:443:",
            "a:0:127.0.0.1",
            "a:b:127.0.0.1",
            "a:443:localhost",
            ":443:127.0.0.1",
            "-a",
            "-:443",
            "-a:443:127.0.0.1",
        ] {
            assert!(read_resolve(text).is_err(), "{text}");
        }
    }

    #[test]
    fn curls_forms_of_connect_to_are_read() {
        for (text, host, port, to_host, to_port) in [
            ("a.example:443:[::1]:8443", "a.example", 443, "::1", 8443),
            ("::b.example:8443", "", 0, "b.example", 8443),
            ("a.example::b.example:", "a.example", 0, "b.example", 0),
            (":443::8443", "", 443, "", 8443),
            (":::", "", 0, "", 0),
        ] {
            let expected = ConnectTo {
                host: host.to_owned(),
                port,
                to_host: to_host.to_owned(),
                to_port,
            };
            assert_eq!(read_connect_to(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "a:443",
            "a:443:b",
            "a:443:b:c",
            "a:443:[::1:8443",
            "a:443:b:70000",
        ] {
            assert!(read_connect_to(text).is_err(), "{text}");
        }
    }
}
