//! Following HTTPS records from the query name to their end (RFC 9460 §3).

use std::time::Duration;

use echkit_proto::config::EchConfigList;
use echkit_proto::svcb::{self, DomainName, Resolution, Rrset, Service};

use super::{AliasProblem, ConfigVerdict, DiscoverOptions, HttpsAnswer, RecordVerdict, Warning};
use crate::dns::{RecordType, Resolver};

/// What the HTTPS records of an origin say.
#[derive(Debug)]
pub(super) struct HttpsLookup {
    pub(super) answer: HttpsAnswer,
    pub(super) aliases: Vec<DomainName>,
    pub(super) alias_problem: Option<AliasProblem>,
    pub(super) records: Vec<RecordVerdict>,
    /// Compatible records in the order in which to try them.
    pub(super) services: Vec<Service>,
    /// The name at which the lookup ended.
    pub(super) last: DomainName,
    pub(super) warnings: Vec<Warning>,
    pub(super) ttl: Option<Duration>,
}

/// Asks at `name`, and on along aliases.
pub(super) async fn look_up(
    resolver: &Resolver,
    options: &DiscoverOptions,
    name: &DomainName,
) -> HttpsLookup {
    let mut lookup = HttpsLookup {
        answer: HttpsAnswer::None,
        aliases: Vec::new(),
        alias_problem: None,
        records: Vec::new(),
        services: Vec::new(),
        last: name.clone(),
        warnings: Vec::new(),
        ttl: None,
    };
    let mut visited = vec![name.clone()];
    while let Some(next) = lookup.step(resolver, options, &mut visited).await {
        lookup.last = next;
    }
    lookup
}

impl HttpsLookup {
    /// Asks once; gives the name to go on at.
    async fn step(
        &mut self,
        resolver: &Resolver,
        options: &DiscoverOptions,
        visited: &mut Vec<DomainName>,
    ) -> Option<DomainName> {
        let name = self.last.clone();
        let answer = match resolver.query(&name, RecordType::HTTPS).await {
            Ok(answer) => answer,
            Err(error) => {
                self.warnings.push(Warning::Failed {
                    name,
                    reason: error.to_string(),
                });
                self.answer = HttpsAnswer::Failed(error);
                return None;
            }
        };
        self.ttl = Some(self.ttl.map_or(answer.ttl, |ttl| ttl.min(answer.ttl)));
        if answer.owner != name {
            visited.push(answer.owner.clone());
        }
        let rrset = match Rrset::parse(answer.owner, &answer.rdata) {
            Ok(rrset) => rrset,
            Err(malformed) => {
                let reason = malformed.to_string();
                self.warnings.push(Warning::Malformed {
                    name,
                    reason: reason.clone(),
                });
                self.answer = HttpsAnswer::Malformed(reason);
                return None;
            }
        };
        if !rrset.records.is_empty() {
            self.answer = HttpsAnswer::Found;
        }
        match resolve(&rrset, options) {
            Resolution::Empty => None,
            Resolution::Alias { target } => {
                // §3.1: bounded, and loops need not be walked to the bound.
                if visited.contains(&target) {
                    self.end_aliases(AliasProblem::Loop(target));
                    return None;
                }
                if self.aliases.len() == options.max_aliases {
                    self.end_aliases(AliasProblem::TooLong(options.max_aliases));
                    return None;
                }
                visited.push(target.clone());
                self.aliases.push(target.clone());
                Some(target)
            }
            Resolution::Unavailable => {
                self.end_aliases(AliasProblem::Unavailable(name));
                let why = |is_alias| match is_alias {
                    true => "it says that the service is not available",
                    false => "it stands beside an alias, which overrides it",
                };
                self.judge(&rrset, |_| None);
                for verdict in &mut self.records {
                    verdict.why_not = Some(why(verdict.record.is_alias()).to_owned());
                }
                None
            }
            Resolution::Services { services, why_not } => {
                self.judge(&rrset, |index| {
                    why_not[index].as_ref().map(ToString::to_string)
                });
                if services.is_empty() {
                    self.warnings.push(Warning::NoCompatibleRecord(name));
                }
                self.services = services;
                None
            }
        }
    }

    fn end_aliases(&mut self, problem: AliasProblem) {
        self.warnings.push(problem.clone().into());
        self.alias_problem = Some(problem);
    }

    fn judge(&mut self, rrset: &Rrset, why_not: impl Fn(usize) -> Option<String>) {
        let verdict = |(index, record): (usize, &svcb::Record)| RecordVerdict {
            record: record.clone(),
            why_not: why_not(index),
            configs: record
                .params
                .ech
                .as_deref()
                .map(judge_configs)
                .unwrap_or_default(),
        };
        self.records = rrset.records.iter().enumerate().map(verdict).collect();
    }
}

fn resolve(rrset: &Rrset, options: &DiscoverOptions) -> Resolution {
    let alpn: Vec<_> = options.alpn.iter().map(Vec::as_slice).collect();
    let judge =
        |list: &[u8]| EchConfigList::parse(list).is_ok_and(|list| list.select().chosen.is_some());
    let client = svcb::Client {
        alpn: &alpn,
        ech: if options.ech { Some(&judge) } else { None },
    };
    rrset.resolve(&client, &mut rand::rng())
}

/// The verdict on each config of a list whose framing has been checked.
fn judge_configs(list: &[u8]) -> Vec<ConfigVerdict> {
    let Ok(list) = EchConfigList::parse(list) else {
        return Vec::new();
    };
    let verdict = |verdict: echkit_proto::config::Verdict| ConfigVerdict {
        config_id: verdict.config_id,
        why_not: verdict.why_not.map(|why_not| why_not.to_string()),
    };
    list.select().verdicts.into_iter().map(verdict).collect()
}
