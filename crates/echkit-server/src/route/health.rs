//! Whether the addresses of backends take connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::backend::Backend;
use super::proxy_header::{self, Proxied};

/// What a health check found out about an address of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthChange {
    /// The name of the backend.
    pub backend: String,
    /// `HOST:PORT`.
    pub address: String,
    /// Why it cannot be connected to; `None`: it can, again.
    pub failure: Option<String>,
}

/// Connects to every address of backends from time to time, until it is dropped. Addresses that
/// cannot be connected to are used only where no other one is left.
///
/// A check opens a TCP connection and closes it; a backend that is sent PROXY protocol headers gets
/// one of type LOCAL.
#[derive(Debug)]
pub struct HealthChecks {
    _tasks: JoinSet<()>,
}

impl HealthChecks {
    /// Begins at once, and goes on every `every`; connecting may take `limit`. `changed` is called
    /// when an address goes down or comes back.
    pub fn start(
        backends: Vec<Arc<Backend>>,
        every: Duration,
        limit: Duration,
        changed: impl Fn(HealthChange) + Send + Sync + 'static,
    ) -> Self {
        let changed = Arc::new(changed);
        let mut tasks = JoinSet::new();
        for backend in backends {
            for index in 0..backend.addresses().count() {
                let (backend, changed) = (Arc::clone(&backend), Arc::clone(&changed));
                tasks.spawn(async move {
                    loop {
                        let failure = check(&backend, index, limit).await.err();
                        if backend.note_health(index, failure.is_none()) {
                            changed(HealthChange {
                                backend: backend.name().to_owned(),
                                address: backend
                                    .addresses()
                                    .nth(index)
                                    .unwrap_or_default()
                                    .to_owned(),
                                failure: failure.map(|error| error.to_string()),
                            });
                        }
                        tokio::time::sleep(every).await;
                    }
                });
            }
        }
        Self { _tasks: tasks }
    }
}

async fn check(backend: &Backend, index: usize, limit: Duration) -> std::io::Result<()> {
    let mut stream = backend.probe(index, limit).await?;
    if backend.proxy_header() {
        stream
            .write_all(&proxy_header::write(Proxied::Local))
            .await?;
    }
    Ok(())
}
