//! An orderly end: what has begun is finished, within a time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a server, and the word that it ends.
///
/// Tasks that are spawned here are told by [`begun`](Self::begun) that no more work should be
/// taken, and are waited for by [`finish`](Self::finish). Clones belong to the same server.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// use std::time::Duration;
///
/// use echkit_server::Drain;
///
/// let drain = Drain::new();
/// let told = drain.clone();
/// drain.spawn(async move {
///     // … serves until it is told, then finishes what it has begun.
///     told.begun().await;
/// });
/// drain.begin();
/// assert_eq!(drain.finish(Duration::from_secs(10)).await, 0);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    over: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// A server that has no tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task of the server. It is dropped where it is when [`finish`](Self::finish) no longer
    /// waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            // The result is that it ended, whichever came first.
            let _ = over.run_until_cancelled(task).await;
        });
    }

    /// Tells the tasks to come to their end.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether the tasks were told.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until the tasks are told.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// How many tasks run.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Tells the tasks, waits for them at most this long, ends those that are left, and says how
    /// many they were.
    pub async fn finish(&self, limit: Duration) -> usize {
        self.begin();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.over.cancel();
        self.tasks.wait().await;
        left
    }
}
