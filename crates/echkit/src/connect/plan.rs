//! From discovered endpoints to the candidates that may be tried, in order, each with its offer.

use std::net::SocketAddr;

use echkit_proto::config::{Chosen, EchConfigList};

use crate::discover::{Discovery, Endpoint, EndpointKind, HttpsAnswer, Warning};
use crate::policy::{AddressFamily, EchMode};
use crate::report::EchSource;

/// One address to try, and what to offer there.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The endpoint's place in the discovery.
    pub(super) endpoint: usize,
    pub(super) address: SocketAddr,
    pub(super) offer: Offer,
}

/// What to offer at an endpoint.
#[derive(Clone, Debug)]
pub(super) enum Offer {
    None,
    Grease,
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

/// The candidates, those with ECH first (RFC 9848 §5.1, design of the order in RFC 9460 §3).
///
/// In `require` there are no others.
pub(super) fn candidates(
    mode: EchMode,
    family: AddressFamily,
    manual: Option<&EchConfigList>,
    endpoints: &[Endpoint],
) -> Vec<Candidate> {
    let mut with = Vec::new();
    let mut without = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let offer = offer(mode, manual, endpoint);
        let list = match offer.is_real() {
            true => &mut with,
            false if mode == EchMode::Require => continue,
            false => &mut without,
        };
        list.extend(
            endpoint
                .addresses
                .iter()
                .filter(|address| family.allows(**address))
                .map(|address| Candidate {
                    endpoint: index,
                    address: SocketAddr::new(*address, endpoint.port),
                    offer: offer.clone(),
                }),
        );
    }
    with.append(&mut without);
    with
}

fn offer(mode: EchMode, manual: Option<&EchConfigList>, endpoint: &Endpoint) -> Offer {
    match mode {
        EchMode::Off => return Offer::None,
        EchMode::Grease => return Offer::Grease,
        EchMode::Prefer | EchMode::Require => {}
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
