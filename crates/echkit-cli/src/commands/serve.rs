//! `ech serve`.

use std::path::PathBuf;

use echkit_server::serve::{
    AccessLogConfig, AccessLogFormat, HttpServer, ProxyTarget, ServeConfig, ServeProblemKind,
    ServeProblems, ServedSite, SiteContent,
};
use echkit_server::{ServiceSignal, ServiceSignals, ServiceState, passed_listeners};

use crate::cli::serve::ServeArgs;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    if args.check {
        return check(&args).await;
    }
    // From here on no signal ends the process in the middle of something.
    let mut signals = ServiceSignals::new()
        .map_err(|error| Failure::system(format!("signals cannot be received: {error}")))?;
    let config = configured(&args)?.map_err(told)?;
    let passed = passed_listeners()
        .map_err(|error| Failure::system(format!("sockets of systemd: {error}")))?;
    let server = HttpServer::bind_with(config, passed, |event| note(&event))
        .await
        .map_err(told)?;
    server
        .give_up_root()
        .map_err(|problem| told(problem.into()))?;
    for address in server.addresses() {
        output::note(&format!("ech: serving on {address}"));
    }
    if let Some(address) = server.metrics_address() {
        output::note(&format!("ech: metrics on {address}"));
    }
    ServiceState::Ready.tell();
    let handle = server.handle();
    let running = server.run();
    tokio::pin!(running);
    loop {
        tokio::select! {
            () = &mut running => return Ok(()),
            signal = signals.next() => match signal {
                ServiceSignal::Reload => {
                    ServiceState::Reloading.tell();
                    match configured(&args) {
                        Ok(config) => handle.reload(config).await,
                        Err(failure) => note(&failure.line().unwrap_or_default()),
                    }
                    ServiceState::Ready.tell();
                }
                ServiceSignal::ReopenLogs => handle.reopen_logs().await,
                ServiceSignal::Stop => {
                    ServiceState::Stopping.tell();
                    handle.stop();
                }
            },
        }
    }
}

async fn check(args: &ServeArgs) -> Result<(), Failure> {
    let checked = match configured(args)? {
        Ok(config) => HttpServer::check(config).await,
        Err(problems) => Err(problems),
    };
    let problems = checked.as_ref().err().map(ServeProblems::as_slice);
    let lines: Vec<String> = problems
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    output::problems(&lines, args.json)
}

/// A line for each line of what happened.
fn note(what: &impl std::fmt::Display) {
    for line in what.to_string().lines() {
        output::note(&format!("ech: {line}"));
    }
}

/// Tells all problems but the last, which is the failure.
fn told(problems: ServeProblems) -> Failure {
    let Some((last, before)) = problems.as_slice().split_last() else {
        return Failure::system("the server cannot start");
    };
    before.iter().for_each(note);
    let message = last.to_string();
    match last.kind {
        ServeProblemKind::Unreadable => Failure::read(message),
        ServeProblemKind::Content => Failure::content(message),
        ServeProblemKind::Config => Failure::usage(message),
        ServeProblemKind::Address => Failure::address(message),
        _ => Failure::system(message),
    }
}

/// What the command line says, or the file that it names.
fn configured(args: &ServeArgs) -> Result<Result<ServeConfig, ServeProblems>, Failure> {
    if let Some(path) = &args.config {
        return Ok(ServeConfig::from_file(path));
    }
    let mut config = ServeConfig::new(args.keys.clone().unwrap_or_default());
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    config.status_page = args.status_page;
    config.public_name_only = args.public_name_only;
    config.access_log = args.access_log.clone().map(|file| {
        let mut log = AccessLogConfig::new(file);
        if args.log_json {
            log.format = AccessLogFormat::Json;
        }
        log.inner_names = args.log_inner_names;
        log
    });
    config.metrics = args.metrics;
    config.user.clone_from(&args.user);
    config.group.clone_from(&args.group);
    for text in &args.site {
        let site = site(text).map_err(|why| Failure::usage(format!("--site {text}: {why}")))?;
        config.sites.push(site);
    }
    Ok(Ok(config))
}

fn site(text: &str) -> Result<ServedSite, String> {
    let (mut names, mut certificate, mut key) = (Vec::new(), None, None);
    let mut contents = Vec::new();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("cert", path)) => certificate = Some(PathBuf::from(path)),
            Some(("key", path)) => key = Some(PathBuf::from(path)),
            Some(("root", path)) => contents.push(SiteContent::Files(path.into())),
            Some(("proxy", target)) => {
                contents.push(SiteContent::Proxy(ProxyTarget::parse(target)?));
            }
            Some((other, _)) => {
                return Err(format!(
                    "there is no {other:?}; known are cert, key, root and proxy"
                ));
            }
            None if part == "status" => contents.push(SiteContent::Status),
            None => names.push(part.to_owned()),
        }
    }
    let certificate = certificate.ok_or("there is no certificate; add cert=FILE")?;
    if names.is_empty() {
        return Err("there is no name; begin with the host names".to_owned());
    }
    let content = match (contents.pop(), contents.is_empty()) {
        (Some(content), true) => content,
        (None, _) => return Err("nothing to serve; add root=DIR, proxy=URL or status".to_owned()),
        (Some(_), false) => return Err("keep one of root, proxy and status".to_owned()),
    };
    let key = key.unwrap_or_else(|| certificate.clone());
    Ok(ServedSite::new(names, certificate, key, content))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    #[test]
    fn a_site_is_names_certificate_and_content() {
        let read = site("a.example,b.example,cert=c.pem,key=k.pem,root=www").unwrap();
        assert_eq!(read.names, ["a.example", "b.example"]);
        assert_eq!(read.key, Path::new("k.pem"));
        assert_eq!(read.content, SiteContent::Files("www".into()));
        let read = site("a.example,cert=c.pem,status").unwrap();
        assert_eq!(read.key, Path::new("c.pem"));
        for (text, why) in [
            ("cert=c.pem,status", "no name"),
            ("a.example,status", "no certificate"),
            ("a.example,cert=c.pem", "nothing to serve"),
            ("a.example,cert=c.pem,status,root=www", "keep one"),
            ("a.example,cert=c.pem,dir=www", "there is no \"dir\""),
            ("a.example,cert=c.pem,proxy=https://b", "not asked over TLS"),
        ] {
            let refused = site(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
