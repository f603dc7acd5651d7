//! What tests in other languages read over HTTP: captures, cases, and lines for `/etc/hosts`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::capture::{Capture, Recorder};
use crate::case::Case;
use crate::error::TestbedError;
use crate::{Testbed, ports};

/// How long a request waits for connections to end at most.
const MAX_WAIT: Duration = Duration::from_secs(60);

const INDEX: &str = "\
GET /captures            what clients have sent to the cases' servers, oldest first, as JSON
GET /captures?case=NAME  the same of one case
GET /captures?wait=5     the same once every connection has ended, or after so many seconds
DELETE /captures         forgets them
GET /cases               the cases that are served, with their records, as JSON
GET /hosts               the names and addresses of the zone, as lines for /etc/hosts
";

/// Serves the captures and cases of a [`Testbed`] over HTTP on loopback, until it is dropped.
#[derive(Debug)]
pub struct Inspector {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Testbed {
    /// Serves what [`captures`](Self::captures) and [`cases`](Self::cases) give over HTTP, without TLS,
    /// for tests in other languages. Port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub async fn inspect(&self, port: u16) -> Result<Inspector, TestbedError> {
        let (listener, address) = ports::tcp(port, "captures over HTTP").await?;
        let shown = Arc::new(Shown {
            recorder: self.recorder(),
            cases: self.cases().to_vec(),
            hosts: [address.to_string(), format!("localhost:{}", address.port())],
        });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, shown));
        Ok(Inspector {
            address,
            _serving: serving,
        })
    }
}

impl Inspector {
    /// Where it is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

struct Shown {
    recorder: Recorder,
    cases: Vec<Case>,
    /// What a request may have for a `Host`: a web page whose name resolves to loopback has another.
    hosts: [String; 2],
}

async fn serve(listener: TcpListener, shown: Arc<Shown>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((tcp, _)) = listener.accept().await else {
            // Out of descriptors, most likely: others will be closed.
            tokio::task::yield_now().await;
            continue;
        };
        let shown = Arc::clone(&shown);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shown = Arc::clone(&shown);
                async move { Ok::<_, Infallible>(shown.answer(request).await) }
            });
            // The peer may leave whenever it likes.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tcp), service)
                .await;
        });
    }
}

impl Shown {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let host = request.headers().get(HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.hosts.iter().any(|known| known == host) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "another host was asked\n".into(),
            );
        }
        let query = request.uri().query().unwrap_or_default();
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => text(StatusCode::OK, INDEX.into()),
            (&Method::GET, "/captures") => self.captures(query).await,
            (&Method::DELETE, "/captures") => {
                self.recorder.clear();
                text(StatusCode::NO_CONTENT, String::new())
            }
            (&Method::GET, "/cases") => json(&json!(self.cases)),
            (&Method::GET, "/hosts") => text(StatusCode::OK, self.hosts_lines()),
            (_, "/" | "/captures" | "/cases" | "/hosts") => {
                text(StatusCode::METHOD_NOT_ALLOWED, INDEX.into())
            }
            _ => text(StatusCode::NOT_FOUND, INDEX.into()),
        }
    }

    async fn captures(&self, query: &str) -> Response<Full<Bytes>> {
        let (mut case, mut wait) = (None, Duration::ZERO);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("case", name)) if self.cases.iter().any(|case| case.name == name) => {
                    case = Some(name);
                }
                Some(("wait", seconds)) if seconds.parse::<u16>().is_ok() => {
                    wait = Duration::from_secs(seconds.parse().unwrap_or_default()).min(MAX_WAIT);
                }
                _ => return text(StatusCode::BAD_REQUEST, format!("{pair}: unknown\n{INDEX}")),
            }
        }
        let ended = async {
            while !self.of(case).iter().all(|capture| capture.ended) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Which have not ended is in the answer.
        let _ = tokio::time::timeout(wait, ended).await;
        let captures: Vec<Value> = self.of(case).iter().map(|it| self.describe(it)).collect();
        json(&json!(captures))
    }

    fn of(&self, case: Option<&str>) -> Vec<Capture> {
        let mut captures = self.recorder.captures();
        captures.retain(|capture| case.is_none_or(|case| capture.case == case));
        captures
    }

    fn describe(&self, capture: &Capture) -> Value {
        let names = self
            .cases
            .iter()
            .flat_map(|case| [&case.host, &case.public_name]);
        let read: BTreeSet<&String> = names.filter(|name| capture.contains(name)).collect();
        json!({
            "case": capture.case,
            "client": capture.client,
            "base64": BASE64.encode(&capture.bytes),
            "names": read,
            "truncated": capture.truncated,
            "ended": capture.ended,
        })
    }

    fn hosts_lines(&self) -> String {
        let records = self.cases.iter().flat_map(|case| &case.zone);
        let addresses = records.filter(|record| matches!(&*record.rtype, "A" | "AAAA"));
        let lines = addresses.map(|record| format!("{} {}\n", record.data, record.owner));
        lines.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn json(document: &Value) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "application/json", document.to_string())
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, "text/plain", body)
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
