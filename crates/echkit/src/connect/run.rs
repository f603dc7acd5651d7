//! One connection: discovery, endpoints, a race of attempts.

use std::sync::Arc;
use std::time::Duration;

use echkit_proto::config::EchConfigList;
use echkit_proto::race;
use tokio::time::{Instant, timeout};

use super::attempt::{Candidate, Fault, Setting, Won, attempt, attempt_plain};
use super::connector::{Shared, Stream};
use super::kept::Kept;
use super::locate;
use super::plan;
use super::race::{Course, DnsTimeout, Turn};
use super::record::Recorder;
use crate::discover::{Discovery, Search, resolver_for};
use crate::error::{Cause, Step};
use crate::origin::{Origin, Scheme};
use crate::policy::{AddressFamily, EchMode, Policy};
use crate::report::milliseconds;

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
        name.check_against(host.as_str())?;
    }

    let policy = &shared.policy;
    let begun = Instant::now();
    let host = wanted.origin.host.to_string();
    let dns_limit = limit(policy.timeouts.dns, wanted.deadline);
    let late = |DnsTimeout| Cause::Timeout {
        host: host.clone(),
        step: Step::Dns,
        after: dns_limit.unwrap_or_default(),
    };
    let note_dns_time = || {
        let mut report = recorder.edit();
        // Without a query name nothing was asked about the origin.
        let elapsed = report.dns.as_ref().map(|_| milliseconds(begun.elapsed()));
        report.timings_ms.dns = report.timings_ms.dns.or(elapsed);
    };

    let options = locate::options(shared, wanted);
    let finding = resolver_for(&shared.resolver, wanted.origin, &options);
    let resolver = match dns_limit {
        None => finding.await,
        Some(limit) => timeout(limit, finding)
            .await
            .map_err(|_| late(DnsTimeout))?,
    };
    let search = Search::new(&resolver, wanted.origin, options);
    let dns_left = dns_limit.map(|limit| limit.saturating_sub(begun.elapsed()));
    let mut course = Course::new(search, settings(policy), dns_left);
    course.resolve().await.map_err(late)?;
    let discovery = course.discovery();
    let origin = match discovery.https_upgrade {
        true => wanted.origin.to_https(),
        false => wanted.origin.clone(),
    };
    note_discovery(recorder, discovery, &origin, mode);
    let plain = origin.scheme == Scheme::Http;
    let kept = Kept::new(shared, &origin, discovery.https_ttl);
    let entrants = plan::entrants(mode, manual, course.planned(), &kept);
    if entrants.is_empty() || plain && mode == EchMode::Require {
        // Nothing will be sent. What else DNS has to say makes a better error.
        course.complete().await.map_err(late)?;
        let discovery = course.finish();
        note_discovery(recorder, &discovery, &origin, mode);
        note_dns_time();
        return Err(why_nothing(shared, &origin, manual, &discovery));
    }
    let ech_planned = entrants.iter().any(|entrant| entrant.offer.is_real());
    if manual.is_some() && !ech_planned && !plain {
        recorder.edit().ech.warnings.push(format!(
            "GREASE was sent: {}",
            plan::why_no_ech(manual, course.discovery())
        ));
    }
    course.settle(entrants.iter().map(|e| e.endpoint.clone()).collect());

    let setting = Arc::new(Setting {
        policy,
        tls: &shared.tls,
        outer_sni: shared.outer_sni.as_ref(),
        name: origin.host.server_name(),
        host: host.clone(),
        origin: origin.to_string(),
        port: origin.port,
        alpn: wanted.alpn,
        deadline: wanted.deadline,
        kept,
        recorder,
    });
    let known = recorder.edit().ech.clone();
    let outcome = loop {
        let start = match course.next().await.map_err(late)? {
            Turn::Start(start) => start,
            Turn::Won(won) => break Ok(won),
            Turn::Lost(failures) => break Err(failures),
        };
        note_dns_time();
        let candidate = Candidate {
            address: start.address,
            offer: entrants[start.endpoint].offer.clone(),
            published: entrants[start.endpoint].published.clone(),
            progress: course.progress(&start),
        };
        let mut known = known.clone();
        if ech_planned && !candidate.offer.is_real() {
            known.warnings.push(
                "every endpoint with ECH was out of reach; connected to one without".to_owned(),
            );
        }
        let setting = Arc::clone(&setting);
        match plain {
            false => course.start(&start, attempt(setting, candidate, known)),
            true => course.start(&start, attempt_plain(setting, candidate, known)),
        }
    };
    let discovery = course.finish();
    note_discovery(recorder, &discovery, &origin, mode);
    note_dns_time();
    match outcome {
        Ok(Won { stream, tls, ech }) => {
            let mut report = recorder.edit();
            report.tls = tls;
            report.ech = ech;
            Ok((stream, origin))
        }
        // The failure that got furthest says most.
        Err(failures) => match furthest(failures) {
            Some(fault) => {
                recorder.edit().ech = fault.ech;
                Err(fault.cause)
            }
            None => Err(why_nothing(shared, &origin, manual, &discovery)),
        },
    }
}

fn settings(policy: &Policy) -> race::Settings {
    let mut settings = race::Settings::default();
    settings.attempt_delay = policy.racing.attempt_delay;
    settings.resolution_delay = policy.racing.resolution_delay;
    settings.max_attempts = policy.racing.max_attempts;
    settings.v6 = policy.family != AddressFamily::V4;
    settings.v4 = policy.family != AddressFamily::V6;
    settings
}

/// The first among those that got furthest.
fn furthest(failures: Vec<Fault>) -> Option<Fault> {
    failures
        .into_iter()
        .reduce(|best, next| match next.reach > best.reach {
            true => next,
            false => best,
        })
}

/// Puts what DNS has said by now on record.
fn note_discovery(recorder: &Recorder, discovery: &Discovery, origin: &Origin, mode: EchMode) {
    let mut report = recorder.edit();
    report.dns = discovery.query_name.as_ref().map(|_| discovery.into());
    report.origin = origin.to_string();
    if mode.offers() && report.attempts.is_empty() {
        report.ech.warnings = plan::ech_warnings(discovery);
    }
}

/// Why nothing was sent.
fn why_nothing(
    shared: &Shared,
    origin: &Origin,
    manual: Option<&EchConfigList>,
    discovery: &Discovery,
) -> Cause {
    let required = |reason: String| Cause::EchRequired {
        origin: origin.to_string(),
        reason,
    };
    if let Some(error) = &discovery.error {
        return Cause::Name {
            host: origin.host.to_string(),
            reason: error.to_string(),
        };
    }
    let mut addresses = discovery.endpoints.iter().flat_map(|e| &e.addresses);
    let reachable = addresses.any(|address| shared.policy.family.allows(*address));
    match shared.policy.ech == EchMode::Require && reachable {
        true if manual.is_some() && origin.scheme == Scheme::Http => {
            required("http:// without an HTTPS record is sent in the clear".to_owned())
        }
        true => required(plan::why_no_ech(manual, discovery)),
        false => Cause::Name {
            host: origin.host.to_string(),
            reason: "no address that may be used".to_owned(),
        },
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
