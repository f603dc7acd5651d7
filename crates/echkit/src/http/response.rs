//! A response: its head, ways to read its body, and the report about the connection.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use serde::de::DeserializeOwned;
use url::Url;

use super::response_body::ResponseBody;
use crate::error::{Cause, Error};
use crate::report::Report;

/// A response whose head has arrived.
///
/// ```no_run
/// # async fn example(client: echkit::Client) -> Result<(), echkit::Error> {
/// let mut response = client.get("https://nominal.ech.test/").send().await?;
/// println!("{} {:?}", response.status(), response.headers().get("content-type"));
/// println!("{}", response.text().await?);
/// println!("{:?} was read outside", response.report().ech.outer_sni);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Response {
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: ResponseBody,
    pub(super) redirects: Vec<Report>,
    pub(super) redirect_heads: Vec<RedirectHead>,
    /// How many bytes of the body may be held in memory.
    pub(super) body_limit: usize,
}

/// The head of a response that was a redirect and was followed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedirectHead {
    /// The URL that it is from.
    pub url: Url,
    /// The status code.
    pub status: StatusCode,
    /// The version of HTTP.
    pub version: Version,
    /// The header fields.
    pub headers: HeaderMap,
}

impl Response {
    /// The URL that the response is from: after redirects, and `https` where `http` was upgraded.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The version of HTTP.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The header fields, as the server sent them: where the body is decompressed, `Content-Length`
    /// counts what it was before.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The report about the connection that the response came over, as it stands. Where an
    /// earlier request had made it, `reused` says so, and the counts and times are this one's.
    pub fn report(&self) -> Report {
        self.body.report()
    }

    /// The reports about the connections of the redirects before, in order.
    pub fn redirects(&self) -> &[Report] {
        &self.redirects
    }

    /// The heads of the redirects before, in order.
    pub fn redirect_heads(&self) -> &[RedirectHead] {
        &self.redirect_heads
    }

    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end, or when the time is up.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.chunk().await
    }

    /// What is left of the body, held in memory.
    ///
    /// # Errors
    ///
    /// When the connection breaks before the end, when the time is up, or with
    /// [`Cause::BodyTooLarge`] when the body is longer than
    /// [`ClientBuilder::body_limit`](super::ClientBuilder::body_limit) allows.
    pub async fn bytes(&mut self) -> Result<Bytes, Error> {
        let limit = self.body_limit;
        let announced = http_body::Body::size_hint(&self.body).lower();
        if usize::try_from(announced).map_or(true, |announced| announced > limit) {
            return Err(self.body.too_large(limit));
        }
        let mut whole = BytesMut::new();
        while let Some(part) = self.body.chunk().await? {
            if part.len() > limit - whole.len() {
                return Err(self.body.too_large(limit));
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// What is left of the body as text: UTF-8, with U+FFFD in place of what is not.
    ///
    /// # Errors
    ///
    /// As [`Response::bytes`].
    pub async fn text(&mut self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What is left of the body, read as JSON.
    ///
    /// # Errors
    ///
    /// As [`Response::bytes`], and with [`Cause::Decode`] when it is not JSON of this shape.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let cause = Cause::Decode {
                host: self.body.host().to_owned(),
                reason: format!("not the expected JSON: {error}"),
            };
            Error::from(cause).with_report(self.report())
        })
    }

    /// The response itself, or an error where its status is one (RFC 9110 §15.5, §15.6).
    ///
    /// # Errors
    ///
    /// [`Cause::Status`] for a status from 400 to 599.
    pub fn error_for_status(self) -> Result<Self, Error> {
        if !self.status.is_client_error() && !self.status.is_server_error() {
            return Ok(self);
        }
        let cause = Cause::Status {
            url: self.url.to_string(),
            status: self.status,
        };
        Err(Error::from(cause).with_report(self.report()))
    }

    /// The body alone.
    pub fn into_body(self) -> ResponseBody {
        self.body
    }
}
