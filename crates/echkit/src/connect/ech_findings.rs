//! What discovery found that bears on ECH, in words.

use echkit_proto::config::EchConfigList;

use crate::discover::{Discovery, EndpointKind, HttpsAnswer, Warning};

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
