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

use crate::accept::each_connection;
use crate::capture::{Capture, Recorder};
use crate::case::Case;
use crate::error::TestbedError;
use crate::proxy::ProxyRecorder;
use crate::{Testbed, ports};

/// How long a request waits for connections to end at most.
const MAX_WAIT: Duration = Duration::from_secs(60);

const INDEX: &str = "\
GET /captures            what clients have sent to the cases' servers, oldest first, as JSON
GET /captures?case=NAME  the same of one case
GET /captures?wait=5     the same once every connection has ended, or after so many seconds
DELETE /captures         forgets them
GET /proxies             what passed the proxies, oldest first of each, as JSON
GET /proxies?name=NAME   the same of one proxy; wait=5 as above
DELETE /proxies          forgets it
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
            proxies: self.proxy_recorders(),
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
    /// By the names of the proxies.
    proxies: Vec<(String, ProxyRecorder)>,
    cases: Vec<Case>,
    /// What a request may have for a `Host`: a web page whose name resolves to loopback has another.
    hosts: [String; 2],
}

async fn serve(listener: TcpListener, shown: Arc<Shown>) {
    each_connection(listener, |tcp, _| {
        let shown = Arc::clone(&shown);
        async move {
            let service = service_fn(move |request| {
                let shown = Arc::clone(&shown);
                async move { Ok::<_, Infallible>(shown.answer(request).await) }
            });
            // The peer may leave whenever it likes.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tcp), service)
                .await;
        }
    })
    .await;
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
            (&Method::GET, "/proxies") => self.proxied(query).await,
            (&Method::DELETE, "/proxies") => {
                self.proxies.iter().for_each(|(_, one)| one.clear());
                text(StatusCode::NO_CONTENT, String::new())
            }
            (&Method::GET, "/cases") => json(&json!(self.cases)),
            (&Method::GET, "/hosts") => text(StatusCode::OK, self.hosts_lines()),
            (_, "/" | "/captures" | "/proxies" | "/cases" | "/hosts") => {
                text(StatusCode::METHOD_NOT_ALLOWED, INDEX.into())
            }
            _ => text(StatusCode::NOT_FOUND, INDEX.into()),
        }
    }

    async fn captures(&self, query: &str) -> Response<Full<Bytes>> {
        let known = |name: &str| self.cases.iter().any(|case| case.name == name);
        let Wanted { of: case, wait } = match Wanted::parse(query, "case", known) {
            Ok(wanted) => wanted,
            Err(reason) => return text(StatusCode::BAD_REQUEST, reason),
        };
        wait_until(wait, || self.of(case).iter().all(|capture| capture.ended)).await;
        let captures: Vec<Value> = self.of(case).iter().map(|it| self.describe(it)).collect();
        json(&json!(captures))
    }

    async fn proxied(&self, query: &str) -> Response<Full<Bytes>> {
        let known = |name: &str| self.proxies.iter().any(|(known, _)| known == name);
        let Wanted { of: name, wait } = match Wanted::parse(query, "name", known) {
            Ok(wanted) => wanted,
            Err(reason) => return text(StatusCode::BAD_REQUEST, reason),
        };
        let wanted = |known: &str| name.is_none_or(|name| known == name);
        let proxies = self.proxies.iter().filter(|(known, _)| wanted(known));
        let captures = || {
            let of_one = |(name, one): &'_ (String, ProxyRecorder)| {
                let name = name.clone();
                let captures = one.captures().into_iter();
                captures.map(move |capture| (name.clone(), capture))
            };
            proxies.clone().flat_map(of_one).collect::<Vec<_>>()
        };
        wait_until(wait, || captures().iter().all(|(_, capture)| capture.ended)).await;
        let captures = captures();
        let described = captures.iter().map(|(name, capture)| {
            json!({
                "proxy": name,
                "client": capture.client,
                "asked": capture.asked,
                "sent": BASE64.encode(&capture.sent),
                "received": BASE64.encode(&capture.received),
                "names": self.read(|name| capture.contains(name)),
                "truncated": capture.truncated,
                "ended": capture.ended,
            })
        });
        json(&json!(described.collect::<Vec<_>>()))
    }

    /// The names of the cases that can be read.
    fn read(&self, contains: impl Fn(&str) -> bool) -> BTreeSet<&String> {
        let cases = self.cases.iter();
        let names = cases.flat_map(|case| [&case.host, &case.public_name]);
        names.filter(|name| contains(name)).collect()
    }

    fn of(&self, case: Option<&str>) -> Vec<Capture> {
        let mut captures = self.recorder.captures();
        captures.retain(|capture| case.is_none_or(|case| capture.case == case));
        captures
    }

    fn describe(&self, capture: &Capture) -> Value {
        json!({
            "case": capture.case,
            "client": capture.client,
            "base64": BASE64.encode(&capture.bytes),
            "names": self.read(|name| capture.contains(name)),
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

/// What a query asks for.
struct Wanted<'a> {
    /// The one case or proxy; `None` is all of them.
    of: Option<&'a str>,
    wait: Duration,
}

impl<'a> Wanted<'a> {
    /// Reads `wait` and the parameter `key`, which takes names that are known.
    fn parse(query: &'a str, key: &str, known: impl Fn(&str) -> bool) -> Result<Self, String> {
        let (mut of, mut wait) = (None, Duration::ZERO);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((given, name)) if given == key && known(name) => of = Some(name),
                Some(("wait", seconds)) if seconds.parse::<u16>().is_ok() => {
                    wait = Duration::from_secs(seconds.parse().unwrap_or_default()).min(MAX_WAIT);
                }
                _ => return Err(format!("{pair}: unknown\n{INDEX}")),
            }
        }
        Ok(Self { of, wait })
    }
}

/// Waits until all connections have ended, or for so long: which have not is in the answer.
async fn wait_until(limit: Duration, ended: impl Fn() -> bool) {
    let waiting = async {
        while !ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(limit, waiting).await;
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
