//! `ech get`: fetch a URL over ECH.

use std::path::{Path, PathBuf};

use echkit::http::{HttpVersions, Response};
use echkit::policy::{AddressFamily, Timeouts};
use echkit::{Client, Report};
use echkit_proto::config::EchConfigList;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use serde_json::{Value, json};
use url::Url;

use super::cache;
use super::network::with_scheme;
use crate::cli::GetArgs;
use crate::failure::Failure;
use crate::input;
use crate::output::{self, Style};
use request::Request;

mod body;
mod overrides;
mod proxies;
pub(crate) mod report;
mod request;

pub(crate) async fn run(args: Box<GetArgs>) -> Result<(), Failure> {
    let stdout_report = args.report.as_deref().is_some_and(|p| p.as_os_str() == "-");
    if stdout_report && args.output.is_none() && !args.remote_name && !args.json {
        return Err(Failure::usage("--report - needs -o FILE for the body"));
    }
    let silent = args.silent && !args.show_error && !args.json;
    let ended = fetch(&args).await;
    match ended {
        Err(failure) if silent => Err(failure.quiet()),
        ended => ended,
    }
}

async fn fetch(args: &GetArgs) -> Result<(), Failure> {
    let path = destination(args)?;
    let request = Request::from_args(args)?;
    let client = client(args, request.defaults)?;
    let url = with_scheme(&args.url);
    let sent = client
        .request(request.method, &url)
        .headers(request.headers)
        .body(request.body)
        .send()
        .await;
    match sent {
        Ok(response) => finish(args, response, path.as_deref()).await,
        Err(error) => {
            let report = error.report().cloned();
            tell(args, report.as_ref())?;
            Err(Failure::from(error).with_document(json!({ "report": report, "http": null })))
        }
    }
}

fn client(args: &GetArgs, defaults: HeaderMap) -> Result<Client, Failure> {
    let mut timeouts = Timeouts::default();
    if args.max_time.is_some() {
        timeouts.response = args.max_time;
        timeouts.total = args.max_time;
    }
    if args.connect_timeout.is_some() {
        timeouts.connect = args.connect_timeout;
    }
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => AddressFamily::V4,
        (_, true) => AddressFamily::V6,
        _ => AddressFamily::Any,
    };
    let versions = match (args.http1, args.http2) {
        (true, _) => HttpVersions::Http1,
        (_, true) => HttpVersions::Http2,
        _ => HttpVersions::Any,
    };
    let mut builder = Client::builder()
        .ech(args.ech)
        .retry(!args.no_retry)
        .timeouts(timeouts)
        .family(family)
        .http(versions)
        .default_headers(defaults)
        .proxy_environment(proxies::proxies(args)?)
        .proxy_resolves(args.proxy_resolves)
        .redirects(args.location.then_some(args.max_redirs))
        .resolver(args.network.resolver()?)
        .tls(args.network.tls()?);
    if args.learn {
        builder = builder.learn(true);
    }
    if let Some(path) = &args.ech_cache {
        builder = builder.cache(cache::open(path)?);
    }
    if let Some(list) = &args.ech_config {
        builder = builder.ech_config(config_list(list)?);
    }
    if let Some(name) = &args.outer_sni {
        builder = builder.outer_sni(name);
    }
    for text in &args.resolve {
        let fixed = overrides::resolve(text)?;
        builder = builder.resolve(&fixed.host, fixed.port, fixed.addresses);
    }
    for text in &args.connect_to {
        let to = overrides::connect_to(text)?;
        builder = builder.connect_to(&to.host, to.port, &to.to_host, to.to_port);
    }
    Ok(builder.build()?)
}

/// The list given by hand.
fn config_list(argument: &str) -> Result<EchConfigList, Failure> {
    let bytes = input::text_or_file(argument)?;
    EchConfigList::from_bytes_or_text(bytes)
        .map_err(|error| Failure::usage(format!("--ech-config is not an ECHConfigList: {error}")))
}

async fn finish(args: &GetArgs, response: Response, path: Option<&Path>) -> Result<(), Failure> {
    let head = Head::of(&response);
    let mut body = response.into_body();
    let coding = head.coding().filter(|_| args.compressed);
    let reader = body::Reader::new(&mut body, coding);
    if args.json {
        let read = match path {
            Some(path) => reader.write(Some(path)).await.map(|()| None),
            None => reader.collect().await.map(Some),
        };
        let report = body.report();
        tell(args, Some(&report))?;
        let mut document = json!({ "report": report, "http": head.json() });
        let bytes = read.map_err(|failure| failure.with_document(document.clone()))?;
        if let Some(bytes) = bytes {
            put_body(&mut document["http"], &bytes);
        }
        return output::json(&document);
    }
    if args.include || args.head {
        output::stdout(head.text().as_bytes())?;
    }
    let written = reader.write(path).await;
    tell(args, Some(&body.report()))?;
    written
}

/// The file for the body; `None` means stdout.
fn destination(args: &GetArgs) -> Result<Option<PathBuf>, Failure> {
    match (&args.output, args.remote_name) {
        (Some(path), _) => Ok(Some(path.clone())),
        (None, true) => remote_name(&args.url).map(Some),
        (None, false) => Ok(None),
    }
}

/// The last part of the path, as curl's -O takes it: of the URL that was given, so that no redirect
/// names the file.
fn remote_name(url: &str) -> Result<PathBuf, Failure> {
    let url = Url::parse(&with_scheme(url)).ok();
    let name = url.as_ref().and_then(|url| url.path().rsplit('/').next());
    match name.unwrap_or_default() {
        "" | "." | ".." => Err(Failure::usage(
            "-O: the URL has no file name at its end; name the file with -o",
        )),
        name => Ok(PathBuf::from(name)),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::write(format!("cannot write {}: {error}", path.display())))
}

/// The report for those who asked: as a file, and in words.
fn tell(args: &GetArgs, report: Option<&Report>) -> Result<(), Failure> {
    let Some(report) = report else { return Ok(()) };
    if args.verbose > 0 {
        for line in report::lines(report, Style::stderr()) {
            output::note(&line);
        }
    }
    if let Some(path) = &args.report {
        let document = json!(report);
        match path.as_os_str() == "-" {
            true => output::json(&document)?,
            false => write_file(path, format!("{document:#}\n").as_bytes())?,
        }
    }
    Ok(())
}

fn put_body(http: &mut Value, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => http["body"] = json!(text),
        Err(_) => http["body_base64"] = json!(data_encoding::BASE64.encode(bytes)),
    }
}

/// The head of a response.
struct Head {
    status: http::StatusCode,
    version: String,
    headers: HeaderMap,
}

impl Head {
    fn of(response: &Response) -> Self {
        Self {
            status: response.status(),
            version: format!("{:?}", response.version()),
            headers: response.headers().clone(),
        }
    }

    /// How the body is coded (RFC 9110 §8.4).
    fn coding(&self) -> Option<&str> {
        let value = self.headers.get(CONTENT_ENCODING)?.to_str().ok()?;
        Some(value.trim())
    }

    fn json(&self) -> Value {
        let mut headers = serde_json::Map::new();
        for name in self.headers.keys() {
            let values = self.headers.get_all(name).iter();
            let mut values: Vec<Value> = values
                .map(|v| json!(String::from_utf8_lossy(v.as_bytes())))
                .collect();
            let value = match values.len() {
                1 => values.remove(0),
                _ => Value::Array(values),
            };
            headers.insert(name.to_string(), value);
        }
        json!({
            "status": self.status.as_u16(),
            "version": self.version,
            "headers": headers,
        })
    }

    fn text(&self) -> String {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut out = format!("{} {} {reason}\r\n", self.version, self.status.as_u16());
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        out
    }
}
