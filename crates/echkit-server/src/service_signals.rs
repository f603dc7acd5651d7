//! What a running service is told by signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks of a running service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceSignal {
    /// SIGHUP: read configuration, certificates and keys again.
    Reload,
    /// SIGUSR1: open log files again, which were moved away.
    ReopenLogs,
    /// SIGTERM or SIGINT: finish what has begun, and end.
    Stop,
}

/// The signals that a service is sent, from the moment when this is made.
///
/// ```no_run
/// use echkit_server::{ServiceSignal, ServiceSignals};
///
/// # async fn example() -> std::io::Result<()> {
/// let mut signals = ServiceSignals::new()?;
/// loop {
///     match signals.next().await {
///         ServiceSignal::Reload => println!("reading the configuration again"),
///         ServiceSignal::ReopenLogs => println!("opening the logs again"),
///         ServiceSignal::Stop => break,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ServiceSignals {
    hangup: Signal,
    user1: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl ServiceSignals {
    /// Receives signals from now on, in place of what they do to a process by default.
    ///
    /// # Errors
    ///
    /// When the system refuses to tell them.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal. May be dropped at any time.
    pub async fn next(&mut self) -> ServiceSignal {
        tokio::select! {
            // An end comes before all else.
            biased;
            _ = self.terminate.recv() => ServiceSignal::Stop,
            _ = self.interrupt.recv() => ServiceSignal::Stop,
            _ = self.hangup.recv() => ServiceSignal::Reload,
            _ = self.user1.recv() => ServiceSignal::ReopenLogs,
        }
    }
}
