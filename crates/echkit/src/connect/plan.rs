//! From planned endpoints to those that may be connected to, each with its offer.

use echkit_proto::config::{Chosen, EchConfigList};
use echkit_proto::race;

use super::kept::Kept;
use crate::discover::{Discovery, Endpoint, EndpointKind, HttpsAnswer, Planned, Warning};
use crate::policy::EchMode;
use crate::report::EchSource;

/// An endpoint that may be connected to, and what to offer there.
#[derive(Clone, Debug)]
pub(super) struct Entrant {
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
        source: EchSource,
    },
}

impl Offer {
    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Real { .. })
    }
}

/// The endpoints that may be connected to. In `require` there are none without ECH.
pub(super) fn entrants(
    mode: EchMode,
    manual: Option<&EchConfigList>,
    planned: &[Planned],
    kept: &Kept,
) -> Vec<Entrant> {
    let entrant = |planned: &Planned| {
        let offer = offer(mode, manual, &planned.endpoint, kept);
        let published = planned.endpoint.ech.clone();
        let plain = race::Endpoint::new(planned.target, planned.endpoint.port);
        let endpoint = plain.with_hints(planned.hints.iter().copied());
        match offer.is_real() {
            true => Some(Entrant {
                endpoint: endpoint.with_ech(),
                offer,
                published,
            }),
            false if mode == EchMode::Require => None,
            false => Some(Entrant {
                offer,
                published,
                endpoint,
            }),
        }
    };
    planned.iter().filter_map(entrant).collect()
}

fn offer(mode: EchMode, manual: Option<&EchConfigList>, endpoint: &Endpoint, kept: &Kept) -> Offer {
    match mode {
        EchMode::Off => return Offer::None,
        EchMode::Grease => return Offer::Grease,
        EchMode::Prefer | EchMode::Require => {}
    }
    // What the server said of the record's own stands in for it, until the record changes.
    if manual.is_none()
        && let Some(chosen) = kept.find(endpoint.ech.as_deref())
    {
        return Offer::Real {
            chosen: Box::new(chosen),
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
    match found.and_then(|(list, source)| Some((list.select().chosen?, source))) {
        Some((chosen, source)) => Offer::Real {
            chosen: Box::new(chosen),
            source,
        },
        None if manual.is_none() && endpoint.ech.is_none() => match kept.made_up() {
            Some(chosen) => Offer::Learn(Box::new(chosen)),
            None => Offer::Grease,
        },
        None => Offer::Grease,
    }
}

/// Why there is no usable ECHConfig: the record and the reason for each config.
pub(super) fn why_no_ech(manual: Option<&EchConfigList>, discovery: &Discovery) -> String {
    if let Some(list) = manual {
        return format!("no config given can be used ({})", reasons(list));
    }
    if discovery
        .endpoints
        .iter()
        .any(|e| e.kind == EndpointKind::Fixed)
    {
        return "the endpoint was given without an ECHConfigList".to_owned();
    }
    if let Some(problem) = &discovery.alias_problem {
        return problem.to_string();
    }
    match &discovery.https {
        HttpsAnswer::Failed(error) => return format!("its HTTPS records are unknown: {error}"),
        HttpsAnswer::Malformed(reason) => {
            return format!("its HTTPS records are malformed: {reason}");
        }
        HttpsAnswer::None => {
            return match &discovery.query_name {
                Some(name) => format!("{name} has no HTTPS record"),
                None => "a literal address has no HTTPS record".to_owned(),
            };
        }
        HttpsAnswer::Found => {}
    }
    let said: Vec<_> = discovery
        .records
        .iter()
        .map(|verdict| {
            let record = format!(
                "HTTPS record {} {}",
                verdict.record.priority, verdict.record.target
            );
            match (&verdict.why_not, verdict.configs.is_empty()) {
                (Some(why_not), _) => format!("{record}: {why_not}"),
                (None, true) => format!("{record} has no ech"),
                (None, false) => {
                    let configs: Vec<_> = verdict
                        .configs
                        .iter()
                        .map(|config| {
                            let id = config
                                .config_id
                                .map_or_else(|| "config".to_owned(), |id| format!("config {id}"));
                            let why = config.why_not.as_deref().unwrap_or("is usable");
                            format!("{id}: {why}")
                        })
                        .collect();
                    format!("{record}: {}", configs.join(", "))
                }
            }
        })
        .collect();
    match said.is_empty() {
        true => "it has no compatible HTTPS record".to_owned(),
        false => said.join("; "),
    }
}

fn reasons(list: &EchConfigList) -> String {
    let reasons: Vec<_> = list
        .select()
        .verdicts
        .into_iter()
        .filter_map(|verdict| Some(verdict.why_not?.to_string()))
        .collect();
    reasons.join("; ")
}

/// What discovery found that bears on ECH.
pub(super) fn ech_warnings(discovery: &Discovery) -> Vec<String> {
    discovery
        .warnings
        .iter()
        .filter(|warning| {
            matches!(
                warning,
                Warning::Malformed { .. }
                    | Warning::Failed { .. }
                    | Warning::Alias(_)
                    | Warning::PartialEch(_)
                    | Warning::NoUsableConfig { .. }
            )
        })
        .map(ToString::to_string)
        .collect()
}
