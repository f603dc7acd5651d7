//! `ech trace`: what an eavesdropper sees of a visit.

use echkit::policy::Timeouts;
use echkit::wire::WireRecorder;
use echkit::{Client, Report};
use echkit_check::{Paint, Trace};
use http::Method;
use serde_json::{Value, json};

use super::get::overrides;
use super::network::{origin, with_scheme};
use super::{capture, zone};
use crate::cli::trace::TraceArgs;
use crate::failure::Failure;
use crate::input;
use crate::output::{self, Style};
use crate::private_file;

pub(crate) async fn run(args: TraceArgs) -> Result<(), Failure> {
    let name = origin(&args.url)?.host.to_string();
    let recorder = WireRecorder::default();
    let (report, ended) = visit(&args, recorder.clone()).await?;
    let mut document = Value::Null;
    if let Some(report) = &report {
        let trace = Trace::new(&name, report, &recorder);
        document = json!(trace);
        document["error"] = Value::Null;
        match args.json {
            true if ended.is_ok() => output::json(&document)?,
            true => {}
            false => output::stdout(trace.text(columns(&args), paint).as_bytes())?,
        }
        if let Some(path) = &args.html {
            // The page names the hidden host.
            private_file::replace(path, trace.html())
                .map_err(|error| Failure::unwritten(path, error))?;
        }
    }
    if let Some(path) = &args.pcap {
        capture::write(path, &recorder)?;
    }
    ended.map_err(|failure| match document {
        Value::Null => failure,
        document => failure.with_document(document),
    })
}

/// Asks for the head of the page. There is no report where nothing could be tried.
async fn visit(
    args: &TraceArgs,
    recorder: WireRecorder,
) -> Result<(Option<Report>, Result<(), Failure>), Failure> {
    let (url, scope) = zone::split(&args.url)?;
    let mut timeouts = Timeouts::default();
    timeouts.response = Some(args.max_time);
    timeouts.total = Some(args.max_time);
    args.proxies.warn();
    let mut builder = Client::builder()
        .ech(args.ech)
        .retry(!args.no_retry)
        .timeouts(timeouts)
        .family(args.family.chosen())
        .link_local_scope(scope)
        .proxy_environment(args.proxies.environment()?)
        .redirects(None)
        .resolver(args.network.resolver(&args.proxies)?)
        .tls(args.network.tls(&args.proxies)?)
        .record(recorder);
    if let Some(list) = &args.ech_config {
        builder = builder.ech_config(input::ech_config(list)?);
    }
    if let Some(name) = &args.outer_sni {
        builder = builder.outer_sni(name);
    }
    builder = overrides::resolve(builder, &args.resolve)?;
    let client = overrides::connect_to(builder, &args.connect_to)?.build()?;
    let sent = client
        .request(Method::HEAD, &with_scheme(&url))
        .send()
        .await;
    Ok(match sent {
        Ok(response) => (Some(response.report()), Ok(())),
        Err(error) => (error.report().cloned(), Err(error.into())),
    })
}

fn columns(args: &TraceArgs) -> usize {
    let terminal = || terminal_size::terminal_size().map(|(width, _)| width.0);
    args.columns.or_else(terminal).unwrap_or(80).into()
}

fn paint(what: Paint, text: &str) -> String {
    let style = Style::stdout();
    match what {
        Paint::Heading => style.bold(text),
        Paint::Good => style.good(text),
        Paint::Bad => style.bad(text),
        _ => style.dim(text),
    }
}
