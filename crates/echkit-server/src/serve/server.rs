//! The HTTPS server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use echkit::rustls::crypto::aws_lc_rs::Ticketer;
use echkit::server::{EchKeyHandle, EchKeys, accept_tcp};
use tokio::net::TcpListener;

use super::config::ServeConfig;
use super::connection::{self, Admitted};
use super::event::ServeEvent;
use super::file_changes::FileChanges;
use super::key_source::{key_directory, uncovered_public_names};
#[cfg(unix)]
use super::live::service_user;
use super::live::{Lasting, Live, LiveHandle};
use super::metrics::Metrics;
use super::metrics_server::MetricsServer;
use super::problem::{ServeProblem, ServeProblemKind, ServeProblems};
use crate::{ConnectionLimits, Drain, KeyDirectoryError, KeyWatch};

/// How often certificates are looked at for changes.
const LOOK: Duration = Duration::from_secs(10);

/// An HTTPS server with ECH in shared mode: sites by the name in the inner hello, each with its
/// certificate and its content; HTTP/1.1 and HTTP/2.
///
/// ```no_run
/// use std::path::Path;
///
/// use echkit_server::serve::{HttpServer, ServeConfig};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ServeConfig::from_file(Path::new("/etc/ech/serve.toml"))?;
/// let server = HttpServer::bind(config, |event| eprintln!("{event}")).await?;
/// let handle = server.handle();
/// tokio::spawn(async move {
///     let _ = tokio::signal::ctrl_c().await;
///     handle.stop();
/// });
/// server.run().await;
/// # Ok(())
/// # }
/// ```
pub struct HttpServer {
    listeners: Vec<TcpListener>,
    metrics: Option<TcpListener>,
    shared: Arc<SharedServer>,
}

/// What the server, its handles and its connections have in common.
struct SharedServer {
    live: LiveHandle,
    lasting: Lasting,
    metrics: Arc<Metrics>,
    drain: Drain,
    events: Events,
    /// One reload at a time; and what is watched for the configuration in use.
    watched: Mutex<Watched>,
}

/// Whom events are told.
type Events = Arc<dyn Fn(ServeEvent) + Send + Sync>;

struct Watched {
    keys: Option<KeyWatch>,
    files: FileChanges,
}

impl HttpServer {
    /// Reads what the configuration names, and listens. `events` is told what happens to the
    /// server as a whole; no event has the name of a site but that of the ECH keys.
    ///
    /// # Errors
    ///
    /// All that is wrong. Nothing listens then.
    pub async fn bind(
        config: ServeConfig,
        events: impl Fn(ServeEvent) + Send + Sync + 'static,
    ) -> Result<Self, ServeProblems> {
        Self::bind_with(config, Vec::new(), events).await
    }

    /// The same, on sockets that were bound before, such as by systemd, in place of those that the
    /// configuration says; none there means none here.
    ///
    /// # Errors
    ///
    /// All that is wrong. Nothing listens then.
    pub async fn bind_with(
        config: ServeConfig,
        passed: Vec<std::net::TcpListener>,
        events: impl Fn(ServeEvent) + Send + Sync + 'static,
    ) -> Result<Self, ServeProblems> {
        let (live, lasting) = read(config).await?;
        let mut listeners = Vec::new();
        if passed.is_empty() {
            for address in &live.config.listen {
                listeners.push(listen(*address).await?);
            }
        }
        for listener in passed {
            let taken = listener.set_nonblocking(true);
            let taken = taken.and_then(|()| TcpListener::from_std(listener));
            listeners.push(taken.map_err(|error| {
                let message = format!("a socket that was passed cannot be used: {error}");
                ServeProblem::new(ServeProblemKind::Address, message)
            })?);
        }
        let metrics = match live.config.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let files = FileChanges::of(&live.config);
        let shared = Arc::new(SharedServer {
            live: LiveHandle::new(live),
            lasting,
            metrics: Arc::new(Metrics::new()),
            drain: Drain::new(),
            events: Arc::new(events),
            watched: Mutex::new(Watched { keys: None, files }),
        });
        shared.watch_keys(&mut shared.watched())?;
        shared.warn();
        Ok(Self {
            listeners,
            metrics,
            shared,
        })
    }

    /// Says all that is wrong with a configuration, without listening.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub async fn check(config: ServeConfig) -> Result<(), ServeProblems> {
        let (live, _) = read(config).await?;
        ServeProblems::none_or(live.warnings, Some(()))
    }

    /// The addresses that clients connect to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.listeners.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// The address of the metrics, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// Becomes the user of the configuration, if it has one, for good and with the whole process:
    /// the ports are bound. Files that this user cannot read again, so that renewed certificates
    /// would not be taken, are told as warnings.
    ///
    /// # Errors
    ///
    /// When the system refuses. End the process then.
    #[cfg(unix)]
    pub fn give_up_root(&self) -> Result<(), ServeProblem> {
        let config = self.shared.live.load().config.clone();
        let wrong = |error: crate::ServiceUserError| {
            ServeProblem::new(ServeProblemKind::System, error.to_string())
        };
        let Some(user) = service_user(&config) else {
            return Ok(());
        };
        let user = user.map_err(wrong)?;
        user.become_it().map_err(wrong)?;
        for path in unreadable(&config) {
            let message = format!(
                "{}: user {} cannot read it again, so changes of it are not taken; let that user read it",
                path.display(),
                user.name()
            );
            let problem = ServeProblem::new(ServeProblemKind::Unreadable, message);
            (self.shared.events)(ServeEvent::Warning(problem));
        }
        Ok(())
    }

    /// Controls the server from elsewhere.
    pub fn handle(&self) -> HttpServerHandle {
        HttpServerHandle(Arc::clone(&self.shared))
    }

    /// Serves until [`HttpServerHandle::stop`], and then until what has begun is finished, or the
    /// time for that has passed.
    pub async fn run(self) {
        let Self {
            listeners,
            metrics,
            shared,
        } = self;
        // It goes on while the server drains: health says so.
        let mut metrics_server = tokio::task::JoinSet::new();
        if let Some(listener) = metrics {
            metrics_server.spawn(shared.metrics_server().run(listener));
        }
        let limits = shared.live.load().config.limits.clone();
        let connections = ConnectionLimits::new(limits.connections, limits.connections_per_address);
        let handshakes = ConnectionLimits::new(limits.handshakes, limits.handshakes_per_address);
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| accept(listener, connections.clone(), handshakes.clone(), &shared))
            .collect();
        let accepting = futures_util::future::join_all(accepting);
        tokio::select! {
            // Each ends when the server drains, and closes its listener.
            _ = accepting => {}
            () = shared.reread_changed_files() => {}
        }
        (shared.events)(ServeEvent::Draining {
            connections: shared.drain.tasks(),
        });
        let limit = shared.live.load().config.limits.drain_time;
        let cut = shared.drain.finish(limit).await;
        let log = shared.live.load().log.clone();
        // The last lines are on disk before the process ends.
        let _ = tokio::task::spawn_blocking(move || log.map(|log| log.flush())).await;
        (shared.events)(ServeEvent::Stopped { cut });
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// Controls an [`HttpServer`]. Cheap to clone.
#[derive(Clone)]
pub struct HttpServerHandle(Arc<SharedServer>);

impl HttpServerHandle {
    /// Serves by `config` from now on: its sites, certificates, keys and limits of requests.
    /// Connections that are there stay, and their next requests are answered by it. Where it
    /// listens, and how many connections it takes, stays until a restart.
    ///
    /// When something is wrong everything stays as it was, and the events say so.
    pub async fn reload(&self, config: Result<ServeConfig, ServeProblems>) {
        let shared = Arc::clone(&self.0);
        // It reads files.
        let reload = tokio::task::spawn_blocking(move || {
            shared.reload_and_tell(config);
        });
        // Should it panic, everything stays as it was.
        let _ = reload.await;
    }

    /// The configuration in use.
    pub fn config(&self) -> ServeConfig {
        self.0.live.load().config.clone()
    }

    /// Opens the access log again, which was moved away.
    pub async fn reopen_logs(&self) {
        let shared = Arc::clone(&self.0);
        let reopen = tokio::task::spawn_blocking(move || {
            let Some(log) = shared.live.load().log.clone() else {
                return;
            };
            if let Err(error) = log.reopen() {
                let message = format!(
                    "{}: the access log cannot be opened again: {error}; lines go to the file that was open",
                    log.config.file.display()
                );
                let problem = ServeProblem::new(ServeProblemKind::Unreadable, message);
                (shared.events)(ServeEvent::Warning(problem));
            }
        });
        let _ = reopen.await;
    }

    /// Takes no more connections, and has [`HttpServer::run`] come to its end.
    pub fn stop(&self) {
        self.0.drain.begin();
    }
}

impl fmt::Debug for HttpServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpServerHandle").finish()
    }
}

impl SharedServer {
    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metrics_server(&self) -> MetricsServer {
        MetricsServer {
            metrics: Arc::clone(&self.metrics),
            live: self.live.clone(),
            keys: self.lasting.keys.clone(),
            drain: self.drain.clone(),
        }
    }

    /// Tells what should be mended.
    fn warn(&self) {
        for problem in &self.live.load().warnings {
            (self.events)(ServeEvent::Warning(problem.clone()));
        }
    }

    fn reload_and_tell(self: &Arc<Self>, config: Result<ServeConfig, ServeProblems>) {
        let done = config.and_then(|config| self.reload(config));
        self.metrics.reloaded(done.is_ok());
        (self.events)(match done {
            Ok(()) => ServeEvent::Reloaded,
            Err(problems) => ServeEvent::ReloadFailed(problems),
        });
    }

    fn reload(self: &Arc<Self>, config: ServeConfig) -> Result<(), ServeProblems> {
        let mut watched = self.watched();
        let before = self.live.load();
        for (key, same) in [
            ("listen", config.listen == before.config.listen),
            ("metrics", config.metrics == before.config.metrics),
            (
                "user",
                config.user == before.config.user && config.group == before.config.group,
            ),
        ] {
            if !same {
                let message =
                    format!("{key}: changes with a restart alone; undo the change, or restart");
                return Err(ServeProblem::new(ServeProblemKind::Config, message).into());
            }
        }
        // Taken before the files are read: a change after it is seen next time.
        let files = FileChanges::of(&config);
        let live = Live::read(config, &self.lasting, Some(&before))?;
        self.live.store(live);
        self.warn();
        watched.files = files;
        if self.live.load().config.keys != before.config.keys {
            self.watch_keys(&mut watched)?;
        }
        Ok(())
    }

    /// Follows the key directory of the configuration in use.
    fn watch_keys(self: &Arc<Self>, watched: &mut Watched) -> Result<(), ServeProblem> {
        let config = self.live.load().config.clone();
        let wrong = |error: String| ServeProblem::new(ServeProblemKind::Unreadable, error);
        let directory = key_directory(&config).map_err(|error| wrong(error.to_string()))?;
        let path = directory.path().to_owned();
        let (events, live) = (Arc::clone(&self.events), self.live.clone());
        let metrics = Arc::clone(&self.metrics);
        let told = move |loaded: Result<&EchKeys, &KeyDirectoryError>| {
            metrics.reloaded(loaded.is_ok());
            match loaded {
                Ok(keys) => {
                    let count = keys.keys().len();
                    events(ServeEvent::KeysLoaded { keys: count });
                    for problem in uncovered_public_names(&path, keys, &live.load().names) {
                        events(ServeEvent::Warning(problem));
                    }
                }
                Err(error) => events(ServeEvent::KeysUnchanged(error.to_string())),
            }
        };
        let watch = KeyWatch::start(directory, self.lasting.keys.clone(), told)
            .map_err(|error| wrong(error.to_string()))?;
        watched.keys = Some(watch);
        Ok(())
    }

    /// Reads certificates again when their files change, until the server drains.
    async fn reread_changed_files(self: &Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.drain.begun() => std::future::pending().await,
            }
            let shared = Arc::clone(self);
            let look = tokio::task::spawn_blocking(move || {
                let changed = shared.watched().files.changed();
                if changed {
                    let config = shared.live.load().config.clone();
                    shared.reload_and_tell(Ok(config));
                }
            });
            let _ = look.await;
        }
    }
}

async fn read(config: ServeConfig) -> Result<(Live, Lasting), ServeProblems> {
    let system = |error: String| ServeProblem::new(ServeProblemKind::System, error);
    let ticketer = Ticketer::new().map_err(|error| system(error.to_string()))?;
    let lasting = Lasting {
        ticketer,
        keys: EchKeyHandle::default(),
    };
    let read = tokio::task::spawn_blocking(move || {
        Live::read(config, &lasting, None).map(|live| (live, lasting))
    });
    read.await
        .map_err(|error| ServeProblems::from(system(error.to_string())))?
}

/// What cannot be opened of the files that are read again when they change.
#[cfg(unix)]
fn unreadable(config: &ServeConfig) -> Vec<std::path::PathBuf> {
    let files = config.sites.iter();
    let files = files.flat_map(|site| [site.certificate.clone(), site.key.clone()]);
    let mut files: Vec<_> = files
        .filter(|path| std::fs::File::open(path).is_err())
        .collect();
    if key_directory(config).and_then(|keys| keys.load()).is_err() {
        files.push(config.keys.clone());
    }
    files
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeProblem> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "the port is in use; stop the program that has it, or listen elsewhere".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not listen there; start as root with a user to become, have systemd \
                 pass the socket, or choose a port from 1024 on"
                    .to_owned()
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have the address; listen on one that it has".to_owned()
            }
            _ => format!("cannot listen: {error}"),
        };
        ServeProblem::new(ServeProblemKind::Address, format!("{address}: {what}"))
    })
}

/// Takes connections until the server drains.
async fn accept(
    listener: TcpListener,
    connections: ConnectionLimits,
    handshakes: ConnectionLimits,
    shared: &Arc<SharedServer>,
) {
    let take = async {
        loop {
            let room = connections.slot().await;
            let handshake_room = handshakes.slot().await;
            let (tcp, address) = accept_tcp(&listener).await;
            // Beyond a limit it is closed.
            let Some(connection) = connections.admit(room, address.ip()) else {
                shared.metrics.refused("connections_per_address");
                continue;
            };
            let Some(handshake) = handshakes.admit(handshake_room, address.ip()) else {
                shared.metrics.refused("handshakes_per_address");
                continue;
            };
            let admitted = Admitted {
                tcp,
                address,
                connection,
                handshake,
            };
            let (live, drain) = (shared.live.clone(), shared.drain.clone());
            let metrics = Arc::clone(&shared.metrics);
            let serve = connection::serve(admitted, live, metrics, drain);
            shared.drain.spawn(serve);
        }
    };
    tokio::select! {
        () = shared.drain.begun() => {}
        () = take => {}
    }
}
