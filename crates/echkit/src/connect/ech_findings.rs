//! What discovery found that bears on ECH, in words.

use echkit_proto::client::{ConfigSource, EchOffer};
use echkit_proto::config::{Chosen, EchConfigList, NameExposure};
use echkit_proto::svcb::EchOfRecord;

use super::candidate::Candidate;
use crate::discover::{self, Discovery, EndpointKind, HttpsAnswer, RecordVerdict, Warning};

/// Why there is no ECHConfig to offer for `host`: the record and the reason for each config.
pub(super) fn why_no_ech(
    manual: Option<&EchConfigList>,
    host: &str,
    discovery: &Discovery,
) -> String {
    if let Some(list) = manual {
        let selection = list.select();
        let exposing = selection.chosen.as_ref();
        let reasons: Vec<_> = match exposing.and_then(|chosen| exposing_name(chosen, host)) {
            Some(reason) => vec![reason],
            None => {
                let verdicts = selection.verdicts.iter();
                let reasons = verdicts.filter_map(|verdict| verdict.why_not.as_ref());
                reasons.map(ToString::to_string).collect()
            }
        };
        return format!("no config given can be used ({})", reasons.join("; "));
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
        HttpsAnswer::Malformed(error) => {
            return format!("its HTTPS records are malformed: {error}");
        }
        HttpsAnswer::None => {
            return match &discovery.query_name {
                Some(name) => format!("{name} has no HTTPS record"),
                None => "a literal address has no HTTPS record".to_owned(),
            };
        }
        HttpsAnswer::Found => {}
    }
    let said = discovery.records.iter();
    let said: Vec<_> = said.map(|verdict| of_record(verdict, host)).collect();
    match said.is_empty() {
        true => "it has no compatible HTTPS record".to_owned(),
        false => said.join("; "),
    }
}

/// What a record lacks.
fn of_record(verdict: &RecordVerdict, host: &str) -> String {
    let record = format!(
        "HTTPS record {} {}",
        verdict.record.priority, verdict.record.target
    );
    if let Some(why_not) = &verdict.why_not {
        return format!("{record}: {why_not}");
    }
    let Some(ech) = &verdict.ech else {
        return format!("{record} has no ech");
    };
    if let Some(reason) = ech.chosen().and_then(|chosen| exposing_name(chosen, host)) {
        return format!("{record}: {reason}");
    }
    let configs = EchOfRecord::verdicts(ech).iter().map(|config| {
        let id = config.config_id;
        let id = id.map_or_else(|| "config".to_owned(), |id| format!("config {id}"));
        match &config.why_not {
            Some(why_not) => format!("{id}: {why_not}"),
            None => format!("{id}: is usable"),
        }
    });
    format!("{record}: {}", configs.collect::<Vec<_>>().join(", "))
}

/// Why a config hides nothing of `host`, if its public_name is that name.
fn exposing_name(chosen: &Chosen, host: &str) -> Option<String> {
    let public_name = &chosen.contents().public_name;
    let exposure = public_name.exposes(host);
    (exposure == NameExposure::Equal).then(|| {
        format!(
            "its public_name {public_name} is {}",
            discover::exposed(exposure)
        )
    })
}

/// What the public_names of configs that are in no record tell of `host`; discovery speaks of the
/// others.
pub(super) fn exposure_warnings<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    host: &str,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for candidate in candidates {
        let EchOffer::Real(offer) = &candidate.offer else {
            continue;
        };
        let warning = public_name_warning(&offer.chosen, host);
        if let Some(warning) = warning.filter(|_| offer.source != ConfigSource::Dns)
            && !warnings.contains(&warning)
        {
            warnings.push(warning);
        }
    }
    warnings
}

/// What the public_name of a config that is offered tells of `host`, if anything.
pub(super) fn public_name_warning(chosen: &Chosen, host: &str) -> Option<String> {
    let public_name = &chosen.contents().public_name;
    let exposure = public_name.exposes(host);
    (exposure != NameExposure::None).then(|| {
        let exposed = discover::exposed(exposure);
        format!("the ECHConfig that was offered has the public_name {public_name}, {exposed}")
    })
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
                    | Warning::ExposingPublicName { .. }
            )
        })
        .map(ToString::to_string)
        .collect()
}
