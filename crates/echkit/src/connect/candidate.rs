//! From planned endpoints to those that may be connected to, each with its offer.

use std::sync::Arc;

use echkit_proto::client::{ConfigSource, EchOffer, RealOffer};
use echkit_proto::config::EchConfigList;
use echkit_proto::race::RaceEndpoint;

use super::origin_retry_configs::OriginRetryConfigs;
use crate::discover::{Endpoint, Planned};
use crate::policy::EchMode;

/// What to do at an endpoint: it travels with the endpoint through the race into the attempt.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) offer: EchOffer,
    /// The ECHConfigList in the endpoint's record.
    pub(super) published: Option<Vec<u8>>,
}

/// The endpoints that may be connected to. In `require` there are none without ECH.
///
/// `host` is the name to hide: in `require`, no config whose public_name is that name is offered,
/// wherever it comes from.
pub(super) fn candidates(
    mode: EchMode,
    host: &str,
    manual: Option<&EchConfigList>,
    planned: &[Planned],
    retry_configs: &OriginRetryConfigs,
) -> Vec<RaceEndpoint<Arc<Candidate>>> {
    let candidate = |planned: &Planned| {
        let offer = offer(mode, host, manual, &planned.endpoint, retry_configs);
        let real = offer.is_real();
        if mode == EchMode::Require && !real {
            return None;
        }
        let published = published(&planned.endpoint);
        let value = Arc::new(Candidate { offer, published });
        let endpoint = RaceEndpoint::new(planned.target, planned.endpoint.port, value)
            .with_hints(planned.hints.iter().copied());
        Some(match real {
            true => endpoint.with_ech(),
            false => endpoint,
        })
    };
    planned.iter().filter_map(candidate).collect()
}

/// The ECHConfigList in the record of an endpoint.
fn published(endpoint: &Endpoint) -> Option<Vec<u8>> {
    endpoint.ech.as_ref().map(|ech| ech.list().encode())
}

fn offer(
    mode: EchMode,
    host: &str,
    manual: Option<&EchConfigList>,
    endpoint: &Endpoint,
    retry_configs: &OriginRetryConfigs,
) -> EchOffer {
    match mode {
        EchMode::Off => return EchOffer::None,
        EchMode::Grease => return EchOffer::Grease,
        EchMode::Prefer | EchMode::Require => {}
    }
    let hiding = |offer: RealOffer| match mode {
        EchMode::Require => offer.hiding(host),
        _ => Some(offer),
    };
    // The retry config replaces the record's own, until the record changes.
    if manual.is_none()
        && let Some(offer) = retry_configs
            .find(published(endpoint).as_deref())
            .and_then(hiding)
    {
        return EchOffer::Real(Box::new(offer));
    }
    // The caller's list replaces the record's.
    let found = match manual {
        Some(list) => RealOffer::from_selection(list.select(), ConfigSource::Manual),
        None => {
            let ech = endpoint.ech.as_ref();
            let selection = ech.and_then(|ech| ech.selection().cloned());
            selection.and_then(|it| RealOffer::from_selection(it, ConfigSource::Dns))
        }
    };
    match found.and_then(hiding) {
        Some(offer) => EchOffer::Real(Box::new(offer)),
        None if manual.is_none() && endpoint.ech.is_none() => match retry_configs.made_up() {
            Some(chosen) => EchOffer::Learn(Box::new(chosen)),
            None => EchOffer::Grease,
        },
        None => EchOffer::Grease,
    }
}
