//! A request in the making.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use url::Url;

use super::body::Body;
use super::client::Client;
use super::credentials;
use super::request_parts::Request;
use super::response::Response;
use crate::error::{Cause, Error};
use crate::policy::Timeouts;

/// A request that can still be changed. Made by [`Client::request`].
///
/// ```no_run
/// # async fn example(client: echkit::Client) -> Result<(), echkit::Error> {
/// use std::time::Duration;
///
/// let mut response = client
///     .post("https://nominal.ech.test/things")
///     .query(&[("page", "2")])
///     .basic_auth("user", Some("password"))
///     .json(&["a", "b"])
///     .timeout(Duration::from_secs(10))
///     .send()
///     .await?
///     .error_for_status()?;
/// let things: Vec<String> = response.json().await?;
/// # Ok(())
/// # }
/// ```
///
/// What does not make sense is refused by [`RequestBuilder::send`], which tells the first such
/// thing.
#[derive(Debug)]
#[must_use = "a request is not sent until `send` is called"]
pub struct RequestBuilder {
    client: Client,
    request: Result<Request, Cause>,
}

/// Requests of each method.
impl Client {
    /// A GET request.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: &str) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A POST request.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: &str) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: &str) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: &str) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A request by any method.
    ///
    /// User and password in the URL are sent as Basic (RFC 7617) to its origin, unless the request
    /// has an `Authorization` of its own, and appear in no report or error.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url)
    }
}

impl RequestBuilder {
    fn new(client: Client, method: Method, url: &str) -> Self {
        let request = parse(url).and_then(|mut url| {
            Ok(Request {
                method,
                credentials: credentials::take(&mut url)?,
                url,
                headers: HeaderMap::new(),
                body: Body::empty(),
                cookies: None,
                timeout: None,
                timeouts: None,
                redirects: None,
            })
        });
        Self { client, request }
    }

    /// Applies a change, unless an earlier one was refused.
    fn with(mut self, change: impl FnOnce(&mut Request) -> Result<(), Cause>) -> Self {
        if let Ok(request) = &mut self.request
            && let Err(refused) = change(request)
        {
            self.request = Err(refused);
        }
        self
    }

    /// Adds a header field.
    ///
    /// `Host` names another host to the server, over every version of HTTP; where the request
    /// goes stays what the URL says.
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.with(|request| {
            let reason = match (name.try_into(), value.try_into()) {
                (Ok(name), Ok(value)) => {
                    request.headers.append(name, value);
                    return Ok(());
                }
                (Ok(name), Err(_)) => format!("the value of {name} is not allowed in HTTP"),
                (Err(_), _) => "a field's name is not allowed in HTTP".to_owned(),
            };
            let setting = "header";
            Err(Cause::Setting { setting, reason })
        })
    }

    /// Adds header fields.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|request| {
            let mut last = None;
            for (name, value) in headers {
                // A name is given once for all of its values.
                last = name.or(last);
                if let Some(name) = &last {
                    request.headers.append(name.clone(), value);
                }
            }
            Ok(())
        })
    }

    /// Sends user and password as Basic (RFC 7617); not to another origin after a redirect.
    pub fn basic_auth(self, user: impl AsRef<str>, password: Option<impl AsRef<str>>) -> Self {
        self.with(|request| {
            let password = password.map(|text| text.as_ref().as_bytes().to_vec());
            let value = credentials::basic(user.as_ref().as_bytes(), password)?;
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    /// Sends a bearer token (RFC 6750); not to another origin after a redirect.
    pub fn bearer_auth(self, token: impl AsRef<str>) -> Self {
        self.with(|request| {
            let value = credentials::sensitive(&format!("Bearer {}", token.as_ref()))?;
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    /// Adds pairs to the URL's query, such as `&[("name", "value")]` or a struct.
    pub fn query<T: Serialize + ?Sized>(self, pairs: &T) -> Self {
        self.with(|request| {
            let more = encoded("query", pairs)?;
            let all = match request.url.query() {
                Some(query) if !query.is_empty() && !more.is_empty() => format!("{query}&{more}"),
                Some(query) if more.is_empty() => query.to_owned(),
                _ => more,
            };
            request.url.set_query((!all.is_empty()).then_some(&all));
            Ok(())
        })
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.with(|request| {
            request.body = body.into();
            Ok(())
        })
    }

    /// Sends `value` as JSON, with its `Content-Type` unless another was set.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        self.with(|request| {
            let body = serde_json::to_vec(value).map_err(|error| Cause::Setting {
                setting: "json",
                reason: error.to_string(),
            })?;
            request.typed_body(body, "application/json");
            Ok(())
        })
    }

    /// Sends pairs as a form does, with its `Content-Type` unless another was set.
    pub fn form<T: Serialize + ?Sized>(self, pairs: &T) -> Self {
        self.with(|request| {
            let body = encoded("form", pairs)?;
            request.typed_body(body.into_bytes(), "application/x-www-form-urlencoded");
            Ok(())
        })
    }

    /// How long all of it may take, up to the end of the response's body; in place of
    /// [`Timeouts::response`](crate::policy::Timeouts::response) and
    /// [`total`](crate::policy::Timeouts::total).
    pub fn timeout(self, limit: Duration) -> Self {
        self.with(|request| {
            request.timeout = Some(limit);
            Ok(())
        })
    }

    /// The limits of this request, in place of the client's: `connect`, `response`, `read` and
    /// `total`. What its connection needs within them, DNS, TCP and TLS, stays limited as the client
    /// limits it, and so does the connection itself where that is shorter.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.with(|request| {
            request.timeouts = Some(timeouts);
            Ok(())
        })
    }

    /// How many redirects to follow, in place of what
    /// [`ClientBuilder::redirects`](super::ClientBuilder::redirects) says; `None` returns the redirect
    /// itself.
    pub fn redirects(self, limit: Option<usize>) -> Self {
        self.with(|request| {
            request.redirects = Some(limit);
            Ok(())
        })
    }

    /// Sends the request, and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// See [`Cause`]. A response with an error status is not an error here:
    /// [`Response::error_for_status`] makes one of it.
    pub async fn send(self) -> Result<Response, Error> {
        Box::pin(self.client.execute(self.request?)).await
    }
}

impl Request {
    fn typed_body(&mut self, body: Vec<u8>, kind: &'static str) {
        self.body = body.into();
        let kind = HeaderValue::from_static(kind);
        self.headers.entry(CONTENT_TYPE).or_insert(kind);
    }
}

fn parse(text: &str) -> Result<Url, Cause> {
    Url::parse(text).map_err(|error| Cause::Url {
        url: credentials::redacted(text),
        reason: match error {
            url::ParseError::RelativeUrlWithoutBase => {
                "it has no scheme; a URL starts with https:// or http://".to_owned()
            }
            error => error.to_string(),
        },
    })
}

fn encoded<T: Serialize + ?Sized>(setting: &'static str, pairs: &T) -> Result<String, Cause> {
    serde_urlencoded::to_string(pairs).map_err(|error| Cause::Setting {
        setting,
        reason: error.to_string(),
    })
}
