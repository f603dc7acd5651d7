//! A key that the server cannot have, made for the occasion under the same public_name: how it is
//! rejected, and whether the retry_configs work (RFC 9849 §6.1.6, §7.1).

use echkit::config::EchConfigList;
use echkit::key::{EchKey, KeyParams};
use echkit::tls::{OfferOutcome, RealOffer};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, Place};
use crate::dial::{Attempt, AttemptEnd};
use crate::log::CheckLog;
use crate::probe::Probe;
use crate::published::share_a_config;

pub(crate) struct RejectedKey;

impl Probe for RejectedKey {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Rejection
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        deployment
            .at_each_place(|place| at(deployment, place, log))
            .boxed()
    }
}

async fn at(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    let published = deployment.published(place).await;
    let decides = match &published.offer {
        OfferOutcome::Accepted | OfferOutcome::RejectedUnauthenticated => true,
        // Without retry_configs ECH is off there, which is a finding already.
        OfferOutcome::Rejected(rejection) => rejection.retry_configs.is_some(),
        _ => false,
    };
    if !decides {
        return;
    }
    let Some(made_up) = made_up(place) else {
        return log.skip(
            place.at.to_string(),
            "no key can be made like the published one",
        );
    };
    let attempt = deployment
        .offer(&deployment.tls.usual, place, made_up)
        .await;
    let public_name = &place.offer.chosen.contents().public_name;
    match (&attempt.offer, &attempt.end) {
        (OfferOutcome::Rejected(rejection), _) => {
            log.pass(format!(
                "a rejection is valid for {public_name} at {}",
                place.at
            ));
            retry(deployment, place, rejection.retry_configs.as_deref(), log).await;
        }
        (OfferOutcome::RejectedUnauthenticated, AttemptEnd::Certificate(why)) => {
            log.find_at(
                FindingId::PublicNameCertificate,
                &place.at,
                format!("{public_name}: {why}"),
            );
        }
        _ => log.find_at(FindingId::RejectionFails, &place.at, attempt.why()),
    }
}

/// An offer under a key of the same form as the published one, with another id.
fn made_up(place: &Place) -> Option<RealOffer> {
    let like = place.offer.chosen.contents();
    let ids: Vec<u8> = place
        .list
        .configs()
        .iter()
        .filter_map(|config| config.config_id())
        .collect();
    let id = (0..=u8::MAX).rev().find(|id| !ids.contains(id));
    let params = KeyParams::new(like.public_name.as_str()?)
        .ok()?
        .with_config_id(id)
        .with_kem(like.kem)
        .with_suites([place.offer.chosen.suite().sym])
        .with_maximum_name_length(like.maximum_name_length);
    let key = EchKey::generate(&params).ok()?;
    let list = EchConfigList::from(key.config().clone());
    list.select().chosen.map(RealOffer::new)
}

/// Follows the retry_configs, as a client would.
async fn retry(deployment: &Deployment<'_>, place: &Place, configs: Option<&[u8]>, log: &CheckLog) {
    let Some(bytes) = configs else {
        let seen = "a key that the server does not have is rejected without retry_configs";
        return log.find_at(FindingId::RetryMissing, &place.at, seen);
    };
    let list = match EchConfigList::parse(bytes) {
        Ok(list) => list,
        Err(error) => {
            return log.find_at(FindingId::RetryMalformed, &place.at, error.to_string());
        }
    };
    let Some(offer) = deployment.retry_offer(&list) else {
        let verdicts = list.select().verdicts;
        let reasons: Vec<String> = verdicts
            .iter()
            .filter_map(|verdict| verdict.why_not.as_ref().map(ToString::to_string))
            .collect();
        let seen = match reasons.is_empty() {
            true => "their public_name is the host itself".to_owned(),
            false => reasons.join("; "),
        };
        return log.find_at(FindingId::RetryUnusable, &place.at, seen);
    };
    let attempt: Attempt = deployment.offer(&deployment.tls.usual, place, offer).await;
    let published_works = deployment.published(place).await.is_accepted();
    match &attempt.offer {
        OfferOutcome::Accepted => {
            log.pass(format!("retry_configs work at {}", place.at));
            // A key that is rejected differs, of course.
            if published_works && !share_a_config(&list, &place.list) {
                let seen = "none of them is in the record";
                log.find_at(FindingId::RetryDiffers, &place.at, seen);
            }
        }
        OfferOutcome::Rejected(rejection) if rejection.retry_configs.is_some() => {
            let seen = "the config that the server gave is rejected, with retry_configs again";
            log.find_at(FindingId::RetryLoop, &place.at, seen);
        }
        OfferOutcome::Rejected(_) => {
            let seen = "the config that the server gave is rejected";
            log.find_at(FindingId::RetryFails, &place.at, seen);
        }
        _ => log.find_at(FindingId::RetryFails, &place.at, attempt.why()),
    }
}
