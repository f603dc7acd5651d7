//! A connection that is ready for its protocol.

use super::meter::ConnectionMeter;
use super::stream::Stream;
use crate::origin::Origin;
use crate::report::Report;

/// A connection that is ready for its protocol, as [`Connector::connect`] makes it.
///
/// ```no_run
/// # async fn example(connection: echkit::connect::Connection) {
/// // With the name that an eavesdropper could read, if any.
/// println!("{} ({:?})", connection.origin(), connection.report().ech.outer_sni);
/// match connection.alpn() {
///     Some(b"h2") => println!("HTTP/2"),
///     _ => println!("HTTP/1.1"),
/// }
/// # }
/// ```
///
/// [`Connector::connect`]: super::Connector::connect
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: Stream,
    pub(super) origin: Origin,
    /// As it was when the connection was made.
    pub(crate) report: Report,
    pub(crate) meter: ConnectionMeter,
}

impl Connection {
    /// What was offered, shown and got, with the bytes up to now.
    pub fn report(&self) -> Report {
        Report {
            bytes: self.meter.counts.snapshot(),
            ..self.report.clone()
        }
    }

    /// The origin: `https` where an `http` origin was upgraded.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.alpn()
    }

    /// The stream, to be looked at.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The stream, and the report as it stands.
    pub fn into_parts(self) -> (Stream, Report) {
        let report = self.report();
        (self.stream, report)
    }
}
