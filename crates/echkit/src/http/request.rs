//! A request in the making.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::body::Body;
use super::client::Client;
use super::response::Response;
use crate::error::{Cause, Error};

/// A request that can still be changed. Made by [`Client::request`].
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct RequestBuilder {
    client: Client,
    request: Result<Request, Error>,
}

/// A request that is complete.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl RequestBuilder {
    pub(super) fn new(client: Client, method: Method, url: &str) -> Self {
        let request = Url::parse(url)
            .map_err(|error| {
                let reason = match error {
                    url::ParseError::RelativeUrlWithoutBase => {
                        "it has no scheme; a URL starts with https:// or http://".to_owned()
                    }
                    error => error.to_string(),
                };
                let url = url.to_owned();
                Cause::Url { url, reason }.into()
            })
            .map(|url| Request {
                method,
                url,
                headers: HeaderMap::new(),
                body: Body::empty(),
            });
        Self { client, request }
    }

    /// Adds a header field. What HTTP forbids makes [`RequestBuilder::send`] fail.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        if let Ok(request) = &mut self.request {
            let reason = match (name.try_into(), value.try_into()) {
                (Ok(name), Ok(value)) => {
                    request.headers.append(name, value);
                    return self;
                }
                (Ok(name), Err(_)) => format!("the value of {name} is not allowed in HTTP"),
                (Err(_), _) => "a field's name is not allowed in HTTP".to_owned(),
            };
            let setting = "header";
            self.request = Err(Cause::Setting { setting, reason }.into());
        }
        self
    }

    /// Adds header fields.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        if let Ok(request) = &mut self.request {
            let mut last = None;
            for (name, value) in headers {
                // A name is given once for all of its values.
                last = name.or(last);
                if let Some(name) = &last {
                    request.headers.append(name.clone(), value);
                }
            }
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        if let Ok(request) = &mut self.request {
            request.body = body.into();
        }
        self
    }

    /// Sends the request, and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// See [`Cause`]. A response with an error status is no error here.
    pub async fn send(self) -> Result<Response, Error> {
        Box::pin(self.client.execute(self.request?)).await
    }
}
