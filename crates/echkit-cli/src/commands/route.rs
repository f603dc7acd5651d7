//! `ech route`: the client-facing server of split mode.

mod access_log;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;

use echkit::server::EchKeyHandle;
use echkit_server::route::{HealthChange, HealthChecks, RouteConfig, Router};
use echkit_server::{Drain, KeyDirectory, KeyWatch, ServiceSignal, ServiceSignals};
use tokio::net::TcpListener;

use self::access_log::AccessLog;
use self::settings::{Problems, read};
use super::descriptors::raise_descriptor_limit;
use crate::cli::route::RouteArgs;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(args: RouteArgs) -> Result<(), Failure> {
    if args.check {
        return check(&args);
    }
    // From here on no signal ends the process in the middle of something.
    let signals = ServiceSignals::new()
        .map_err(|error| Failure::system(format!("signals cannot be received: {error}")))?;
    let config = read(&args).map_err(Problems::into_failure)?;
    let directory = directory(&config)?;
    let keys = EchKeyHandle::new(directory.load()?);
    let log = AccessLog::open(args.access_log.as_deref(), args.log_inner_names)?;
    let log = Arc::new(log);
    raise_descriptor_limit();
    let listeners = listen(&config.listen).await?;
    let watch = KeyWatch::start(directory, keys.clone(), |loaded| match loaded {
        Ok(keys) => note(format_args!("{} ECH keys loaded", keys.keys().len())),
        Err(error) => note(format_args!("{error}; the keys in use stay")),
    })
    .map_err(|error| Failure::system(error.to_string()))?;
    let logged = Arc::clone(&log);
    let router = Router::new(config.table.clone(), keys)
        .with_limits(config.limits.clone())
        .with_rules(config.rules)
        .with_proxy_header(config.accept_proxy)
        .on_end(move |connection| logged.write(connection));
    let drain = Drain::new();
    for listener in listeners {
        let (router, drain) = (router.clone(), drain.clone());
        tokio::spawn(async move { router.serve(listener, drain).await });
    }
    let mut running = Running {
        health: health(&config),
        args,
        config,
        router,
        watch,
        log,
    };
    running.until_stopped(signals).await;
    let limit = running.config.drain_time;
    drain.begin();
    note(format_args!(
        "{} connections are open; waiting at most {limit:?}",
        drain.tasks()
    ));
    let cut = drain.finish(limit).await;
    if cut > 0 {
        note(format_args!("{cut} connections were cut"));
    }
    Ok(())
}

/// A router that serves.
struct Running {
    args: RouteArgs,
    config: RouteConfig,
    router: Router,
    watch: KeyWatch,
    health: Option<HealthChecks>,
    log: Arc<AccessLog>,
}

impl Running {
    async fn until_stopped(&mut self, mut signals: ServiceSignals) {
        loop {
            match signals.next().await {
                ServiceSignal::Stop => return,
                ServiceSignal::ReopenLogs => {
                    if let Err(failure) = self.log.reopen() {
                        note(format_args!("{}", failure.line().unwrap_or_default()));
                    }
                }
                ServiceSignal::Reload => self.reload(),
            }
        }
    }

    /// Names and backends anew; all or nothing.
    fn reload(&mut self) {
        self.watch.reload();
        if self.args.config.is_none() {
            return;
        }
        let config = match read(&self.args) {
            Ok(config) => config,
            Err(problems) => {
                for line in problems.lines() {
                    note(format_args!("{line}"));
                }
                return note(format_args!("the names and backends in use stay"));
            }
        };
        for key in self.needs_restart(&config) {
            note(format_args!("{key}: changed, which counts after a restart"));
        }
        self.router.set_table(config.table.clone());
        self.health = health(&config);
        self.config.table = config.table;
        self.config.health_every = config.health_every;
        self.config.drain_time = config.drain_time;
        note(format_args!("names and backends are read again"));
    }

    fn needs_restart(&self, new: &RouteConfig) -> Vec<&'static str> {
        let old = &self.config;
        let rules = |config: &RouteConfig| {
            (
                config.rules.check_outer_sni,
                config.rules.trial_decryption,
                config.accept_proxy,
            )
        };
        let changed = [
            ("listen", old.listen != new.listen),
            ("keys", old.keys != new.keys),
            ("limits", old.limits != new.limits),
            (
                "check_outer_name, trial_decryption, accept_proxy",
                rules(old) != rules(new),
            ),
        ];
        let keys = changed.into_iter().filter(|(_, changed)| *changed);
        keys.map(|(key, _)| key).collect()
    }
}

fn directory(config: &RouteConfig) -> Result<KeyDirectory, Failure> {
    Ok(KeyDirectory::open(&config.keys)?.with_access(config.key_access))
}

fn health(config: &RouteConfig) -> Option<HealthChecks> {
    let every = config.health_every?;
    let limit = config.limits.connect_timeout;
    let told = |change: HealthChange| {
        let (backend, address) = (&change.backend, &change.address);
        match &change.failure {
            Some(why) => note(format_args!(
                "backend {backend}: {address} cannot be connected to: {why}; it is used last"
            )),
            None => note(format_args!("backend {backend}: {address} is up again")),
        }
    };
    Some(HealthChecks::start(
        config.table.backends(),
        every,
        limit,
        told,
    ))
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::address(format!(
                "cannot listen on {address}: {error}; end what uses it, or choose another address with listen"
            ))
        })?;
        let address = listener.local_addr().unwrap_or(*address);
        listeners.push(listener);
        note(format_args!("routing on {address}"));
    }
    Ok(listeners)
}

fn check(args: &RouteArgs) -> Result<(), Failure> {
    let mut lines = Vec::new();
    match read(args) {
        Ok(config) => {
            let keys = directory(&config).and_then(|keys| Ok(keys.load()?));
            lines.extend(keys.err().and_then(|failure: Failure| failure.line()));
        }
        Err(problems) => lines.extend(problems.lines().iter().cloned()),
    }
    output::problems(&lines, args.json)
}

fn note(what: std::fmt::Arguments<'_>) {
    output::note(&format!("ech: {what}"));
}
