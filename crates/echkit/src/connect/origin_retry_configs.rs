//! Retry configs of earlier connections, and asking for them on purpose.

use std::time::Duration;

use echkit_proto::client::{ConfigSource, RealOffer};
use echkit_proto::config::{Chosen, EchConfigList};
use echkit_proto::key::{EchKey, KeyParams};

use super::connector_parts::ConnectorParts;
use crate::cache::{ConfigCache, Place};
use crate::origin::Origin;

/// What is kept for one origin, and what may be added.
#[derive(Clone, Debug)]
pub(super) struct OriginRetryConfigs {
    /// `None` when nothing is to be kept.
    cache: Option<ConfigCache>,
    host: String,
    port: u16,
    /// How long the records, or their absence, hold.
    lifetime: Option<Duration>,
    /// Whether configs may be asked for where no record has any.
    learn: bool,
}

impl OriginRetryConfigs {
    pub(super) fn new(parts: &ConnectorParts, origin: &Origin, lifetime: Option<Duration>) -> Self {
        let policy = &parts.policy;
        // An address has no records, and no name to hide.
        let is_name = origin.host.name().is_some();
        let cache = (policy.cache && policy.ech.offers() && is_name).then(|| parts.cache.clone());
        Self {
            cache,
            host: origin.host.to_string(),
            port: origin.port,
            lifetime,
            learn: policy.learn && is_name,
        }
    }

    /// What serves in place of the configs in a record, or of a record.
    pub(super) fn find(&self, published: Option<&[u8]>) -> Option<RealOffer> {
        if published.is_none() && !self.learn {
            return None;
        }
        let cache = self.cache.as_ref()?;
        let list = cache.find(&self.place(published))?;
        tracing::debug!("retry configs found in the cache");
        RealOffer::from_selection(list.select(), ConfigSource::Cache)
    }

    /// Keeps what an authenticated server sent, and what has been accepted since.
    pub(super) fn keep(&self, published: Option<&[u8]>, configs: &[u8]) {
        if let (Some(cache), Some(lifetime)) = (&self.cache, self.lifetime)
            && let Ok(configs) = EchConfigList::parse(configs)
        {
            tracing::debug!(
                lifetime = lifetime.as_secs(),
                "retry configs kept in the cache"
            );
            cache.keep(self.place(published), configs, lifetime);
        }
    }

    /// Forgets what did not serve.
    pub(super) fn forget(&self, published: Option<&[u8]>) {
        if let Some(cache) = &self.cache {
            tracing::debug!("retry configs removed from the cache");
            cache.forget(&self.place(published));
        }
    }

    /// A config under a made-up key, with the origin's own name as public_name: a server that
    /// serves that name rejects it and sends its own configs.
    pub(super) fn made_up(&self) -> Option<Chosen> {
        if !self.learn {
            return None;
        }
        let key = EchKey::generate(&KeyParams::new(&self.host).ok()?).ok()?;
        EchConfigList::from(key.config().clone()).select().chosen
    }

    fn place(&self, published: Option<&[u8]>) -> Place {
        Place {
            host: self.host.clone(),
            port: self.port,
            published: published.map(<[u8]>::to_vec),
        }
    }
}
