//! The published key, at every address (RFC 9849 §7.1).

use echkit::config::Chosen;
use echkit::tls::{ConfigSource, OfferOutcome, RealOffer};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, Place};
use crate::dial::{Attempt, AttemptEnd};
use crate::log::CheckLog;
use crate::probe::Probe;

/// Configs of one list that are offered, the first one included.
const MAX_CONFIGS: usize = 4;

pub(crate) struct PublishedKey;

impl Probe for PublishedKey {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Key
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            if deployment.places.is_empty() {
                return log.skip(
                    ProbeFamily::Key.as_str(),
                    "no record has a config that hides the host, at an address",
                );
            }
            deployment
                .at_each_place(|place| at(deployment, place, log))
                .await;
            let mut routed = 0;
            let mut connected = 0;
            for place in &deployment.places {
                let attempt = deployment.published(place).await;
                routed += usize::from(!matches!(attempt.end, AttemptEnd::NoRoute(_)));
                connected += usize::from(attempt.connected());
            }
            if connected == 0 && routed > 0 {
                let seen = format!("{routed} tried, none connected");
                log.find(FindingId::NoAddressReachable, seen);
            }
        }
        .boxed()
    }
}

async fn at(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    let attempt = deployment.published(place).await;
    if fails(attempt) {
        let tls = &deployment.tls.small;
        let small = deployment.offer(tls, place, place.offer.clone()).await;
        if small.is_accepted() {
            return log.find_at(FindingId::LargeHello, &place.at, attempt.why());
        }
    }
    judge(&place.offer.chosen, attempt, place, log);
    if !attempt.connected() {
        return;
    }
    // Clients with fewer suites choose a later config.
    for other in place.offer.others.iter().take(MAX_CONFIGS - 1) {
        let offer = RealOffer::new(other.clone()).with_source(ConfigSource::Dns);
        let attempt = deployment.offer(&deployment.tls.usual, place, offer).await;
        judge(other, &attempt, place, log);
    }
}

/// Whether a connection ended before anything was said of ECH or of a certificate.
fn fails(attempt: &Attempt) -> bool {
    attempt.offer == OfferOutcome::Undecided && matches!(attempt.end, AttemptEnd::Failed(_))
}

fn judge(config: &Chosen, attempt: &Attempt, place: &Place, log: &CheckLog) {
    let contents = config.contents();
    let label = format!("config {} ({})", contents.config_id, contents.public_name);
    match &attempt.end {
        AttemptEnd::NoRoute(why) => {
            return log.skip(place.at.to_string(), format!("no route from here: {why}"));
        }
        AttemptEnd::NoConnection(why) => {
            return log.find_at(FindingId::AddressUnreachable, &place.at, why.clone());
        }
        _ => {}
    }
    match (&attempt.offer, &attempt.end) {
        (OfferOutcome::Accepted, AttemptEnd::Finished { .. }) => {
            log.pass(format!("{label} is accepted at {}", place.at));
        }
        (OfferOutcome::Accepted, AttemptEnd::Certificate(why)) => {
            log.find_at(FindingId::HostCertificate, &place.at, why.clone());
        }
        (OfferOutcome::Rejected(rejection), _) if rejection.retry_configs.is_none() => {
            log.find_at(
                FindingId::EchDisabled,
                &place.at,
                format!("{label} is rejected without retry_configs"),
            );
        }
        (
            OfferOutcome::Rejected(_)
            | OfferOutcome::RejectedUnauthenticated
            | OfferOutcome::RejectedResumed,
            _,
        ) => {
            log.find_at(
                FindingId::KeyRejected,
                &place.at,
                format!("{label} is rejected"),
            );
        }
        (_, AttemptEnd::Version(why)) => {
            log.find_at(FindingId::Tls13Missing, &place.at, why.clone());
        }
        _ => log.find_at(FindingId::HandshakeFails, &place.at, attempt.why()),
    }
}
