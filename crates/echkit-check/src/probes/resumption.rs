//! Sessions: a ticket from a connection with ECH is offered again with ECH, to the same host and to
//! a name that the server cannot have (RFC 8446 §2.2, §4.6.1).

use echkit::rustls::pki_types::ServerName;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, Place};
use crate::log::CheckLog;
use crate::probe::Probe;

/// No host has it (RFC 6761 §6.4). It goes out under ECH.
const OTHER_NAME: &str = "resumption.invalid";

pub(crate) struct Resumption;

impl Probe for Resumption {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Resumption
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            for place in deployment.accepting().await {
                at(deployment, place, log).await;
            }
        }
        .boxed()
    }
}

async fn at(deployment: &Deployment<'_>, place: &Place, log: &CheckLog) {
    let visit = deployment.page(place).await;
    if visit.attempt.session.is_none() {
        let why = format!("{}: {}", place.at, visit.attempt.why());
        return log.skip(ProbeFamily::Resumption.as_str(), why);
    }
    if visit.tickets.count() == 0 {
        return match &visit.response {
            Ok(_) => log.find_at(FindingId::NoResumption, &place.at, "no session ticket"),
            // Tickets may come with the response alone.
            Err(why) => log.skip(
                ProbeFamily::Resumption.as_str(),
                format!("{}: no page over ECH: {why}", place.at),
            ),
        };
    }
    let tickets = &visit.tickets;
    let own = deployment.origin.host.server_name();
    let again = deployment.resume(place, own, tickets).await;
    match &again.session {
        Some(session) if again.is_accepted() && session.resumed => {
            log.pass(format!("a session is resumed with ECH at {}", place.at));
        }
        Some(_) if again.is_accepted() => {
            let seen = "a session ticket is not taken";
            log.find_at(FindingId::NoResumption, &place.at, seen);
        }
        // The server may have gone since; what is out of reach says nothing of tickets.
        _ if !again.connected() => {
            log.skip(
                ProbeFamily::Resumption.as_str(),
                format!("{}: {}", place.at, again.why()),
            );
        }
        _ => log.find_at(FindingId::ResumptionFails, &place.at, again.why()),
    }
    if tickets.count() > 0
        && let Ok(other) = ServerName::try_from(OTHER_NAME)
    {
        let attempt = deployment.resume(place, other, tickets).await;
        if attempt.session.is_some_and(|session| session.resumed) {
            let seen = format!("the session is resumed for {OTHER_NAME}");
            log.find_at(FindingId::ResumedAcrossNames, &place.at, seen);
        }
    }
}
