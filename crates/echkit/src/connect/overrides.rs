//! Where the caller knows better than DNS.

use std::collections::HashMap;
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

    /// Reads the hosts. Of two endpoints for one host and port the later one holds.
    pub(super) fn build(self) -> Result<Overrides, Error> {
        let mut overrides = Overrides::default();
        for (name, port, addresses) in self.addresses {
            let host = HostName::parse(&name).map_err(|error| refused("resolve", error))?;
            let fixed = FixedAddresses::new(host, Some(port), addresses);
            overrides.addresses.push(fixed);
        }
        for (from, to) in self.endpoints {
            let from = (host(&from.0)?, from.1);
            let to = (host(&to.0)?, to.1);
            overrides.endpoints.insert(from, to);
        }
        Ok(overrides)
    }
}

/// Fixed addresses and fixed endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// As curl's `--resolve`. Records are still asked for.
    pub(super) addresses: Vec<FixedAddresses>,
    /// host and port → host and port, as curl's `--connect-to`. Records are not asked for.
    endpoints: HashMap<(Host, u16), (Host, u16)>,
}

impl Overrides {
    pub(super) fn endpoint(&self, origin: &Origin) -> Option<&(Host, u16)> {
        self.endpoints.get(&(origin.host.clone(), origin.port))
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
