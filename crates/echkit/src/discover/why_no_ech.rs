//! Why discovery found no ECHConfig to offer.

use echkit_proto::config::{Chosen, NameExposure};
use echkit_proto::svcb::EchOfRecord;

use super::{Discovery, EndpointKind, HttpsAnswer, RecordVerdict, exposed};

impl Discovery {
    /// Whether an endpoint has an ECHConfig that hides the host: what a client that requires ECH
    /// needs.
    pub fn hides_host(&self) -> bool {
        let host = self.origin.host.to_string();
        let lists = self.endpoints.iter().filter_map(|e| e.ech.as_ref());
        lists
            .filter_map(EchOfRecord::chosen)
            .any(|chosen| chosen.hides(&host))
    }

    /// Why there is no ECHConfig to offer: the records, and the reason for each config. For a
    /// discovery without one; see [`hides_host`](Self::hides_host).
    pub fn why_no_ech(&self) -> String {
        let mut endpoints = self.endpoints.iter();
        // Without a question the place was given, and ECHConfigs were not to be looked up.
        if self.query_name.is_none() && endpoints.any(|e| e.kind == EndpointKind::Fixed) {
            return "the endpoint was given without an ECHConfigList".to_owned();
        }
        if let Some(problem) = &self.alias_problem {
            return problem.to_string();
        }
        match &self.https {
            HttpsAnswer::Failed(error) => {
                return format!("its HTTPS records could not be looked up: {error}");
            }
            HttpsAnswer::Malformed(error) => {
                return format!("its HTTPS records are malformed: {error}");
            }
            HttpsAnswer::None => {
                return match &self.query_name {
                    Some(name) => format!("{name} has no HTTPS record"),
                    None => "a literal address has no HTTPS record".to_owned(),
                };
            }
            HttpsAnswer::Found => {}
        }
        let host = self.origin.host.to_string();
        let said = self.records.iter();
        let said: Vec<_> = said.map(|verdict| of_record(verdict, &host)).collect();
        match said.is_empty() {
            true => "it has no compatible HTTPS record".to_owned(),
            false => said.join("; "),
        }
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
pub(crate) fn exposing_name(chosen: &Chosen, host: &str) -> Option<String> {
    let public_name = &chosen.contents().public_name;
    let exposure = public_name.exposes(host);
    (exposure == NameExposure::Equal)
        .then(|| format!("its public_name {public_name} is {}", exposed(exposure)))
}
