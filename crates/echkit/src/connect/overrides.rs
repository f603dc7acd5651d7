//! Where the caller knows better than DNS.

use std::net::IpAddr;

use crate::discover::FixedAddresses;
use crate::error::{Cause, Error};
use crate::origin::{Host, HostName, Origin, OriginError};

/// Fixed addresses and fixed endpoints, as builders take them.
#[derive(Clone, Debug, Default)]
pub(crate) struct OverrideSettings {
    addresses: Vec<(String, u16, Vec<IpAddr>)>,
    endpoints: Vec<Redirection>,
}

/// host and port → host and port.
type Redirection = ((String, u16), (String, u16));

impl OverrideSettings {
    pub(crate) fn resolve(
        &mut self,
        host: String,
        port: u16,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) {
        let addresses = addresses.into_iter().collect();
        self.addresses.push((host, port, addresses));
    }

    pub(crate) fn connect_to(&mut self, from: (String, u16), to: (String, u16)) {
        self.endpoints.push((from, to));
    }

    /// Reads the hosts. Of two lists of addresses for one host and port the later one holds.
    pub(super) fn build(self) -> Result<Overrides, Error> {
        let mut overrides = Overrides::default();
        for (name, port, addresses) in self.addresses {
            let host = match name.as_str() {
                "*" => None,
                name => Some(HostName::parse(name).map_err(|error| refused("resolve", error))?),
            };
            let port = Some(port);
            let same = |other: &FixedAddresses| (&other.host, other.port) == (&host, port);
            overrides.addresses.retain(|other| !same(other));
            let fixed = match host {
                Some(host) => FixedAddresses::new(host, port, addresses),
                None => FixedAddresses::of_every_host(port, addresses),
            };
            overrides.addresses.push(fixed);
        }
        let part = |(name, port): (String, u16)| {
            let host = match name.as_str() {
                "" => None,
                name => Some(host(name)?),
            };
            Ok::<_, Error>((host, Some(port).filter(|port| *port != 0)))
        };
        for (from, to) in self.endpoints {
            overrides.endpoints.push((part(from)?, part(to)?));
        }
        Ok(overrides)
    }
}

/// Fixed addresses and fixed endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// As curl's `--resolve`. Records are still asked for.
    pub(super) addresses: Vec<FixedAddresses>,
    /// As curl's `--connect-to`. Records are asked for their ECHConfigs alone.
    endpoints: Vec<(Place, Place)>,
}

/// Host and port; `None` is every host or port before a connection, and the same one after.
type Place = (Option<Host>, Option<u16>);

impl Overrides {
    /// Where to connect for an origin, by the first entry that fits it and leads elsewhere.
    pub(super) fn endpoint(&self, origin: &Origin) -> Option<(Host, u16)> {
        let fits = |(host, port): &Place| {
            host.as_ref().is_none_or(|host| *host == origin.host)
                && port.is_none_or(|port| port == origin.port)
        };
        let leads = |(host, port): &Place| host.is_some() || port.is_some();
        let mut entries = self.endpoints.iter();
        let (_, (host, port)) = entries.find(|(from, to)| fits(from) && leads(to))?;
        let host = host.as_ref().unwrap_or(&origin.host);
        Some((host.clone(), port.unwrap_or(origin.port)))
    }
}

/// A name, or an address with or without brackets.
fn host(text: &str) -> Result<Host, Error> {
    if let Some(address) = Host::address(text) {
        return Ok(Host::Ip(address));
    }
    HostName::parse(text)
        .map(Host::Name)
        .map_err(|error| refused("connect_to", error))
}

fn refused(setting: &'static str, error: OriginError) -> Error {
    let reason = error.to_string();
    Cause::Setting { setting, reason }.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_entry_that_fits_says_where_to_connect() {
        let mut settings = OverrideSettings::default();
        for (host, port, to_host, to_port) in [
            ("a.test", 1, "", 0),
            ("a.test", 1, "first.test", 0),
            ("a.test", 1, "second.test", 9),
            ("b.test", 0, "", 8443),
            ("", 7, "[::1]", 70),
        ] {
            settings.connect_to((host.into(), port), (to_host.into(), to_port));
        }
        let overrides = settings.build().unwrap();
        for (url, expected) in [
            ("https://A.test:1", Some("first.test 1")),
            ("https://a.test:2", None),
            ("https://b.test", Some("b.test 8443")),
            ("https://c.test:7", Some("[::1] 70")),
            ("https://192.0.2.1:7", Some("[::1] 70")),
        ] {
            let place = overrides.endpoint(&Origin::parse(url).unwrap());
            let place = place.map(|(host, port)| format!("{host} {port}"));
            assert_eq!(place.as_deref(), expected, "{url}");
        }
    }
}
