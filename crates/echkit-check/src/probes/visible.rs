//! The probes that show the host's name in the clear, as clients without ECH do: GREASE (RFC 9849
//! §6.2), no ECH at all, and TLS 1.2. They are off in private mode.

use echkit::tls::EchOffer;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, PROTOCOLS, Place};
use crate::dial::AttemptEnd;
use crate::log::CheckLog;
use crate::probe::Probe;

pub(crate) struct Grease;
pub(crate) struct Plain;
pub(crate) struct Tls12;

impl Probe for Grease {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Grease
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        deployment
            .at_each_place(|place| grease(deployment, place, log))
            .boxed()
    }
}

impl Probe for Plain {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Plain
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        deployment
            .at_each_place(|place| plain(deployment, place, log))
            .boxed()
    }
}

impl Probe for Tls12 {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Tls12
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        deployment
            .at_each_place(|place| tls12(deployment, place, log))
            .boxed()
    }
}

async fn grease(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    log.show(ProbeFamily::Grease);
    let published = deployment.published(place).await;
    // GREASE of rustls offers TLS 1.3 alone: without that version it says nothing.
    if !published.connected() || matches!(published.end, AttemptEnd::Version(_)) {
        return;
    }
    let tls = &deployment.tls.usual;
    let attempt = deployment
        .connect(tls, place, EchOffer::Grease, &PROTOCOLS)
        .await;
    if attempt.answered() {
        log.pass(format!("GREASE is ignored at {}", place.at));
    } else if deployment.plain(place).await.answered() {
        log.find_at(FindingId::GreaseIntolerant, &place.at, attempt.why());
    }
}

async fn plain(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    log.show(ProbeFamily::Plain);
    let published = deployment.published(place).await;
    if !published.connected() {
        return;
    }
    let attempt = deployment.plain(place).await;
    let same_certificate = matches!(
        (&published.end, &attempt.end),
        (AttemptEnd::Certificate(_), AttemptEnd::Certificate(_))
    );
    match &attempt.end {
        AttemptEnd::Finished { .. } => {
            log.pass(format!("clients without ECH are served at {}", place.at));
        }
        // The certificate under ECH is a finding already.
        _ if same_certificate && published.is_accepted() => {}
        _ => log.find_at(FindingId::PlainCutOff, &place.at, attempt.why()),
    }
}

async fn tls12(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    log.show(ProbeFamily::Tls12);
    if !deployment.published(place).await.connected() {
        return;
    }
    // What fails with every version is not a matter of this one.
    if !deployment.plain(place).await.answered() {
        return;
    }
    let tls = &deployment.tls.tls12;
    let attempt = deployment
        .connect(tls, place, EchOffer::None, &PROTOCOLS)
        .await;
    match attempt.answered() {
        true => log.pass(format!("clients of TLS 1.2 are served at {}", place.at)),
        false => log.find_at(FindingId::Tls12CutOff, &place.at, attempt.why()),
    }
}
