//! The HTTPS server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use echkit::rustls::crypto::aws_lc_rs::Ticketer;
use echkit::server::{EchKeyHandle, EchKeys};
use tokio::net::TcpListener;

use super::config::ServeConfig;
use super::connection::{self, Admitted};
use super::event::ServeEvent;
use super::file_changes::FileChanges;
use super::live::{Lasting, Live, LiveHandle, key_directory, uncovered_public_names};
use super::problem::{ServeProblem, ServeProblemKind, ServeProblems};
use crate::{ConnectionLimits, Drain, KeyDirectoryError, KeyWatch};

/// How often certificates are looked at for changes.
const LOOK: Duration = Duration::from_secs(10);

/// How long to wait where the system has no room for another connection, such as no file
/// descriptor.
const PAUSE: Duration = Duration::from_secs(1);

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
    shared: Arc<SharedServer>,
}

/// What the server, its handles and its connections have in common.
struct SharedServer {
    live: LiveHandle,
    lasting: Lasting,
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
        let (live, lasting) = read(config).await?;
        let mut listeners = Vec::new();
        for address in &live.config.listen {
            listeners.push(listen(*address).await?);
        }
        let files = FileChanges::of(&live.config);
        let shared = Arc::new(SharedServer {
            live: LiveHandle::new(live),
            lasting,
            drain: Drain::new(),
            events: Arc::new(events),
            watched: Mutex::new(Watched { keys: None, files }),
        });
        shared.watch_keys(&mut shared.watched())?;
        Ok(Self { listeners, shared })
    }

    /// Says all that is wrong with a configuration, without listening.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub async fn check(config: ServeConfig) -> Result<(), ServeProblems> {
        read(config).await.map(|_| ())
    }

    /// The addresses that clients connect to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.listeners.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// Controls the server from elsewhere.
    pub fn handle(&self) -> HttpServerHandle {
        HttpServerHandle(Arc::clone(&self.shared))
    }

    /// Serves until [`HttpServerHandle::stop`], and then until what has begun is finished, or the
    /// time for that has passed.
    pub async fn run(self) {
        let Self { listeners, shared } = self;
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
            let done = config.and_then(|config| shared.reload(config));
            (shared.events)(match done {
                Ok(()) => ServeEvent::Reloaded,
                Err(problems) => ServeEvent::ReloadFailed(problems),
            });
        });
        // Should it panic, everything stays as it was.
        let _ = reload.await;
    }

    /// The configuration in use.
    pub fn config(&self) -> ServeConfig {
        self.0.live.load().config.clone()
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

    fn reload(self: &Arc<Self>, config: ServeConfig) -> Result<(), ServeProblems> {
        let mut watched = self.watched();
        let before = self.live.load();
        if config.listen != before.config.listen {
            let message = "listen: where the server listens changes with a restart alone; undo the \
                           change, or restart";
            return Err(ServeProblem::new(ServeProblemKind::Config, message).into());
        }
        // Taken before the files are read: a change after it is seen next time.
        let files = FileChanges::of(&config);
        let live = Live::read(config, &self.lasting)?;
        self.live.store(live);
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
        let told = move |loaded: Result<&EchKeys, &KeyDirectoryError>| match loaded {
            Ok(keys) => {
                let count = keys.keys().len();
                events(ServeEvent::KeysLoaded { keys: count });
                for problem in uncovered_public_names(&path, keys, &live.load().names) {
                    events(ServeEvent::Warning(problem));
                }
            }
            Err(error) => events(ServeEvent::KeysUnchanged(error.to_string())),
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
                    let done = shared.reload(config);
                    (shared.events)(match done {
                        Ok(()) => ServeEvent::Reloaded,
                        Err(problems) => ServeEvent::ReloadFailed(problems),
                    });
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
        Live::read(config, &lasting).map(|live| (live, lasting))
    });
    read.await
        .map_err(|error| ServeProblems::from(system(error.to_string())))?
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
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                // This one is gone; the next may be there.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    continue;
                }
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let connection = connections.admit(room, address.ip());
            let handshake = handshakes.admit(handshake_room, address.ip());
            let (Some(connection), Some(handshake)) = (connection, handshake) else {
                // Closed: it has as many as it may.
                continue;
            };
            let admitted = Admitted {
                tcp,
                address,
                connection,
                handshake,
            };
            let (live, drain) = (shared.live.clone(), shared.drain.clone());
            let serve = connection::serve(admitted, live, drain);
            shared.drain.spawn(serve);
        }
    };
    tokio::select! {
        () = shared.drain.begun() => {}
        () = take => {}
    }
}
