//! What DNS over HTTPS is over every version of HTTP (RFC 8484): the media type, and what the head
//! of a response says about the message in it.

use std::io;

use echkit_proto::dns::DnsResponse;
use http::header::{AGE, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::exchange::ExchangeError;

pub(super) const MEDIA_TYPE: &str = "application/dns-message";
/// A DNS message is no longer than this.
pub(super) const MAX_MESSAGE: usize = 65535;

/// For how many seconds a cache has kept the message that a response holds, if it holds one.
pub(super) fn age_of(status: StatusCode, headers: &HeaderMap) -> Result<u32, ExchangeError> {
    if status != StatusCode::OK {
        return Err(io::Error::other(format!("the resolver answered HTTP {status}")).into());
    }
    let is_dns = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
    });
    if !is_dns {
        return Err(ExchangeError::Malformed(
            "its media type is not application/dns-message",
        ));
    }
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse().ok());
    Ok(age.unwrap_or(0))
}

/// RFC 8484 §5.1: what caches kept has aged.
pub(super) fn aged(mut response: DnsResponse, age: u32) -> DnsResponse {
    for record in &mut response.answers {
        record.ttl = record.ttl.saturating_sub(age);
    }
    response.negative_ttl = response.negative_ttl.map(|ttl| ttl.saturating_sub(age));
    response
}
