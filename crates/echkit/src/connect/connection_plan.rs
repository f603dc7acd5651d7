//! What follows from the HTTPS records, before anything is sent.

use std::sync::Arc;

use echkit_proto::race::RaceEndpoint;

use super::candidate::{Candidate, candidates};
use super::connection_request::ConnectionRequest;
use super::connector_parts::ConnectorParts;
use super::ech_findings::{ech_warnings, exposure_warnings, why_no_ech};
use super::origin_retry_configs::OriginRetryConfigs;
use crate::discover::{Discovery, Planned};
use crate::origin::{Origin, Scheme};
use crate::policy::EchMode;
use crate::report::EchReport;

/// What follows from the HTTPS records.
#[derive(Debug)]
pub(super) struct ConnectionPlan {
    /// With the scheme that the records ask for (RFC 9460 §9.5).
    pub(super) origin: Origin,
    /// Where to connect to, in order; none where nothing may be sent.
    pub(super) endpoints: Vec<RaceEndpoint<Arc<Candidate>>>,
    pub(super) retry_configs: OriginRetryConfigs,
    /// The report about ECH as far as it is known.
    pub(super) ech: EchReport,
}

impl ConnectionPlan {
    pub(super) fn new(
        parts: &ConnectorParts,
        request: &ConnectionRequest<'_>,
        discovery: &Discovery,
        planned: &[Planned],
    ) -> Self {
        let mode = parts.policy.ech;
        let manual = parts.manual_list(request);
        let origin = match discovery.https_upgrade {
            true => request.origin.to_https(),
            false => request.origin.clone(),
        };
        let host = origin.host.to_string();
        let in_clear = origin.scheme == Scheme::Http;
        let retry_configs = OriginRetryConfigs::new(parts, &origin, discovery.https_ttl);
        let endpoints = match in_clear && mode == EchMode::Require {
            true => Vec::new(),
            false => candidates(mode, &host, manual, planned, &retry_configs),
        };
        let mut plan = Self {
            origin,
            endpoints,
            retry_configs,
            ech: ech_report(mode, discovery),
        };
        if manual.is_some() && !plan.has_ech() && !in_clear {
            plan.ech.warnings.push(format!(
                "GREASE was sent: {}",
                why_no_ech(manual, &host, discovery)
            ));
        }
        if !in_clear {
            let candidates = plan.endpoints.iter().map(|endpoint| &*endpoint.value);
            plan.ech
                .warnings
                .extend(exposure_warnings(candidates, &host));
        }
        plan
    }

    /// Whether the connection is made without TLS.
    pub(super) fn in_clear(&self) -> bool {
        self.origin.scheme == Scheme::Http
    }

    /// Whether ECH is offered for real at some endpoint.
    fn has_ech(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.ech)
    }

    /// The report about ECH, as far as it is known when an attempt with this candidate begins.
    pub(super) fn ech_at(&self, candidate: &Candidate) -> EchReport {
        let mut ech = self.ech.clone();
        if self.has_ech() && !candidate.offer.is_real() {
            ech.warnings
                .push("no endpoint with ECH was reachable; connected to one without".to_owned());
        }
        ech
    }
}

/// What discovery alone has to say about ECH.
pub(super) fn ech_report(mode: EchMode, discovery: &Discovery) -> EchReport {
    let mut ech = EchReport::new(mode);
    if mode.offers() {
        ech.warnings = ech_warnings(discovery);
    }
    ech
}
