//! One connection: discovery, endpoints, a race of attempts.

use std::sync::Arc;

use echkit_proto::config::EchConfigList;
use echkit_proto::race;
use tokio::time::{Instant, timeout};

use super::attempt::{AttemptContext, AttemptTarget, attempt, attempt_plain};
use super::attempt_outcome::{AttemptFault, AttemptWon};
use super::candidate::candidates;
use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use super::deadline::limit;
use super::discovery_options::discovery_options;
use super::ech_findings::{ech_warnings, why_no_ech};
use super::origin_retry_configs::OriginRetryConfigs;
use super::race_driver::{DnsTimeout, RaceDriver, Turn};
use super::report_recorder::ReportRecorder;
use super::stream::Stream;
use crate::discover::{Discovery, Search, resolver_for};
use crate::error::{Cause, Step};
use crate::origin::{Origin, Scheme};
use crate::policy::{AddressFamily, EchMode, Policy};
use crate::report::milliseconds;

/// Connects. The report's parts are put on record as they become known.
pub(super) async fn establish(
    parts: &ConnectorParts,
    request: &ConnectionRequest<'_>,
    recorder: &ReportRecorder,
) -> Result<(Stream, Origin), Cause> {
    let mode = parts.policy.ech;
    let manual = parts.manual.as_ref().filter(|_| request.manual);
    if let (Some(name), Some(host)) = (&parts.outer_sni, request.origin.host.name()) {
        name.check_against(host.as_str())?;
    }

    let policy = &parts.policy;
    let begun = Instant::now();
    let host = request.origin.host.to_string();
    let dns_limit = limit(policy.timeouts.dns, request.deadline);
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

    let options = discovery_options(parts, request);
    let finding = resolver_for(&parts.resolver, request.origin, &options);
    let resolver = match dns_limit {
        None => finding.await,
        Some(limit) => timeout(limit, finding)
            .await
            .map_err(|_| late(DnsTimeout))?,
    };
    let search = Search::new(&resolver, request.origin, options);
    let dns_left = dns_limit.map(|limit| limit.saturating_sub(begun.elapsed()));
    let mut driver = RaceDriver::new(search, settings(policy), dns_left);
    driver.resolve().await.map_err(late)?;
    let discovery = driver.discovery();
    let origin = match discovery.https_upgrade {
        true => request.origin.to_https(),
        false => request.origin.clone(),
    };
    note_discovery(recorder, discovery, &origin, mode);
    let plain = origin.scheme == Scheme::Http;
    let retry_configs = OriginRetryConfigs::new(parts, &origin, discovery.https_ttl);
    let candidates = candidates(mode, manual, driver.planned(), &retry_configs);
    if candidates.is_empty() || plain && mode == EchMode::Require {
        // Nothing will be sent. What else DNS has to say makes a better error.
        driver.complete().await.map_err(late)?;
        let discovery = driver.finish();
        note_discovery(recorder, &discovery, &origin, mode);
        note_dns_time();
        return Err(why_nothing(parts, &origin, manual, &discovery));
    }
    let ech_planned = candidates.iter().any(|candidate| candidate.offer.is_real());
    if manual.is_some() && !ech_planned && !plain {
        recorder.edit().ech.warnings.push(format!(
            "GREASE was sent: {}",
            why_no_ech(manual, driver.discovery())
        ));
    }
    driver.settle(candidates.iter().map(|e| e.endpoint.clone()).collect());

    let context = Arc::new(AttemptContext {
        policy,
        tls: &parts.tls,
        outer_sni: parts.outer_sni.as_ref(),
        name: origin.host.server_name(),
        host: host.clone(),
        origin: origin.to_string(),
        port: origin.port,
        alpn: request.alpn,
        deadline: request.deadline,
        retry_configs,
        recorder,
    });
    let known = recorder.edit().ech.clone();
    let outcome = loop {
        let start = match driver.next().await.map_err(late)? {
            Turn::Start(start) => start,
            Turn::Won(won) => break Ok(won),
            Turn::Lost(failures) => break Err(failures),
        };
        note_dns_time();
        let target = AttemptTarget {
            address: start.address,
            offer: candidates[start.endpoint].offer.clone(),
            published: candidates[start.endpoint].published.clone(),
            progress: driver.progress(&start),
        };
        let mut known = known.clone();
        if ech_planned && !target.offer.is_real() {
            known.warnings.push(
                "every endpoint with ECH was out of reach; connected to one without".to_owned(),
            );
        }
        let context = Arc::clone(&context);
        match plain {
            false => driver.start(&start, attempt(context, target, known)),
            true => driver.start(&start, attempt_plain(context, target, known)),
        }
    };
    let discovery = driver.finish();
    note_discovery(recorder, &discovery, &origin, mode);
    note_dns_time();
    match outcome {
        Ok(AttemptWon { stream, tls, ech }) => {
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
            None => Err(why_nothing(parts, &origin, manual, &discovery)),
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
fn furthest(failures: Vec<AttemptFault>) -> Option<AttemptFault> {
    failures
        .into_iter()
        .reduce(|best, next| match next.reach > best.reach {
            true => next,
            false => best,
        })
}

/// Puts what DNS has said by now on record.
fn note_discovery(
    recorder: &ReportRecorder,
    discovery: &Discovery,
    origin: &Origin,
    mode: EchMode,
) {
    let mut report = recorder.edit();
    report.dns = discovery.query_name.as_ref().map(|_| discovery.into());
    report.origin = origin.to_string();
    if mode.offers() && report.attempts.is_empty() {
        report.ech.warnings = ech_warnings(discovery);
    }
}

/// Why nothing was sent.
fn why_nothing(
    parts: &ConnectorParts,
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
    let reachable = addresses.any(|address| parts.policy.family.allows(*address));
    match parts.policy.ech == EchMode::Require && reachable {
        true if manual.is_some() && origin.scheme == Scheme::Http => {
            required("http:// without an HTTPS record is sent in the clear".to_owned())
        }
        true => required(why_no_ech(manual, discovery)),
        false => Cause::Name {
            host: origin.host.to_string(),
            reason: "no address that may be used".to_owned(),
        },
    }
}
