//! `ech get`: fetch a URL over ECH.

use std::path::Path;
use std::time::{Duration, Instant};

use echkit::http::{ClientBuilder, HttpVersions, Response, ResponseBody};
use echkit::policy::Timeouts;
use echkit::{Client, ErrorKind, Report};
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::capture::Capture;
use super::{cache, zone};
use crate::cli::GetArgs;
use crate::failure::Failure;
use crate::input;
use crate::output::{self, Style};
use body::Reader;
use destination::Destination;
use head::Head;
use request::Request;
use retry::Retry;
use verbose::Story;
use write_out::Transfer;

mod body;
mod cookies;
mod destination;
mod form;
mod head;
pub(super) mod overrides;
pub(crate) mod report;
mod request;
mod retry;
mod upload;
mod verbose;
mod write_out;

pub(crate) async fn run(mut args: Box<GetArgs>) -> Result<(), Failure> {
    let stdout_report = args.report.as_deref().is_some_and(|p| p.as_os_str() == "-");
    let to_file = args.output.as_deref().is_some_and(|p| p.as_os_str() != "-");
    if stdout_report && !to_file && !args.remote_name && !args.json {
        return Err(Failure::usage("--report - needs -o FILE for the body"));
    }
    let silent = args.silent && !args.show_error && !args.json;
    let ended = match zone::split(&args.url) {
        Ok((url, scope)) => {
            args.url = url;
            fetch(&args, scope).await
        }
        Err(failure) => Err(failure),
    };
    match ended {
        Err(failure) if silent => Err(failure.quiet()),
        ended => ended,
    }
}

async fn fetch(args: &GetArgs, scope: Option<u32>) -> Result<(), Failure> {
    let to = Destination::from_args(args)?;
    let request = Request::from_args(args, &to)?;
    let jar = cookies::jar(&args.curl)?;
    let story = Story::default();
    let builder = client(args, request.defaults.clone())?.link_local_scope(scope);
    let builder = match &jar {
        Some(jar) => builder.cookies(jar.clone()),
        None => builder,
    };
    let builder = match args.verbose {
        0 => builder,
        _ => {
            let story = story.clone();
            builder.observe(move |head| story.tell(head))
        }
    };
    let capture = Capture::wanted(args.pcap.as_deref());
    let builder = match &capture {
        Some(capture) => builder.record(capture.recorder()),
        None => builder,
    };
    let get = Get {
        args,
        to,
        client: builder.build()?,
        request,
        story,
    };
    if args.curl.insecure && !args.silent {
        output::note(
            "ech: warning: -k: the server's certificate is not verified, so anyone on the path \
                can read and change everything. ECH hides the name from passive observers only, and a rejection of ECH is an error",
        );
    }
    if !args.silent {
        args.proxies.warn();
    }
    let mut retry = Retry::new(&args.curl, args.silent);
    let ended = loop {
        let begun = Instant::now();
        let mut transfer = get.transfer();
        let ended = get.once(&mut retry, &mut transfer).await;
        transfer.took = begun.elapsed();
        match ended {
            Ended::Again(pause) => tokio::time::sleep(pause).await,
            Ended::Done => break get.write_out(&transfer, Ok(())),
            Ended::Failed(failure) => break get.write_out(&transfer, Err(failure)),
        }
    };
    let ended = match &capture {
        Some(capture) => capture.write_after(ended),
        None => ended,
    };
    match (ended, cookies::keep(&args.curl, jar.as_ref())) {
        (Err(failure), Err(unkept)) => {
            // How the fetch ended is what counts.
            if let Some(line) = unkept.line().filter(|_| !args.silent) {
                output::note(&format!("ech: warning: {line}"));
            }
            Err(failure)
        }
        (ended, kept) => ended.and(kept),
    }
}

/// What one try came to.
enum Ended {
    Done,
    Failed(Failure),
    /// There is another after this pause.
    Again(Duration),
}

impl From<Result<(), Failure>> for Ended {
    fn from(ended: Result<(), Failure>) -> Self {
        match ended {
            Ok(()) => Self::Done,
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// All that a try needs.
struct Get<'a> {
    args: &'a GetArgs,
    to: Destination,
    client: Client,
    request: Request,
    story: Story,
}

impl Get<'_> {
    /// A transfer that has not begun.
    fn transfer(&self) -> Transfer {
        Transfer {
            method: self.request.method.clone(),
            url: self.args.url.clone(),
            effective: self.request.url.clone(),
            head: None,
            redirects: 0,
            redirect_url: None,
            downloaded: 0,
            uploaded: self.request.upload.length(),
            report: None,
            file: self.to.path.as_ref().map(|path| path.display().to_string()),
            took: Duration::ZERO,
        }
    }

    fn write_out(&self, transfer: &Transfer, ended: Result<(), Failure>) -> Result<(), Failure> {
        if let Some(format) = &self.args.curl.write_out {
            write_out::write_out(format, transfer, ended.as_ref().err())?;
        }
        ended
    }

    async fn once(&self, retry: &mut Retry, transfer: &mut Transfer) -> Ended {
        let request = &self.request;
        let sent = self
            .client
            .request(request.method.clone(), &request.url)
            .headers(request.headers.clone())
            .body(request.upload.body())
            .send()
            .await;
        match sent {
            Ok(response) => {
                if let Some(pause) = retry.after_status(response.status(), response.headers()) {
                    return Ended::Again(pause);
                }
                self.finish(response, retry, transfer).await
            }
            Err(error) => {
                if let Some(pause) = retry.after_error(error.kind()) {
                    return Ended::Again(pause);
                }
                let report = error.report().cloned();
                let failure = Failure::from(error);
                if let Err(failure) = self.tell(report.as_ref()) {
                    return Ended::Failed(failure);
                }
                transfer.report.clone_from(&report);
                Ended::Failed(failure.with_document(json!({ "report": report, "http": null })))
            }
        }
    }

    async fn finish(
        &self,
        response: Response,
        retry: &mut Retry,
        transfer: &mut Transfer,
    ) -> Ended {
        let args = self.args;
        let head = Head::of(&response);
        transfer.effective = response.url().to_string();
        transfer.redirects = response.redirects().len();
        let location = head.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        let location = location.filter(|_| head.status.is_redirection());
        let location = location.and_then(|to| response.url().join(to).ok());
        transfer.redirect_url = location.map(|mut to| {
            // Neither can fail: the URL has a host.
            let _ = to.set_username("");
            let _ = to.set_password(None);
            to.to_string()
        });
        let refused = match args.curl.fail || args.curl.fail_with_body {
            // A file that is there as a whole is not a failure.
            true if self.to.offset > 0 && head.status == StatusCode::RANGE_NOT_SATISFIABLE => None,
            true if head.status.is_client_error() || head.status.is_server_error() => {
                Some(Failure::of_kind(
                    ErrorKind::Status,
                    format!(
                        "{} answered with status {}",
                        transfer.effective, head.status
                    ),
                ))
            }
            _ => None,
        };
        let goes_on = match &refused {
            Some(_) if args.curl.fail => Ok(false),
            _ => self.to.goes_on(&response),
        };
        let mut body = response.into_body();
        let ended = match goes_on {
            Ok(true) => match self.write(&head, &mut body, transfer).await {
                Ok(()) => refused.map_or(Ok(()), Err),
                Err(failure) => Err(failure),
            },
            // All of it is there already.
            Ok(false) if self.to.offset > 0 && refused.is_none() => Ok(()),
            Ok(false) => {
                refused.map_or(Ok(()), |failure| Err(self.with_head(failure, &head, &body)))
            }
            Err(failure) => Err(failure),
        };
        transfer.head = Some(head);
        transfer.report = Some(body.report());
        match ended {
            // A file is written anew; what went to stdout cannot be taken back.
            Err(failure)
                if failure.kind() == ErrorKind::Timeout.as_str()
                    && self.to.offset == 0
                    && (self.to.path.is_some() || transfer.downloaded == 0) =>
            {
                match retry.after_error(ErrorKind::Timeout) {
                    Some(pause) => Ended::Again(pause),
                    None => Ended::Failed(failure),
                }
            }
            ended => ended.into(),
        }
    }

    /// With the report and the head for `--json`.
    fn with_head(&self, failure: Failure, head: &Head, body: &ResponseBody) -> Failure {
        failure.with_document(json!({ "report": body.report(), "http": head.json() }))
    }

    async fn write(
        &self,
        head: &Head,
        body: &mut ResponseBody,
        transfer: &mut Transfer,
    ) -> Result<(), Failure> {
        let args = self.args;
        let progress = !args.silent && args.verbose == 0;
        if args.json {
            let read = match self.to.path {
                Some(_) => {
                    let reader = Reader::new(body, progress);
                    let written = reader.write(&self.to, &mut transfer.downloaded).await;
                    written.map(|()| None)
                }
                None => Reader::new(body, progress).collect().await.map(Some),
            };
            let report = body.report();
            self.tell(Some(&report))?;
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
        let reader = Reader::new(body, progress);
        let written = reader.write(&self.to, &mut transfer.downloaded).await;
        self.tell(Some(&body.report()))?;
        written
    }

    /// The report for those who asked: as a file, and in words.
    fn tell(&self, report: Option<&Report>) -> Result<(), Failure> {
        let Some(report) = report else { return Ok(()) };
        if self.args.verbose > 0 {
            let lines = match self.story.was_told() {
                true => vec![report::time_line(report)],
                false => report::lines(report, Style::stderr()),
            };
            for line in lines {
                output::note(&line);
            }
        }
        if let Some(path) = &self.args.report {
            let document = json!(report);
            match path.as_os_str() == "-" {
                true => output::json(&document)?,
                false => write_file(path, format!("{document:#}\n").as_bytes())?,
            }
        }
        Ok(())
    }
}

fn client(args: &GetArgs, defaults: HeaderMap) -> Result<ClientBuilder, Failure> {
    let mut timeouts = Timeouts::default();
    if args.max_time.is_some() {
        timeouts.response = args.max_time;
        timeouts.total = args.max_time;
    }
    if args.connect_timeout.is_some() {
        timeouts.connect = args.connect_timeout;
    }
    let versions = match (args.http1, args.http2) {
        (true, _) => HttpVersions::Http1,
        (_, true) => HttpVersions::Http2,
        _ => HttpVersions::Any,
    };
    let mut builder = Client::builder()
        .ech(args.ech)
        .retry(!args.no_retry)
        .timeouts(timeouts)
        .family(args.family.chosen())
        .http(versions)
        .default_headers(defaults)
        .proxy_environment(args.proxies.environment()?)
        .proxy_resolves(args.proxy_resolves)
        .redirects(args.location.then_some(args.max_redirs))
        .resolver(args.network.resolver(&args.proxies)?)
        .decompress(args.compressed)
        .tls(
            args.network
                .tls(&args.proxies)?
                .dangerous_accept_any_certificate(args.curl.insecure),
        );
    if args.learn {
        builder = builder.learn(true);
    }
    if let Some(path) = &args.ech_cache {
        builder = builder.cache(cache::open(path)?);
    }
    if let Some(list) = &args.ech_config {
        builder = builder.ech_config(input::ech_config(list)?);
    }
    if let Some(name) = &args.outer_sni {
        builder = builder.outer_sni(name);
    }
    builder = overrides::resolve(builder, &args.resolve)?;
    overrides::connect_to(builder, &args.connect_to)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::unwritten(path, error))
}

fn put_body(http: &mut Value, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => http["body"] = json!(text),
        Err(_) => http["body_base64"] = json!(data_encoding::BASE64.encode(bytes)),
    }
}
