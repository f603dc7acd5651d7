//! One connection: discovery, the plan that follows from it, a race of attempts.
//!
//! Each stage returns its part of what there is to report; [`RacedPlan::conclude`] puts them
//! together.

use std::sync::Arc;

use echkit_proto::race::{Failure as Reach, Family, RaceSettings};

use super::attempt::{AttemptContext, AttemptTarget, attempt, attempt_plain};
use super::attempt_log::AttemptLog;
use super::attempt_outcome::{AttemptFault, AttemptWon};
use super::candidate::Candidate;
use super::connection_plan::ConnectionPlan;
use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use super::discovery_options::discovery_options;
use super::established::{Established, RacedPlan};
use super::offer_event::OfferEvent;
use super::proxy_route::ProxyRoute;
use super::proxy_tunnel::ProxyTunnel;
use super::race_driver::{DnsTimeout, RaceDriver, RaceEnd, Turn};
use crate::deadline::Deadline;
use crate::discover::{Search, Warning, resolver_for};
use crate::error::{Cause, Step};
use crate::policy::Policy;

/// The race of one connection.
type ConnectionRace<'a> = RaceDriver<'a, Arc<Candidate>, AttemptWon>;

/// Connects. `log` keeps the attempts.
pub(super) async fn establish(
    parts: &ConnectorParts,
    request: &ConnectionRequest<'_>,
    log: &AttemptLog,
) -> Established {
    let mut route = match ProxyRoute::choose(parts, request.origin) {
        Ok(route) => route,
        Err(cause) => return Established::unresolved(parts, request, cause),
    };
    let deadline =
        Deadline::within(parts.policy.timeouts.connect).or_sooner(Deadline::at(request.deadline));
    let dns_limit = deadline.step(parts.policy.timeouts.dns);
    let mut driver = match resolve(parts, request, route.as_ref(), deadline, dns_limit).await {
        Ok(driver) => driver,
        Err(cause) => {
            let ended = Established::unresolved(parts, request, cause);
            return ended.through(route.as_ref());
        }
    };
    let found = driver.discovery();
    tracing::debug!(
        https = found.https.as_str(),
        records = found.records.len(),
        aliases = found.aliases.len(),
        protected = found.protected,
        svcb_reliant = found.svcb_reliant,
        "HTTPS records"
    );
    let plan = ConnectionPlan::new(parts, request, found, driver.planned());
    // An `http` origin that DNS upgrades may have another way as an `https` one.
    if plan.origin != *request.origin {
        let upgraded = match ProxyRoute::choose(parts, &plan.origin) {
            Ok(route) => route,
            Err(cause) => return Established::unresolved(parts, request, cause),
        };
        let named =
            |route: &Option<ProxyRoute>| route.as_ref().and_then(ProxyRoute::named).cloned();
        // The names to look up are others: they were left to a proxy, or are now.
        if named(&route) != named(&upgraded) {
            let again = ConnectionRequest {
                origin: &plan.origin,
                deadline: deadline.until,
                ..*request
            };
            return Box::pin(establish(parts, &again, log)).await;
        }
        route = upgraded;
    }
    let (end, first_start) = match plan.endpoints.is_empty() {
        // Nothing will be sent. What else DNS has to say makes a better error.
        true => match driver.complete().await {
            Ok(()) => (RaceEnd::Lost(Vec::new()), None),
            Err(DnsTimeout) => (RaceEnd::DnsTimeout, None),
        },
        false => match ProxyTunnel::prepare(route.as_ref(), parts, &plan, request, dns_limit).await
        {
            Ok(proxy) => race(&mut driver, &plan, parts, request, proxy, deadline, log).await,
            Err(cause) => {
                let (reach, ech) = (Reach::Final, plan.ech.clone());
                (
                    RaceEnd::Lost(vec![AttemptFault { cause, reach, ech }]),
                    None,
                )
            }
        },
    };
    let mut discovery = driver.finish();
    discovery.warnings.extend(Warning::queries_past_proxy(
        &parts.resolver,
        &plan.origin,
        &parts.proxies,
    ));
    let raced = RacedPlan {
        plan,
        end,
        discovery,
        dns_time: first_start.unwrap_or_else(|| log.meter().elapsed_ms()),
        dns_limit,
        deadline,
        route,
    };
    raced.conclude(parts, request)
}

/// Asks DNS, until it is known what follows from the HTTPS records.
async fn resolve<'a>(
    parts: &'a ConnectorParts,
    request: &ConnectionRequest<'_>,
    route: Option<&ProxyRoute>,
    deadline: Deadline,
    dns_limit: Deadline,
) -> Result<ConnectionRace<'a>, Cause> {
    if let (Some(name), Some(host)) = (&parts.outer_sni, request.origin.host.name()) {
        name.check_against(host.as_str())?;
    }
    let host = request.origin.host.to_string();
    let options = discovery_options(parts, request, route);
    let finding = resolver_for(&parts.resolver, request.origin, &options);
    let resolver = dns_limit.run_step(&host, Step::Dns, finding).await?;
    let search = Search::new(&resolver, request.origin, options);
    let settings = race_settings(&parts.policy);
    let mut driver = RaceDriver::new(search, settings, dns_limit.until, deadline);
    match driver.resolve().await {
        Ok(()) => Ok(driver),
        Err(DnsTimeout) => Err(dns_limit.exceeded(&host, Step::Dns)),
    }
}

/// Runs the attempts, up to the first that succeeds. Tells when the first one started.
async fn race<'a>(
    driver: &mut ConnectionRace<'a>,
    plan: &ConnectionPlan,
    parts: &'a ConnectorParts,
    request: &'a ConnectionRequest<'_>,
    proxy: Option<Arc<ProxyTunnel>>,
    deadline: Deadline,
    log: &'a AttemptLog,
) -> (RaceEnd<AttemptWon>, Option<f64>) {
    let context = Arc::new(AttemptContext {
        policy: &parts.policy,
        tls: &parts.tls,
        outer_sni: parts.outer_sni.as_ref(),
        name: plan.origin.host.server_name(),
        host: plan.origin.host.to_string(),
        origin: plan.origin.to_string(),
        port: plan.origin.port,
        alpn: request.alpn,
        deadline,
        retry_configs: plan.retry_configs.clone(),
        log,
        proxy,
        recorder: parts.recorder.as_ref(),
    });
    for (index, endpoint) in plan.endpoints.iter().enumerate() {
        let offer = OfferEvent::from(&endpoint.value.offer);
        tracing::debug!(
            index,
            port = endpoint.port,
            offer = offer.kind,
            source = offer.source,
            config_id = offer.config_id,
            hints = endpoint.hints.len(),
            "endpoint"
        );
    }
    driver.settle(plan.endpoints.iter().cloned());
    let mut first_start = None;
    loop {
        let start = match driver.next().await {
            Turn::Start(start) => start,
            Turn::Ended(end) => return (end, first_start),
        };
        first_start.get_or_insert_with(|| log.meter().elapsed_ms());
        let ech = plan.ech_at(&start.value);
        let target = AttemptTarget {
            address: start.address,
            candidate: start.value,
            progress: driver.progress(start.attempt),
        };
        let context = Arc::clone(&context);
        match plan.in_clear() {
            false => driver.start(start.attempt, attempt(context, target, ech)),
            true => driver.start(start.attempt, attempt_plain(context, target, ech)),
        }
    }
}

fn race_settings(policy: &Policy) -> RaceSettings {
    let mut settings = RaceSettings::default();
    settings.attempt_delay = policy.racing.attempt_delay;
    settings.resolution_delay = policy.racing.resolution_delay;
    settings.max_attempts = policy.racing.max_attempts;
    settings.v6 = policy.family.includes(Family::V6);
    settings.v4 = policy.family.includes(Family::V4);
    settings
}
