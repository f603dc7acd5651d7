//! The protocols of the records against those of the server (RFC 9460 §7.1).

use echkit::tls::EchOffer;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, PROTOCOLS, Place};
use crate::dial::AttemptEnd;
use crate::log::CheckLog;
use crate::probe::Probe;

const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";
const H3: &[u8] = b"h3";

pub(crate) struct Alpn;

impl Probe for Alpn {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Alpn
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            let mut done = Vec::new();
            for place in &deployment.places {
                // One address of each endpoint: what a server speaks is rarely a matter of it.
                if done.contains(&place.endpoint) {
                    continue;
                }
                let published = deployment.published(place).await;
                if let AttemptEnd::Finished { alpn } = &published.end
                    && published.is_accepted()
                {
                    done.push(place.endpoint);
                    at(deployment, place, alpn.as_deref(), log).await;
                }
            }
        }
        .boxed()
    }
}

async fn at(deployment: &Deployment<'_>, place: &Place, usual: Option<&[u8]>, log: &CheckLog) {
    let listed = |id: &[u8]| place.alpn.iter().any(|other| other == id);
    if listed(H3) {
        log.find_at(FindingId::Http3NotChecked, &place.at, "alpn lists h3");
    }
    for id in PROTOCOLS {
        if !listed(id) {
            if id == H2 && usual == Some(H2) {
                log.find_at(FindingId::AlpnUnlisted, &place.at, "the server chose h2");
            }
            continue;
        }
        let name = id.escape_ascii();
        let attempt = match usual == Some(id) {
            true => None,
            false => {
                let offer = EchOffer::Real(Box::new(place.offer.clone()));
                let tls = &deployment.tls.usual;
                Some(deployment.connect(tls, place, offer, &[id]).await)
            }
        };
        let spoken = match attempt.as_ref().map(|attempt| &attempt.end) {
            None => true,
            // HTTP/1.1 is what is spoken where nothing is agreed on.
            Some(AttemptEnd::Finished { alpn: None }) => id == HTTP11,
            Some(AttemptEnd::Finished { .. }) => true,
            Some(_) => false,
        };
        match attempt.filter(|_| !spoken) {
            None => log.pass(format!("{name} is spoken at {}", place.at)),
            Some(attempt) => {
                let why = match &attempt.end {
                    AttemptEnd::Finished { .. } => "the server does not choose it",
                    _ => attempt.why(),
                };
                let seen = format!("{name}: {why}");
                log.find_at(FindingId::AlpnNotSpoken, &place.at, seen);
            }
        }
    }
}
