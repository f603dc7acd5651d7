//! One connection: discovery, candidates, attempts.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::attempt::{Fault, Reach, Setting, attempt, within};
use super::connector::{Shared, Stream};
use super::locate::{Located, locate};
use super::plan::{self, Candidate};
use super::race::first_success;
use super::record::Recorder;
use crate::error::{Cause, Step};
use crate::origin::{Origin, Scheme};
use crate::policy::EchMode;
use crate::report::milliseconds;
use crate::tls::Guarded;

/// What a connection is wanted for.
pub(crate) struct Wanted<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) alpn: &'a [Vec<u8>],
    pub(crate) url: Option<&'a str>,
    /// Whether the ECHConfigList given by the caller is meant for this origin.
    pub(crate) manual: bool,
    pub(crate) deadline: Option<Instant>,
}

/// Connects. The report's parts are put on record as they become known.
pub(super) async fn run(
    shared: &Shared,
    wanted: &Wanted<'_>,
    recorder: &Recorder,
) -> Result<(Stream, Origin), Cause> {
    let mode = shared.policy.ech;
    let manual = shared.manual.as_ref().filter(|_| wanted.manual);
    if let (Some(name), Some(host)) = (&shared.outer_sni, wanted.origin.host.name()) {
        name.check_against(host.as_str())
            .map_err(crate::Error::into_cause)?;
    }

    let begun = std::time::Instant::now();
    let located = within(
        limit(shared.policy.timeouts.dns, wanted.deadline),
        &wanted.origin.host.to_string(),
        Step::Dns,
        locate(shared, wanted),
    )
    .await;
    recorder.edit().timings_ms.dns = Some(milliseconds(begun.elapsed()));
    let located = located?;
    let discovery = &located.discovery;
    {
        let mut report = recorder.edit();
        // Without a query name nothing was asked about the origin.
        match discovery.query_name {
            Some(_) => report.dns = Some(discovery.into()),
            None => report.timings_ms.dns = None,
        }
        report.origin = located.origin.to_string();
        if mode.offers() {
            report.ech.warnings = plan::ech_warnings(discovery);
        }
    }
    check_discovery(shared, &located, manual.is_some())?;

    if located.origin.scheme == Scheme::Http {
        let stream = plain(shared, &located, wanted.deadline, recorder).await?;
        return Ok((Stream::Plain(Box::new(stream)), located.origin));
    }

    let candidates = plan::candidates(mode, shared.policy.family, manual, &discovery.endpoints);
    let required = |reason: String| Cause::EchRequired {
        origin: located.origin.to_string(),
        reason,
    };
    if candidates.is_empty() {
        let reachable = discovery
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses)
            .any(|address| shared.policy.family.allows(*address));
        return Err(match mode == EchMode::Require && reachable {
            true => required(plan::why_no_ech(manual, discovery)),
            false => no_address(&located),
        });
    }
    if manual.is_some() && !candidates.iter().any(|c| c.offer.is_real()) {
        recorder.edit().ech.warnings.push(format!(
            "GREASE was sent: {}",
            plan::why_no_ech(manual, discovery)
        ));
    }

    let setting = Setting {
        policy: &shared.policy,
        tls: &shared.tls,
        outer_sni: shared.outer_sni.as_ref(),
        name: located.origin.host.server_name(),
        host: located.origin.host.to_string(),
        origin: located.origin.to_string(),
        port: located.origin.port,
        alpn: wanted.alpn,
        deadline: wanted.deadline,
        recorder,
    };
    let known = recorder.edit().ech.clone();
    let ech_planned = candidates.iter().any(|c| c.offer.is_real());
    let outcome = first_success(
        &candidates,
        |candidate| {
            let mut known = known.clone();
            if ech_planned && !candidate.offer.is_real() {
                known.warnings.push(
                    "every endpoint with ECH was out of reach; connected to one without".to_owned(),
                );
            }
            Box::pin(attempt(&setting, candidate, known))
        },
        may_try,
    )
    .await;
    match outcome {
        Ok(won) => {
            let mut report = recorder.edit();
            report.tls = Some(won.tls);
            report.ech = won.ech;
            Ok((Stream::Tls(Box::new(won.stream)), located.origin))
        }
        Err(failures) => {
            // The failure that got furthest says most.
            let furthest = failures
                .into_iter()
                .map(|(_, fault)| fault)
                .max_by_key(|fault| fault.reach);
            match furthest {
                Some(fault) => {
                    recorder.edit().ech = fault.ech;
                    Err(fault.cause)
                }
                None => Err(no_address(&located)),
            }
        }
    }
}

/// Whether a candidate may be tried after these failures.
///
/// After an endpoint with ECH has answered, only others with ECH may be tried: an answer that is
/// not an authenticated one is never a reason to drop ECH (RFC 9849 §6.1.6, §8.1.1).
fn may_try(candidate: &Candidate, failures: &[(&Candidate, Box<Fault>)]) -> bool {
    failures.iter().all(|(failed, fault)| match fault.reach {
        Reach::Address => true,
        Reach::Endpoint => {
            failed.endpoint != candidate.endpoint
                && (candidate.offer.is_real() || !failed.offer.is_real())
        }
        Reach::Final => false,
    })
}

/// Errors of discovery, and those that only `require` makes of it.
fn check_discovery(shared: &Shared, located: &Located, manual: bool) -> Result<(), Cause> {
    let discovery = &located.discovery;
    if let Some(error) = &discovery.error {
        return Err(Cause::Name {
            host: located.origin.host.to_string(),
            reason: error.to_string(),
        });
    }
    let usable = manual || discovery.endpoints.iter().any(|e| e.ech_usable);
    match shared.policy.ech == EchMode::Require && !usable {
        true => Err(Cause::EchRequired {
            origin: located.origin.to_string(),
            reason: plan::why_no_ech(None, discovery),
        }),
        false => Ok(()),
    }
}

/// A connection without TLS.
async fn plain(
    shared: &Shared,
    located: &Located,
    deadline: Option<Instant>,
    recorder: &Recorder,
) -> Result<Guarded<TcpStream>, Cause> {
    let host = located.origin.host.to_string();
    if shared.policy.ech == EchMode::Require {
        return Err(Cause::EchRequired {
            origin: located.origin.to_string(),
            reason: "http:// without an HTTPS record is sent in the clear".to_owned(),
        });
    }
    let mut last = None;
    for endpoint in &located.discovery.endpoints {
        for ip in &endpoint.addresses {
            if !shared.policy.family.allows(*ip) {
                continue;
            }
            let address = SocketAddr::new(*ip, endpoint.port);
            let attempt = recorder.attempt(address);
            let begun = std::time::Instant::now();
            let connected = within(
                limit(shared.policy.timeouts.connect, deadline),
                &host,
                Step::Connect,
                TcpStream::connect(address),
            )
            .await
            .and_then(|outcome| {
                outcome.map_err(|source| Cause::Connect {
                    host: host.clone(),
                    address,
                    source,
                })
            });
            match connected {
                Ok(stream) => {
                    attempt.won(None, begun.elapsed(), None);
                    return Ok(Guarded::counting(stream, recorder.counts().clone()));
                }
                Err(cause) => {
                    attempt.failed(&cause);
                    last = Some(cause);
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| no_address(located)))
}

fn no_address(located: &Located) -> Cause {
    Cause::Name {
        host: located.origin.host.to_string(),
        reason: "no address that may be used".to_owned(),
    }
}

/// The shorter of a step's limit and what is left until the deadline.
pub(super) fn limit(step: Option<Duration>, deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match (step, left) {
        (Some(step), Some(left)) => Some(step.min(left)),
        (step, left) => step.or(left),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Offer;
    use super::*;
    use crate::policy::EchMode;
    use crate::report::Report;
    use echkit_proto::config::EchConfigList;
    use echkit_proto::key::{EchKey, KeyParams};

    fn candidate(endpoint: usize, ech: bool) -> Candidate {
        let key = KeyParams::new("public.example")
            .map(|params| EchKey::generate(&params))
            .expect("a valid name")
            .expect("a fresh key");
        let list = EchConfigList::from(key.config().clone());
        Candidate {
            endpoint,
            address: ([127, 0, 0, 1], 443).into(),
            offer: match ech {
                false => Offer::Grease,
                true => Offer::Real {
                    chosen: Box::new(list.select().chosen.expect("usable")),
                    source: crate::report::EchSource::Dns,
                },
            },
        }
    }

    fn fault(reach: Reach) -> Box<Fault> {
        Box::new(Fault {
            cause: Cause::Name {
                host: String::new(),
                reason: String::new(),
            },
            reach,
            ech: Report::new("", EchMode::Prefer).ech,
        })
    }

    #[test]
    fn an_endpoint_that_answered_is_never_a_reason_to_drop_ech() {
        let first = candidate(0, true);
        let failures = [(&first, fault(Reach::Endpoint))];
        assert!(may_try(&candidate(1, true), &failures));
        assert!(!may_try(&candidate(0, true), &failures));
        assert!(!may_try(&candidate(1, false), &failures));
    }

    #[test]
    fn endpoints_without_ech_follow_when_those_with_it_are_out_of_reach() {
        let first = candidate(0, true);
        let failures = [(&first, fault(Reach::Address))];
        assert!(may_try(&candidate(0, true), &failures));
        assert!(may_try(&candidate(1, false), &failures));
        let failures = [(&first, fault(Reach::Final))];
        assert!(!may_try(&candidate(1, true), &failures));
    }
}
