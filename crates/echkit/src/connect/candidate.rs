//! From planned endpoints to those that may be connected to, each with its offer.

use echkit_proto::config::{Chosen, EchConfigList};
use echkit_proto::race;

use super::origin_retry_configs::OriginRetryConfigs;
use crate::discover::{Endpoint, Planned};
use crate::policy::EchMode;
use crate::report::EchSource;

/// An endpoint that may be connected to, and what to offer there.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) offer: Offer,
    /// The ECHConfigList in its record.
    pub(super) published: Option<Vec<u8>>,
    pub(super) endpoint: race::Endpoint,
}

/// What to offer at an endpoint.
#[derive(Clone, Debug)]
pub(super) enum Offer {
    None,
    Grease,
    /// An offer that nobody can open, for the retry configs in the answer.
    Learn(Box<Chosen>),
    Real {
        chosen: Box<Chosen>,
        /// Offered in turn where encapsulating to the chosen config's key fails.
        others: Vec<Chosen>,
        source: EchSource,
    },
}

impl Offer {
    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Real { .. })
    }
}

/// The endpoints that may be connected to. In `require` there are none without ECH.
pub(super) fn candidates(
    mode: EchMode,
    manual: Option<&EchConfigList>,
    planned: &[Planned],
    retry_configs: &OriginRetryConfigs,
) -> Vec<Candidate> {
    let candidate = |planned: &Planned| {
        let offer = offer(mode, manual, &planned.endpoint, retry_configs);
        let published = planned.endpoint.ech.clone();
        let plain = race::Endpoint::new(planned.target, planned.endpoint.port);
        let endpoint = plain.with_hints(planned.hints.iter().copied());
        match offer.is_real() {
            true => Some(Candidate {
                endpoint: endpoint.with_ech(),
                offer,
                published,
            }),
            false if mode == EchMode::Require => None,
            false => Some(Candidate {
                offer,
                published,
                endpoint,
            }),
        }
    };
    planned.iter().filter_map(candidate).collect()
}

fn offer(
    mode: EchMode,
    manual: Option<&EchConfigList>,
    endpoint: &Endpoint,
    retry_configs: &OriginRetryConfigs,
) -> Offer {
    match mode {
        EchMode::Off => return Offer::None,
        EchMode::Grease => return Offer::Grease,
        EchMode::Prefer | EchMode::Require => {}
    }
    // What the server said of the record's own stands in for it, until the record changes.
    if manual.is_none()
        && let Some(chosen) = retry_configs.find(endpoint.ech.as_deref())
    {
        return Offer::Real {
            chosen: Box::new(chosen),
            others: Vec::new(),
            source: EchSource::Cache,
        };
    }
    // What the caller hands over stands in for the record's.
    let found = match manual {
        Some(list) => Some((list.clone(), EchSource::Manual)),
        None => endpoint
            .ech
            .as_deref()
            .and_then(|bytes| EchConfigList::parse(bytes).ok())
            .map(|list| (list, EchSource::Dns)),
    };
    let selected = found.and_then(|(list, source)| {
        let selection = list.select();
        Some((selection.chosen?, selection.others, source))
    });
    match selected {
        Some((chosen, others, source)) => Offer::Real {
            chosen: Box::new(chosen),
            others,
            source,
        },
        None if manual.is_none() && endpoint.ech.is_none() => match retry_configs.made_up() {
            Some(chosen) => Offer::Learn(Box::new(chosen)),
            None => Offer::Grease,
        },
        None => Offer::Grease,
    }
}
