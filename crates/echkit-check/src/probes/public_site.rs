//! The site of the public_name, visited as anyone may: its certificate and the head of its page must
//! not name the host. The network sees the public_name alone.

use echkit::origin::HostName;
use echkit::rustls::pki_types::{CertificateDer, ServerName};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use webpki::EndEntityCert;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, Place};
use crate::log::CheckLog;
use crate::probe::Probe;

pub(crate) struct PublicSite;

impl Probe for PublicSite {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::PublicSite
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
    let public_name = place.offer.chosen.contents().public_name.to_string();
    let Ok(name) = ServerName::try_from(public_name.clone()) else {
        return;
    };
    let (attempt, response) = deployment.visit_public(place, name).await;
    let Some(session) = &attempt.session else {
        // Whether a rejection is valid for it is for the probe of rejections to say.
        let why = format!("{}: {public_name}: {}", place.at, attempt.why());
        return log.skip(ProbeFamily::PublicSite.as_str(), why);
    };
    let names = session.leaf.as_ref().map(names).unwrap_or_default();
    if names
        .iter()
        .any(|name| name.eq_ignore_ascii_case(&deployment.host))
    {
        let seen = format!("the certificate for {public_name} has {}", deployment.host);
        log.find_at(FindingId::PublicCertificateNamesHost, &place.at, seen);
    } else {
        log.pass(format!(
            "the certificate for {public_name} does not name the host at {}",
            place.at
        ));
    }
    // A public_name without a page has nothing that could tell.
    let Ok(page) = response else { return };
    for header in naming(&page.headers, &deployment.host) {
        let seen = format!("the header {header} of the page of {public_name}");
        log.find_at(FindingId::PublicSiteNamesHost, &place.at, seen);
    }
}

/// The names in a certificate, as they are written there.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = EndEntityCert::try_from(certificate);
    parsed.map_or_else(
        |_| Vec::new(),
        |parsed| parsed.valid_dns_names().map(str::to_owned).collect(),
    )
}

/// The headers that have the host's name in them, as a whole name.
fn naming<'a>(headers: &'a HeaderMap, host: &'a str) -> impl Iterator<Item = &'a str> {
    let names = move |value: &[u8]| {
        let text = String::from_utf8_lossy(value).to_ascii_lowercase();
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "-._".contains(c)))
            .any(|word| HostName::parse(word).is_ok_and(|name| name.to_string() == host))
    };
    headers
        .keys()
        .filter(move |key| headers.get_all(*key).iter().any(|v| names(v.as_bytes())))
        .map(http::HeaderName::as_str)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_host_is_found_in_headers_as_a_whole_name_alone() {
        let value = "default-src https://Site.test:8443 x.site.test";
        let headers: HeaderMap = [
            ("content-security-policy", value),
            ("x-other", "mysite.test site.test.example"),
        ]
        .into_iter()
        .map(|(name, value)| {
            (
                name.parse::<http::HeaderName>().unwrap(),
                value.parse().unwrap(),
            )
        })
        .collect();
        let found: Vec<_> = naming(&headers, "site.test").collect();
        assert_eq!(found, ["content-security-policy"]);
    }
}
