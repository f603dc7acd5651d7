//! `ech grade`: judges another client by what it does at the testbed's cases.

mod recipe;
mod report;
mod run;

use std::path::Path;

use echkit::Origin;
use echkit::discover::discover;
use echkit::dns::{Resolver, ResolverOptions};
use echkit_check::pcapng;
use echkit_testbed::{Case, ClientVerdict, Judgement, Testbed};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::testbed::CaFile;
use crate::cli::grade::GradeArgs;
use crate::failure::Failure;
use crate::output;
use crate::private_file;
use run::{Client, Substitutions};

pub(crate) async fn run(args: GradeArgs) -> Result<(), Failure> {
    let client = match args.recipe {
        Some(recipe) => recipe::client(recipe, args.program.as_deref())?,
        None => Client::of_command(&args.command),
    };
    let mut builder = Testbed::builder();
    if !args.only.is_empty() {
        builder = builder.only(args.only.clone());
    }
    let testbed = builder
        .start()
        .await
        .map_err(|error| Failure::usage(format!("cannot start the testbed: {error}")))?;
    let ca = CaFile::write(None, testbed.ca_pem())?;
    if let Some(directory) = &args.captures {
        std::fs::create_dir_all(directory).map_err(|error| {
            Failure::write(format!("cannot make {}: {error}", directory.display()))
        })?;
    }
    let resolver = Resolver::from_uri(&testbed.dns_uri(), &ResolverOptions::default())
        .map_err(|error| Failure::system(format!("the testbed's resolver: {error}")))?;
    let limit = args.max_time.unwrap_or(recipe::limit(args.recipe));
    let bar = progress(testbed.cases().len());
    let mut judgements = Vec::new();
    for case in testbed.cases() {
        let substitutions = substitutions(&testbed, &resolver, case, ca.path()).await?;
        testbed.clear_captures();
        let exit_code = client.run(&substitutions, limit).await?;
        let judgement = testbed
            .judge(&case.name, exit_code)
            .await
            .map_err(|error| Failure::system(error.to_string()))?;
        if let Some(directory) = &args.captures {
            keep_capture(&testbed, case, directory)?;
        }
        judgements.push(judgement);
        bar.inc(1);
    }
    bar.finish_and_clear();
    tell(&args, &client, &judgements)
}

fn tell(args: &GradeArgs, client: &Client, judgements: &[Judgement]) -> Result<(), Failure> {
    if let Some(path) = &args.html {
        let page = report::html(client, judgements);
        private_file::replace(path, page).map_err(|error| Failure::unwritten(path, error))?;
    }
    let document = report::document(client, judgements);
    match (args.json, args.markdown) {
        (true, _) => {}
        (_, true) => output::stdout(report::markdown(client, judgements).as_bytes())?,
        (_, false) => output::stdout(report::text(client, judgements).as_bytes())?,
    }
    let wrong = judgements
        .iter()
        .filter(|one| one.verdict != ClientVerdict::Right)
        .count();
    match wrong {
        0 if args.json => output::json(&document),
        0 => Ok(()),
        _ => {
            let all = judgements.len();
            let message = format!("{wrong} of {all} cases: the client was not right");
            // The output says it.
            Err(Failure::check(message).quiet().with_document(document))
        }
    }
}

/// What stands for the placeholders in one case.
async fn substitutions(
    testbed: &Testbed,
    resolver: &Resolver,
    case: &Case,
    ca: &Path,
) -> Result<Substitutions, Failure> {
    let origin = Origin::parse(&case.url)
        .map_err(|error| Failure::system(format!("{}: {error}", case.url)))?;
    let found = discover(resolver, &origin).await;
    let endpoint = found.endpoints.first();
    // Names of the testbed lead nowhere else.
    let address = endpoint
        .and_then(|endpoint| endpoint.addresses.iter().find(|address| address.is_ipv4()))
        .map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string);
    let endpoint_port = endpoint.map_or(case.port, |endpoint| endpoint.port);
    let ech = endpoint
        .and_then(|endpoint| endpoint.ech.as_ref())
        .map(|ech| ech.list().to_base64());
    let doh_port = testbed.doh_address().port();
    let doh = testbed.doh_uri();
    let doh = doh.split('#').next().unwrap_or_default();
    Ok(Substitutions::new([
        ("url", case.url.clone()),
        ("host", case.host.clone()),
        ("port", origin.port.to_string()),
        ("dns", testbed.dns_uri()),
        ("doh", doh.to_owned()),
        ("doh_port", doh_port.to_string()),
        ("ca", ca.display().to_string()),
        ("address", address),
        ("endpoint_port", endpoint_port.to_string()),
        ("ech", ech.unwrap_or_default()),
    ]))
}

fn keep_capture(testbed: &Testbed, case: &Case, directory: &Path) -> Result<(), Failure> {
    let path = directory.join(format!("{}.pcapng", case.name));
    let mut connections = testbed.connections();
    connections.retain(|connection| connection.label == case.name);
    // The servers recorded them; a capture file begins with what a client sends.
    let connections: Vec<_> = connections.into_iter().map(|one| one.as_peer()).collect();
    let bytes = pcapng(&connections, "").map_err(|error| Failure::unwritten(&path, error))?;
    private_file::replace(&path, bytes).map_err(|error| Failure::unwritten(&path, error))
}

/// On a terminal alone, which indicatif finds out.
fn progress(cases: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(cases as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} cases {wide_bar} {eta}") {
        bar.set_style(style);
    }
    bar
}
