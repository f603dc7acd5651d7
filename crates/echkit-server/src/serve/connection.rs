//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use echkit::server::{Accepted, TlsStream};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use time::OffsetDateTime;
use tokio::net::TcpStream;

use super::access_log::LoggedRequest;
use super::activity::{Activity, Impatient, ObservedIo, Patience};
use super::body::ObservedBody;
use super::config::ServeLimits;
use super::dispatch;
use super::live::{Live, LiveHandle};
use super::metrics::Metrics;
use super::peer::Peer;
use crate::{Admission, Drain};

/// A connection that was admitted, with the handshake before it.
pub(super) struct Admitted {
    pub(super) tcp: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) connection: Admission,
    pub(super) handshake: Admission,
}

/// Serves a connection.
pub(super) async fn serve(
    admitted: Admitted,
    live: LiveHandle,
    metrics: Arc<Metrics>,
    drain: Drain,
) {
    let open = metrics.connected();
    let Admitted {
        tcp,
        address,
        connection,
        handshake,
    } = admitted;
    // HTTP writes whole messages; waiting for more only delays them.
    let _ = tcp.set_nodelay(true);
    let acceptor = live.load().acceptor.clone();
    let begun = Instant::now();
    let Accepted {
        stream, outcome, ..
    } = match acceptor.accept(tcp).await {
        Ok(accepted) => accepted,
        Err(error) => return metrics.failed(&error),
    };
    drop(handshake);
    metrics.accepted(&outcome, begun.elapsed());
    let Some(name) = stream.get_ref().1.server_name() else {
        // The certificate resolver refuses hellos without a name.
        return;
    };
    let peer = Peer {
        address,
        outcome,
        name: name.to_ascii_lowercase(),
        activity: Activity::new(),
        drain,
        metrics,
        _open: open,
        _admission: connection,
    };
    serve_http(stream, Arc::new(peer), live).await;
}

async fn serve_http(stream: TlsStream<TcpStream>, peer: Arc<Peer>, live: LiveHandle) {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let limits = live.load().config.limits.clone();
    let (activity, drain) = (peer.activity.clone(), peer.drain.clone());
    let metrics = Arc::clone(&peer.metrics);
    let io = ObservedIo::new(stream, activity.clone(), move |error: &io::Error| {
        metrics.read_failed(error);
    });
    let service = service_fn(move |request| respond(request, live.load(), Arc::clone(&peer)));
    let patience = Patience {
        idle: limits.idle_time,
        head: (!http2).then_some(limits.head_time),
    };
    let impatient = Impatient::new(activity, patience);
    let io = TokioIo::new(io);
    match http2 {
        true => {
            let connection = http2_builder(&limits).serve_connection(io, service);
            run(connection, impatient, &drain, |connection| {
                connection.graceful_shutdown()
            })
            .await;
        }
        false => {
            let connection = http1_builder(&limits)
                .serve_connection(io, service)
                .with_upgrades();
            run(connection, impatient, &drain, |connection| {
                connection.graceful_shutdown()
            })
            .await;
        }
    }
}

fn http1_builder(limits: &ServeLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Time-outs are `Impatient`'s, which tells an idle connection from a slow head.
        .header_read_timeout(None)
        .max_headers(limits.head_fields)
        // hyper has a least buffer of 8 KiB.
        .max_buf_size(limits.head_bytes.max(8 * 1024));
    builder
}

fn http2_builder(limits: &ServeLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        // It also bounds the CONTINUATION frames of one head.
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    builder
}

/// Runs a connection until it ends, its client does nothing for too long, or, once the server
/// drains, what it has begun is finished.
async fn run<C, E>(
    connection: C,
    mut impatient: Impatient,
    drain: &Drain,
    finish: impl Fn(Pin<&mut C>),
) where
    C: Future<Output = Result<(), E>>,
{
    let mut connection = std::pin::pin!(connection);
    let mut draining = std::pin::pin!(drain.begun());
    let mut told = false;
    poll_fn(|cx: &mut Context<'_>| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            finish(connection.as_mut());
        }
        if connection.as_mut().poll(cx).is_ready() {
            // How it ended is the client's affair.
            return Poll::Ready(());
        }
        impatient.poll(cx)
    })
    .await;
}

async fn respond(
    request: Request<Incoming>,
    live: Arc<Live>,
    peer: Arc<Peer>,
) -> Result<Response<ObservedBody<impl FnOnce(u64) + Unpin>>, Infallible> {
    let busy = peer.activity.begin();
    let begun = Instant::now();
    let version = request.version();
    let log = live.log.clone().map(|log| {
        let path = request.uri().path_and_query();
        let line = LoggedRequest {
            at: OffsetDateTime::now_utc(),
            method: request.method().clone(),
            path: path.map_or_else(|| "/".to_owned(), ToString::to_string),
            version,
            status: StatusCode::OK,
            sent: 0,
            seconds: 0.0,
        };
        (log, line)
    });
    let response = dispatch::answer(&live, request, &peer).await;
    let status = response.status();
    peer.metrics.answered(version, status);
    // The line is written when the last byte of the response was taken.
    let over = move |sent| {
        let Some((log, line)) = log else {
            return;
        };
        let line = LoggedRequest {
            status,
            sent,
            seconds: begun.elapsed().as_secs_f64(),
            ..line
        };
        if !log.log(&peer, &line) {
            peer.metrics.log_line_dropped();
        }
    };
    Ok(response.map(|body| ObservedBody::new(body, busy, over)))
}
