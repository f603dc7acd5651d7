//! Which site a request is for.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::{Request, Response, StatusCode};

use super::body::{ResponseBody, plain};
use super::config::STATUS_PATH;
use super::live::Live;
use super::origin_svcb;
use super::peer::Peer;
use super::status_page;

/// Answers a request on a connection of `peer`.
///
/// The name in the handshake decides which site the client is at. A request for another site on
/// the same connection gets 421 (RFC 9110 §15.5.20), whether that site exists or not: a client in
/// the clear cannot find out which names are served behind ECH.
pub(super) async fn answer(
    live: &Live,
    request: Request<Incoming>,
    peer: &Arc<Peer>,
) -> Response<ResponseBody> {
    let host = match host_of(&request) {
        Ok(host) => host,
        Err(why) => return plain(StatusCode::BAD_REQUEST, why),
    };
    let site = live.names.find(&peer.name);
    let Some(site) = site.filter(|_| live.names.find(bare_name(&host).as_str()) == site) else {
        return plain(StatusCode::MISDIRECTED_REQUEST, "");
    };
    let mut response = answer_at(live, site, &host, request, peer).await;
    if let Some(age) = live.config.sites.get(site).and_then(|site| site.hsts) {
        let field = response.headers_mut().entry(STRICT_TRANSPORT_SECURITY);
        if let Ok(value) = HeaderValue::try_from(format!("max-age={}", age.as_secs())) {
            field.or_insert(value);
        }
    }
    response
}

/// What the site with this number says.
async fn answer_at(
    live: &Live,
    site: usize,
    host: &str,
    request: Request<Incoming>,
    peer: &Arc<Peer>,
) -> Response<ResponseBody> {
    if live.config.status_page && request.uri().path() == STATUS_PATH {
        return status_page::answer(&request, peer);
    }
    if let Some(every) = live.config.origin_svcb
        && request.uri().path() == origin_svcb::PATH
    {
        let keys = live.acceptor.keys().load();
        return origin_svcb::answer(&request, &peer.name, &keys, every);
    }
    match live.contents.get(site) {
        Some(content) => content.answer(host, request, peer).await,
        None => plain(StatusCode::MISDIRECTED_REQUEST, ""),
    }
}

/// The host that a request names, with its port if it has one (RFC 9112 §3.2).
fn host_of(request: &Request<Incoming>) -> Result<String, &'static str> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err("there is more than one Host field");
    }
    let field = match field.map(|value| value.to_str()) {
        Some(Ok(field)) => Some(field),
        Some(Err(_)) => return Err("the Host field is not ASCII"),
        None => None,
    };
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => {
            return Err("the Host field and the target name different hosts");
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err("there is no Host field"),
    };
    // What is not a host and a port would mean different things to different servers.
    let valid = host.parse::<http::uri::Authority>().is_ok() && !host.contains('@');
    match valid {
        true => Ok(host.to_ascii_lowercase()),
        false => Err("the Host field is not a host"),
    }
}

/// The name in a host with a port, without a dot at its end.
fn bare_name(host: &str) -> String {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.trim_end_matches('.').to_owned()
}
