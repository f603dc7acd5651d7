//! What DNS says about an origin, before a connection is made: for layers above, and for those who
//! connect by themselves.

use super::connection_request::ConnectionRequest;
use super::connector::Connector;
use super::discovery_options::discovery_options;
use crate::deadline::Deadline;
use crate::discover::{Discovery, discover_with};
use crate::error::{Cause, Error, Step};
use crate::origin::{Origin, Scheme};

impl Connector {
    /// Where `origin` can be reached and with which ECHConfigs, as [`Connector::connect`] finds it:
    /// by this connector's resolver, addresses given by hand, and address families. `alpn` is what
    /// will be offered.
    ///
    /// # Errors
    ///
    /// When DNS took too long. Other failures are in [`Discovery::error`].
    pub async fn discover(&self, origin: &Origin, alpn: &[&[u8]]) -> Result<Discovery, Error> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|id| id.to_vec()).collect();
        let request = ConnectionRequest {
            origin,
            alpn: &alpn,
            url: None,
            manual: true,
            deadline: None,
            forward: false,
        };
        let options = discovery_options(&self.parts, &request, None);
        let looking = discover_with(&self.parts.resolver, origin, &options);
        let timeouts = &self.parts.policy.timeouts;
        let limit = Deadline::within(timeouts.connect).step(timeouts.dns);
        let host = origin.host.to_string();
        Ok(limit.run_step(&host, Step::Dns, looking).await?)
    }

    /// The origin to use in place of `origin`: its `https` counterpart where `origin` is an `http`
    /// one and DNS publishes a compatible HTTPS record for it (RFC 9460 §9.5), else `origin`.
    ///
    /// [`Connector::connect`] does this by itself. It is for layers above an HTTP client, which has
    /// to know the scheme of a request before it chooses a connection. `alpn` is what will be
    /// offered.
    ///
    /// # Errors
    ///
    /// When DNS failed where going on in the clear would be unsafe, or took too long.
    pub async fn upgraded(&self, origin: &Origin, alpn: &[&[u8]]) -> Result<Origin, Error> {
        if origin.scheme == Scheme::Https {
            return Ok(origin.clone());
        }
        let discovery = self.discover(origin, alpn).await?;
        if let Some(error) = &discovery.error {
            return Err(Cause::unresolved(origin.host.to_string(), error).into());
        }
        Ok(match discovery.https_upgrade {
            true => origin.to_https(),
            false => origin.clone(),
        })
    }
}
