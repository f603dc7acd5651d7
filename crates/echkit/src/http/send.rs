//! From a request to its response: redirects, a connection, the exchange, limits.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use url::Url;

use super::client::Client;
use super::credentials;
use super::exchange::{self, Unanswered};
use super::idle_watch::{IdleWatch, idle_for};
use super::pool::{Channel, Key, Lease, Live};
use super::raw_body::RawBody;
use super::redirect;
use super::request_parts::Request;
use super::response::{RedirectHead, Response};
use super::response_body::ResponseBody;
use super::versions::{H2, HttpVersions};
use crate::connect::ConnectionRequest;
use crate::deadline::Deadline;
use crate::error::{Cause, Error, Step};
use crate::origin::{Origin, Scheme};
use crate::policy::Timeouts;
use crate::report::Report;

impl Client {
    pub(super) async fn execute(&self, mut request: Request) -> Result<Response, Error> {
        if let Some(value) = request.credentials.take() {
            request.headers.entry(AUTHORIZATION).or_insert(value);
        }
        for (name, value) in &self.shared.headers {
            if !request.headers.contains_key(name) {
                request.headers.append(name.clone(), value.clone());
            }
        }
        #[cfg(feature = "decompress")]
        if self.shared.decompress {
            let codings = http::HeaderValue::from_static(super::decompressed::ACCEPTED);
            let entry = request.headers.entry(http::header::ACCEPT_ENCODING);
            entry.or_insert(codings);
        }
        let timeouts = request.timeouts;
        let timeouts = timeouts.unwrap_or(self.shared.connector.policy().timeouts);
        let limits = Limits::new(&timeouts, request.timeout);
        let allowed = request.redirects.unwrap_or(self.shared.redirects);
        let first_host = request.url.host_str().map(str::to_owned);
        let mut redirects = Vec::new();
        let mut redirect_heads = Vec::new();
        // The URL over TLS that led out of it.
        let mut left: Option<Url> = None;
        loop {
            // A list given by hand is for the host that it was given with.
            let manual = request.url.host_str() == first_host.as_deref();
            let response = self.one(&mut request, manual, &limits).await?;
            let mode = self.shared.connector.policy().ech;
            if let Some(left) = &left
                && response.url.scheme() == "http"
                && mode.offers()
            {
                response.body.warn(format!(
                    "{left} redirected to {}, out of TLS: name and content went in the clear",
                    response.url
                ));
            }
            let to = allowed
                .and_then(|_| redirect::location(response.status, &response.headers))
                .map(str::to_owned);
            let Some(to) = to else {
                return Ok(Response {
                    redirects,
                    redirect_heads,
                    ..response
                });
            };
            let report = response.report();
            let failed = |cause: Cause| Error::from(cause).with_report(report.clone());
            if Some(redirects.len()) >= allowed {
                return Err(failed(Cause::Redirect {
                    from: request.url.to_string(),
                    to: credentials::redacted(&to),
                    reason: format!("it would be number {}", redirects.len() + 1),
                }));
            }
            // Relative references count from where the response came from, upgrade included.
            request.url = response.url.clone();
            if request.url.scheme() == "https" {
                left = Some(request.url.clone());
            }
            redirect::follow(&mut request, response.status, &to, mode).map_err(failed)?;
            redirects.push(report);
            redirect_heads.push(RedirectHead {
                url: response.url,
                status: response.status,
                version: response.version,
                headers: response.headers,
            });
        }
    }

    /// One request without redirects.
    async fn one(
        &self,
        request: &mut Request,
        manual: bool,
        limits: &Limits,
    ) -> Result<Response, Error> {
        let origin = Origin::from_url(&request.url).map_err(|error| Cause::Url {
            url: credentials::redacted(request.url.as_str()),
            reason: error.to_string(),
        })?;
        let key = Key {
            ech: self.shared.connector.policy().ech,
            origin,
            manual,
        };
        if let Some(live) = self.shared.pool.take(&key) {
            let used = Arc::clone(&live.recorder);
            match self.over(live, true, &key, request, limits).await {
                // It was closed while it waited.
                Err(unanswered) if unanswered.again => self.shared.pool.forget(&key, &used),
                outcome => return outcome.map_err(|unanswered| unanswered.error),
            }
        }
        let (live, reused) = self.open(&key, request.url.as_str(), limits).await?;
        self.over(live, reused, &key, request, limits)
            .await
            .map_err(|unanswered| unanswered.error)
    }

    /// A connection where none waits for a request; and whether another request has just made it.
    async fn open(&self, key: &Key, url: &str, limits: &Limits) -> Result<(Live, bool), Error> {
        let Some(gate) = self.shared.pool.gate(key) else {
            return self
                .connect(key, url, limits)
                .await
                .map(|live| (live, false));
        };
        let late = || {
            let mut report = Report::new(key.origin.to_string(), key.ech);
            report.url = Some(url.to_owned());
            limits.exceeded(&key.origin).with_report(report)
        };
        let turn = limits.head.run(gate.enter()).await.ok_or_else(late)?;
        if let Some(live) = self.shared.pool.take_http2(key) {
            return Ok((live, true));
        }
        let connected = self.connect(key, url, limits).await;
        match &connected {
            Err(_) => gate.failed(),
            Ok(live) => {
                let shared = live.share();
                gate.connected(shared.is_some());
                if let Some(shared) = shared {
                    self.shared.pool.put(key.clone(), shared);
                }
            }
        }
        drop(turn);
        connected.map(|live| (live, false))
    }

    /// A connection of its own.
    async fn connect(&self, key: &Key, url: &str, limits: &Limits) -> Result<Live, Error> {
        let alpn: Vec<Vec<u8>> = self
            .shared
            .versions
            .alpn()
            .iter()
            .map(|id| id.to_vec())
            .collect();
        let connection = self
            .shared
            .connector
            .open(&ConnectionRequest {
                origin: &key.origin,
                alpn: &alpn,
                url: Some(url),
                manual: key.manual,
                deadline: limits.head.step(limits.connect).until,
                // HTTP/2 to a proxy is another thing than HTTP/2 to the server behind it.
                forward: self.shared.versions != HttpVersions::Http2,
            })
            .await?;
        let only_h2 = self.shared.versions == HttpVersions::Http2;
        if only_h2 && connection.origin().scheme == Scheme::Https && connection.alpn() != Some(H2) {
            let cause = Cause::Http {
                host: key.origin.host.to_string(),
                reason: "the server does not speak HTTP/2".to_owned(),
                source: None,
            };
            return Err(Error::from(cause).with_report(connection.report()));
        }
        let report = connection.report();
        let connector = &self.shared.connector;
        let forward = connector.forwarding_proxy(connection.origin());
        let forward = forward.filter(|_| !only_h2).cloned();
        let opening = exchange::open(connection, forward, only_h2);
        let opened = limits.head.run(opening).await;
        opened.unwrap_or_else(|| Err(limits.exceeded(&key.origin).with_report(report)))
    }

    /// One request over one connection, which an earlier request may have made.
    async fn over(
        &self,
        mut live: Live,
        reused: bool,
        key: &Key,
        request: &mut Request,
        limits: &Limits,
    ) -> Result<Response, Unanswered> {
        let recorder = match reused {
            true => Arc::new(live.recorder.again(request.url.as_str())),
            false => Arc::clone(&live.recorder),
        };
        let mut url = request.url.clone();
        upgrade(&mut url, &live.origin);
        #[cfg(feature = "cookies")]
        if let Some(jar) = &self.shared.cookies {
            request.cookies = jar.header(&url);
        }
        let observer = self.shared.observer.as_ref();
        let idle = IdleWatch::new(limits.read);
        let work = exchange::exchange(&mut live, request, &recorder, observer, &idle);
        let work = Box::pin(limits.head.run(work));
        let late = |error: Error| {
            recorder.stop_clock();
            Unanswered {
                error: error.with_report(recorder.snapshot()),
                again: false,
            }
        };
        let host = key.origin.host.to_string();
        let response = match idle.run(work).await {
            Err(limit) => Err(late(idle_for(&host, limit).into())),
            Ok(None) => Err(late(limits.exceeded(&key.origin))),
            Ok(Some(response)) => response,
        }?;
        let (head, incoming) = response.into_parts();
        #[cfg(feature = "cookies")]
        if let Some(jar) = &self.shared.cookies {
            jar.store(&head.headers, &url);
        }
        let lease = Lease {
            pool: Arc::downgrade(&self.shared.pool),
            key: key.clone(),
            live,
        };
        let body = RawBody::new(host, incoming, recorder)
            .with_lease(lease)
            .with_deadline(limits.whole)
            .with_read_limit(limits.read);
        #[cfg(feature = "decompress")]
        let body = match super::decompressed::Coding::of(&head.headers) {
            Some(coding) if self.shared.decompress => ResponseBody::decompressed(body, coding),
            _ => ResponseBody::new(body),
        };
        #[cfg(not(feature = "decompress"))]
        let body = ResponseBody::new(body);
        Ok(Response {
            url,
            status: head.status,
            version: head.version,
            headers: head.headers,
            body,
            redirects: Vec::new(),
            redirect_heads: Vec::new(),
            body_limit: self.shared.body_limit,
        })
    }
}

impl Live {
    /// The same connection for another request; `None` where it carries one at a time.
    pub(super) fn share(&self) -> Option<Self> {
        let Channel::Http2(sender, users) = &self.channel else {
            return None;
        };
        Some(Self {
            channel: Channel::Http2(sender.clone(), Arc::clone(users)),
            origin: self.origin.clone(),
            forward: self.forward.clone(),
            recorder: Arc::clone(&self.recorder),
        })
    }
}

/// When a request must have come how far.
struct Limits {
    /// When the response's head must be there.
    head: Deadline,
    whole: Deadline,
    /// For a connection that is made for the request.
    connect: Option<Duration>,
    /// For a server that is idle.
    read: Option<Duration>,
}

impl Limits {
    /// `own` is a limit for this request alone, in place of the client's.
    fn new(timeouts: &Timeouts, own: Option<Duration>) -> Self {
        let whole = Deadline::within(own.or(timeouts.total));
        Self {
            head: whole.step(own.or(timeouts.response)),
            whole,
            connect: timeouts.connect,
            read: timeouts.read,
        }
    }

    fn exceeded(&self, origin: &Origin) -> Error {
        let host = origin.host.to_string();
        self.head.exceeded(&host, Step::Total).into()
    }
}

/// Writes the upgrade of an `http` URL (RFC 9460 §9.5) into it.
fn upgrade(url: &mut Url, origin: &Origin) {
    if url.scheme() == "http" && origin.scheme == Scheme::Https {
        // Neither can fail: both schemes are special ones, and the URL has a host.
        let _ = url.set_scheme("https");
        let _ = url.set_port(Some(origin.port));
    }
}
