//! Metrics and health over HTTP, at an address of their own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::body::{ResponseBody, plain, whole};
use super::live::LiveHandle;
use super::metrics::Metrics;
use crate::{ConnectionLimits, Drain};

/// Connections at the same time: scrapers and health checks are few.
const CONNECTIONS: usize = 64;

/// How long a request may take to come.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// What the endpoints tell of.
#[derive(Clone)]
pub(super) struct MetricsServer {
    pub(super) metrics: Arc<Metrics>,
    pub(super) live: LiveHandle,
    pub(super) keys: echkit::server::EchKeyHandle,
    pub(super) drain: Drain,
}

impl MetricsServer {
    /// Answers until it is dropped.
    pub(super) async fn run(self, listener: TcpListener) {
        let limits = ConnectionLimits::new(CONNECTIONS, CONNECTIONS);
        // Connections end with this future.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let slot = limits.slot().await;
            while connections.try_join_next().is_some() {}
            let Ok((tcp, address)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let Some(admission) = limits.admit(slot, address.ip()) else {
                continue;
            };
            let server = self.clone();
            connections.spawn(async move {
                let _admission = admission;
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(&request).await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIME)
                    .serve_connection(TokioIo::new(tcp), service);
                // A scraper that goes away is no fault.
                let _ = connection.await;
            });
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<ResponseBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/health" if self.drain.has_begun() => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "the server is ending")
            }
            "/health" => plain(StatusCode::OK, ""),
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /health"),
        }
    }

    async fn metrics(&self) -> Response<ResponseBody> {
        let server = self.clone();
        let text = tokio::task::spawn_blocking(move || {
            let keys = server.keys.load().keys().len();
            server.metrics.text(&server.live.load().config, keys)
        });
        let Ok(text) = text.await else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "");
        };
        let mut response = Response::new(whole(text));
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        );
        response
    }
}
