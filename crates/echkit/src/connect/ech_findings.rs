//! Texts for what discovery found about ECH.

use echkit_proto::client::{ConfigSource, EchOffer};
use echkit_proto::config::{Chosen, EchConfigList, NameExposure};

use super::candidate::Candidate;
use crate::discover::{self, Discovery, Warning, exposing_name};

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
        return format!(
            "none of the given ECHConfigs is usable ({})",
            reasons.join("; ")
        );
    }
    discovery.why_no_ech()
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
