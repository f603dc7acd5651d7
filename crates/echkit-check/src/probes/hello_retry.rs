//! ECH through a HelloRetryRequest (RFC 9849 §6.1.5, §7.1.1), forced by a first key share that no
//! server takes.

use echkit::tls::OfferOutcome;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, Place};
use crate::log::CheckLog;
use crate::probe::Probe;

pub(crate) struct HelloRetry;

impl Probe for HelloRetry {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::HelloRetry
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        deployment
            .at_each_place(|place| at(deployment, place, log))
            .boxed()
    }
}

async fn at(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    // What fails without it says nothing of it.
    if !deployment.published(place).await.is_accepted() {
        return;
    }
    let attempt = deployment
        .offer(&deployment.tls.retrying, place, place.offer.clone())
        .await;
    match &attempt.offer {
        OfferOutcome::Accepted => log.pass(format!(
            "ECH is accepted after a HelloRetryRequest at {}",
            place.at
        )),
        OfferOutcome::Rejected(_) | OfferOutcome::RejectedUnauthenticated => log.find_at(
            FindingId::HelloRetryBroken,
            &place.at,
            "a key that is accepted without it is rejected",
        ),
        _ => log.find_at(FindingId::HelloRetryBroken, &place.at, attempt.why()),
    }
}
