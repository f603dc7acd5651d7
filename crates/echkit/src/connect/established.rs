//! What came of a connection, and the report about it.

use super::attempt_log::AttemptLog;
use super::attempt_outcome::{AttemptWon, furthest};
use super::connection_plan::{ConnectionPlan, ech_report};
use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use super::ech_findings::why_no_ech;
use super::proxy_route::ProxyRoute;
use super::race_driver::RaceEnd;
use super::stream::Stream;
use crate::deadline::Deadline;
use crate::discover::{DiscoverError, Discovery};
use crate::error::{Cause, Step};
use crate::origin::{Origin, Scheme};
use crate::policy::EchMode;
use crate::proxy::ProxyFault;
use crate::report::{DnsReport, EchReport, EchStatus, Report, Timings, TlsReport, milliseconds};

use echkit_proto::race::Failure as Reach;

/// What came of a connection, with the parts of the report.
pub(super) struct Established {
    pub(super) outcome: Result<Stream, Cause>,
    pub(super) origin: Origin,
    proxy: Option<String>,
    dns: Option<DnsReport>,
    ech: EchReport,
    tls: Option<TlsReport>,
    timings: Timings,
}

impl Established {
    /// Nothing: DNS had not said what may be sent.
    pub(super) fn unresolved(
        parts: &ConnectorParts,
        request: &ConnectionRequest<'_>,
        cause: Cause,
    ) -> Self {
        Self {
            outcome: Err(cause),
            origin: request.origin.clone(),
            proxy: None,
            dns: None,
            ech: EchReport::new(parts.policy.ech),
            tls: None,
            timings: Timings::default(),
        }
    }

    /// The same with the proxy that the way leads through.
    pub(super) fn through(mut self, route: Option<&ProxyRoute>) -> Self {
        self.proxy = route.map(|route| route.proxy.to_string());
        self
    }

    /// What came of ECH.
    pub(super) fn ech_status(&self) -> EchStatus {
        self.ech.status
    }

    /// The report; `log` has the attempts.
    pub(super) fn report(&self, url: Option<&str>, log: &AttemptLog) -> Report {
        let mut report = Report::new(self.origin.to_string(), self.ech.mode);
        report.url = url.map(str::to_owned);
        report.proxy.clone_from(&self.proxy);
        report.dns.clone_from(&self.dns);
        report.ech = self.ech.clone();
        report.attempts = log.attempts();
        report.tls.clone_from(&self.tls);
        report.timings_ms = self.timings;
        report.timings_ms.total = log.meter().elapsed_ms();
        report.bytes = log.meter().counts.snapshot();
        report
    }
}

/// The end of a race that followed a plan.
pub(super) struct RacedPlan {
    pub(super) plan: ConnectionPlan,
    pub(super) end: RaceEnd<AttemptWon>,
    /// All that DNS had to say.
    pub(super) discovery: Discovery,
    /// How long it took until DNS had said enough for the first attempt, or all.
    pub(super) dns_time: f64,
    pub(super) dns_limit: Deadline,
    pub(super) deadline: Deadline,
    pub(super) route: Option<ProxyRoute>,
}

impl RacedPlan {
    /// Puts the parts together.
    pub(super) fn conclude(
        self,
        parts: &ConnectorParts,
        request: &ConnectionRequest<'_>,
    ) -> Established {
        let Self {
            plan,
            end,
            discovery,
            dns_time,
            dns_limit,
            deadline,
            route,
        } = self;
        let host = request.origin.host.to_string();
        let dns: Option<DnsReport> = discovery.query_name.as_ref().map(|_| (&discovery).into());
        let mut timings = Timings {
            // Without a query name no question was about the origin.
            dns: dns.as_ref().map(|_| dns_time),
            ..Timings::default()
        };
        // Where no attempt was made, ECH is what discovery says about it.
        let unattempted = || ech_report(parts.policy.ech, &discovery);
        let mut tls = None;
        let (outcome, ech) = match end {
            RaceEnd::Won(won) => {
                timings.tcp = Some(milliseconds(won.tcp));
                if let Some((report, took)) = won.tls {
                    timings.tls = Some(milliseconds(took));
                    tls = Some(report);
                }
                (Ok(won.stream), won.ech)
            }
            RaceEnd::Lost(faults) => match furthest(faults) {
                Some(fault) => (Err(fault.cause), fault.ech),
                None => {
                    let cause = why_nothing(parts, request, &plan.origin, &discovery);
                    (Err(cause), unattempted())
                }
            },
            RaceEnd::DnsTimeout => (Err(dns_limit.exceeded(&host, Step::Dns)), unattempted()),
            RaceEnd::OutOfTime(faults) => {
                let fault = furthest(faults);
                let step = match fault.as_ref().map(|fault| (&fault.cause, fault.reach)) {
                    Some((Cause::Timeout { step, .. }, _)) => *step,
                    Some((_, Reach::Broken)) => Step::Handshake,
                    _ => Step::Connect,
                };
                let late = match (&route, step) {
                    (Some(route), Step::Connect) => {
                        let after = deadline.limit;
                        route.cause(&host, ProxyFault::Timeout { after })
                    }
                    _ => deadline.exceeded(&host, step),
                };
                match fault {
                    // A server's word says more than that time was up before the others answered.
                    Some(fault) if fault.reach > Reach::Broken => (Err(fault.cause), fault.ech),
                    Some(fault) => (Err(late), fault.ech),
                    None => (Err(late), plan.ech),
                }
            }
        };
        Established {
            outcome,
            origin: plan.origin,
            proxy: route.map(|route| route.proxy.to_string()),
            dns,
            ech,
            tls,
            timings,
        }
    }
}

/// Why nothing was sent.
fn why_nothing(
    parts: &ConnectorParts,
    request: &ConnectionRequest<'_>,
    origin: &Origin,
    discovery: &Discovery,
) -> Cause {
    let manual = parts.manual_list(request);
    let required = |reason: String| Cause::EchRequired {
        origin: origin.to_string(),
        reason,
    };
    if let Some(error @ DiscoverError::NoCommonProtocol { .. }) = &discovery.error
        && parts.policy.ech == EchMode::Require
    {
        return required(error.to_string());
    }
    if let Some(error) = &discovery.error {
        return Cause::unresolved(origin.host.to_string(), error);
    }
    let mut addresses = discovery.endpoints.iter().flat_map(|e| &e.addresses);
    let reachable = addresses.any(|address| parts.policy.family.allows(*address));
    match parts.policy.ech == EchMode::Require && reachable {
        true if manual.is_some() && origin.scheme == Scheme::Http => {
            required("http:// without an HTTPS record is sent in the clear".to_owned())
        }
        true => required(why_no_ech(manual, &origin.host.to_string(), discovery)),
        false => Cause::Name {
            host: origin.host.to_string(),
            reason: "no address that may be used".to_owned(),
            discovery: None,
        },
    }
}
