//! Limits of time and number of a client-facing server.

use std::time::Duration;

use echkit_proto::hello::MAX_HELLO;

/// What a client-facing server bounds. The defaults are those of `ech route`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteLimits {
    /// How long the hellos may take: from the first byte that is waited for to the server's answer
    /// and, after a HelloRetryRequest, the second hello. Ten seconds.
    pub hello_timeout: Duration,
    /// How long connecting to one address of a backend may take. Five seconds.
    pub connect_timeout: Duration,
    /// How long a connection may pass no byte. Ten minutes.
    pub idle_timeout: Duration,
    /// The longest ClientHello in bytes. 65,535, which is also the most.
    pub max_hello: usize,
    /// Connections at the same time whose hellos are under way; further clients wait in the queue
    /// of the operating system. 1,024.
    pub hellos: usize,
    /// The same for one client address; more are closed. 64.
    pub hellos_per_address: usize,
    /// Connections at the same time; further clients wait in the queue of the operating system.
    /// 16,384.
    pub connections: usize,
    /// The same for one client address; more are closed. 1,024.
    pub connections_per_address: usize,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(600),
            max_hello: MAX_HELLO,
            hellos: 1_024,
            hellos_per_address: 64,
            connections: 16_384,
            connections_per_address: 1_024,
        }
    }
}
