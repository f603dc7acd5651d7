//! Where the caller knows better than DNS.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::discover::FixedAddresses;
use crate::error::{Cause, Error};
use crate::origin::{Host, HostName, Origin};

/// Fixed addresses and fixed endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// As curl's `--resolve`. Records are still asked for.
    pub(super) addresses: Vec<FixedAddresses>,
    /// host and port → host and port, as curl's `--connect-to`. Records are not asked for.
    endpoints: HashMap<(Host, u16), (Host, u16)>,
}

impl Overrides {
    pub(crate) fn resolve(
        &mut self,
        host: &str,
        port: u16,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Error> {
        let host = HostName::parse(host).map_err(|error| Cause::Setting {
            setting: "resolve",
            reason: error.to_string(),
        })?;
        self.addresses.push(FixedAddresses {
            host,
            port: Some(port),
            addresses: addresses.into_iter().collect(),
        });
        Ok(())
    }

    pub(crate) fn connect_to(&mut self, from: (&str, u16), to: (&str, u16)) -> Result<(), Error> {
        self.endpoints
            .insert((host(from.0)?, from.1), (host(to.0)?, to.1));
        Ok(())
    }

    pub(super) fn endpoint(&self, origin: &Origin) -> Option<&(Host, u16)> {
        self.endpoints.get(&(origin.host.clone(), origin.port))
    }
}

/// A name, or an address with or without brackets.
fn host(text: &str) -> Result<Host, Error> {
    if let Some(address) = Host::address(text) {
        return Ok(Host::Ip(address));
    }
    HostName::parse(text).map(Host::Name).map_err(|error| {
        Cause::Setting {
            setting: "connect-to",
            reason: error.to_string(),
        }
        .into()
    })
}
