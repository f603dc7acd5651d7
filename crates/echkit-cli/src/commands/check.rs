//! `ech check`: what is wrong with deployments of ECH, and what to do.

mod hosts;
mod text;

use std::num::NonZeroUsize;
use std::time::Duration;

use echkit::Origin;
use echkit::discover::DiscoverOptions;
use echkit::proxy::ProxyEnvironment;
use echkit_check::{
    CheckLimits, Checker, HostReport, ProbeSelection, Severity, anonymity, check_page,
};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::capture::Capture;
use super::get::overrides::fixed_addresses;
use crate::cli::check::{CheckArgs, FailOn};
use crate::cli::proxy_args::ProxyArgs;
use crate::failure::Failure;
use crate::output::{self, Style};

pub(super) use text::wrapped;

/// How often progress is drawn.
const TICK: Duration = Duration::from_millis(250);

pub(crate) async fn run(args: CheckArgs) -> Result<(), Failure> {
    let origins = hosts::origins(&args)?;
    let proxies = ProxyEnvironment::of_process();
    for origin in &origins {
        Checker::refuse_proxy(&proxies, origin)
            .map_err(|error| Failure::of_kind(error.kind, error.message))?;
    }
    let capture = Capture::wanted(args.pcap.as_deref());
    let checker = checker(&args, capture.as_ref())?;
    let count = origins.len();
    let (mut reports, interrupted) = check_all(&checker, origins, args.jobs).await;
    anonymity(&mut reports, checker.selection());
    let ended =
        write_page(&args, &reports).and_then(|()| tell(&args, &reports, count, interrupted));
    match &capture {
        Some(capture) => capture.write_after(ended),
        None => ended,
    }
}

fn write_page(args: &CheckArgs, reports: &[HostReport]) -> Result<(), Failure> {
    if let Some(path) = &args.html {
        std::fs::write(path, check_page(reports))
            .map_err(|error| Failure::unwritten(path, error))?;
    }
    Ok(())
}

fn tell(
    args: &CheckArgs,
    reports: &[HostReport],
    count: usize,
    interrupted: bool,
) -> Result<(), Failure> {
    let document = document(reports, interrupted);
    if !args.json {
        output::stdout(text::reports(reports, Style::stdout()).as_bytes())?;
    }
    match failure(reports, count, interrupted, args.fail_on) {
        Some(failure) => Err(failure.with_document(document)),
        None if args.json => output::json(&document),
        None => Ok(()),
    }
}

fn checker(args: &CheckArgs, capture: Option<&Capture<'_>>) -> Result<Checker, Failure> {
    let named = |flag: &'static str| {
        move |error: echkit_check::UnknownProbe| Failure::usage(format!("{flag} {error}"))
    };
    let mut selection = ProbeSelection::default().with_private(args.private);
    for name in &args.only {
        selection = selection.with_only(name).map_err(named("--only"))?;
    }
    for name in &args.skip {
        selection = selection.with_skip(name).map_err(named("--skip"))?;
    }
    let discovery = DiscoverOptions::default()
        .with_family(args.family.chosen())
        .with_resolve(fixed_addresses(&args.resolve)?);
    let proxies = ProxyArgs::default();
    let limits = CheckLimits::default()
        .with_host(args.max_time)
        .with_connection(args.connect_timeout);
    let checker = Checker::builder()
        .tls(args.network.tls(&proxies)?)
        .resolver(args.network.resolver(&proxies)?)
        .discovery(discovery)
        .selection(selection)
        .name_server_port(args.ns_port)
        .limits(limits);
    let checker = match args.http_port {
        Some(port) => checker.http_port(port),
        None => checker,
    };
    let checker = match capture {
        Some(capture) => checker.record(capture.recorder()),
        None => checker,
    };
    Ok(checker.build()?)
}

/// The reports of the origins that were checked, in their order, and whether Ctrl-C ended it.
async fn check_all(
    checker: &Checker,
    origins: Vec<Origin>,
    jobs: NonZeroUsize,
) -> (Vec<HostReport>, bool) {
    let bar = progress(origins.len());
    let mut checks = std::pin::pin!(checker.check_all(origins, jobs));
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut reports = Vec::new();
    let interrupted = loop {
        tokio::select! {
            report = checks.next() => match report {
                Some(report) => {
                    bar.inc(1);
                    reports.push(report);
                }
                None => break false,
            },
            _ = &mut interrupt => break true,
        }
    };
    bar.finish_and_clear();
    reports.sort_by_key(|(index, _)| *index);
    let reports = reports.into_iter().map(|(_, report)| report);
    (reports.collect(), interrupted)
}

/// On a terminal alone, which indicatif finds out, and for several hosts.
fn progress(hosts: usize) -> ProgressBar {
    if hosts < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(hosts as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} hosts {wide_bar} {eta}") {
        bar.set_style(style);
    }
    // Shown at once, and whatever the limit to how often it is drawn has left out.
    bar.enable_steady_tick(TICK);
    bar
}

/// Version 1; docs/check.md has the schema.
fn document(reports: &[HostReport], interrupted: bool) -> Value {
    let hosts: Vec<Value> = reports.iter().map(|r| json!(r.document())).collect();
    json!({ "version": 1, "interrupted": interrupted, "hosts": hosts })
}

fn failure(
    reports: &[HostReport],
    hosts: usize,
    interrupted: bool,
    fail_on: FailOn,
) -> Option<Failure> {
    if interrupted {
        let done = reports.len();
        return Some(Failure::interrupted(format!(
            "interrupted: {done} of {hosts} hosts were checked"
        )));
    }
    let least = match fail_on {
        FailOn::Error => Some(Severity::Error),
        FailOn::Warning => Some(Severity::Warning),
        FailOn::Advice => Some(Severity::Advice),
        FailOn::Never => None,
    };
    let fails = |report: &&HostReport| least.is_some() && report.worst() >= least;
    let failing = reports.iter().filter(fails).count();
    if let (1.., Some(least)) = (failing, least) {
        let message = format!("{failing} of {hosts} hosts: findings of severity {least} or above");
        // The output says it.
        return Some(Failure::check(message).quiet());
    }
    let error = reports.iter().find_map(|report| report.error.as_ref())?;
    Some(Failure::of_kind(error.kind, error.message.clone()))
}
