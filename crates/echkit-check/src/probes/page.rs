//! The page `/` of the host, asked for over ECH: what its head makes clients do next.

use echkit::Url;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::{LOCATION, STRICT_TRANSPORT_SECURITY};

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::{Deployment, Place};
use crate::fetch::Fetched;
use crate::log::CheckLog;
use crate::probe::Probe;

pub(crate) struct Page;

impl Probe for Page {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Page
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            for place in deployment.accepting().await {
                match &deployment.page(place).await.response {
                    Ok(page) => judge(deployment, place, page, log),
                    Err(why) => {
                        let why = format!("{}: no page over ECH: {why}", place.at);
                        log.skip(ProbeFamily::Page.as_str(), why);
                    }
                }
            }
        }
        .boxed()
    }
}

fn judge(deployment: &Deployment<'_>, place: &Place, page: &Fetched, log: &CheckLog) {
    match max_age(&page.headers) {
        // RFC 6797 §6.1.1: zero has clients forget the host.
        Some(0) => log.find_at(FindingId::HstsMissing, &place.at, "its max-age is 0"),
        Some(_) => log.pass(format!("HSTS is set at {}", place.at)),
        None => {
            let seen = format!("the response with status {} has none", page.status);
            log.find_at(FindingId::HstsMissing, &place.at, seen);
        }
    }
    let base = format!("{}/", deployment.origin);
    let Some(to) = redirect(page.status, &page.headers, &base) else {
        return;
    };
    let seen = format!("status {} leads to {to}", page.status);
    let host = to.host_str().unwrap_or_default();
    let public_name = place.offer.chosen.contents().public_name.to_string();
    if to.scheme() == "http" {
        log.find_at(FindingId::RedirectToHttp, &place.at, seen);
    } else if host.eq_ignore_ascii_case(&public_name) {
        log.find_at(FindingId::RedirectToPublicName, &place.at, seen);
    } else if !host.eq_ignore_ascii_case(&deployment.host) {
        log.find_at(FindingId::RedirectElsewhere, &place.at, seen);
    }
}

/// `max-age` of Strict-Transport-Security: clients read the first such header alone (RFC 6797 §8.1).
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(STRICT_TRANSPORT_SECURITY)?.to_str().ok()?;
    value.split(';').find_map(|directive| {
        let (name, age) = directive.split_once('=')?;
        let is_age = name.trim().eq_ignore_ascii_case("max-age");
        is_age.then(|| age.trim().trim_matches('"').parse().ok())?
    })
}

/// Where a response sends clients, without what may be private in it: the query and the fragment.
pub(super) fn redirect(status: u16, headers: &HeaderMap, base: &str) -> Option<Url> {
    if ![301, 302, 303, 307, 308].contains(&status) {
        return None;
    }
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let mut to = Url::parse(base).ok()?.join(location).ok()?;
    to.set_query(None);
    to.set_fragment(None);
    let _ = to.set_username("");
    let _ = to.set_password(None);
    Some(to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn max_age_is_read_as_clients_read_it() {
        for (value, age) in [
            ("max-age=300", Some(300)),
            ("includeSubDomains; Max-Age = \"0\"", Some(0)),
            ("max-age=x; preload", None),
            ("preload", None),
        ] {
            let headers = headers(STRICT_TRANSPORT_SECURITY, value);
            assert_eq!(max_age(&headers), age, "{value}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }

    #[test]
    fn redirects_are_shown_without_what_is_private_in_them() {
        let location = headers(LOCATION, "//u:p@other.test/next?token=1#part");
        let to = redirect(302, &location, "https://site.test/").unwrap();
        assert_eq!(to.as_str(), "https://other.test/next");
        assert_eq!(redirect(304, &location, "https://site.test/"), None);
        assert_eq!(redirect(302, &HeaderMap::new(), "https://site.test/"), None);
    }
}
