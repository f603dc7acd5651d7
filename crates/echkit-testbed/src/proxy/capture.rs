//! What passed a proxy, as its operator can read it.

use std::net::SocketAddr;

use tokio_util::io::InspectReader;

use super::tunnel::Stream;
use crate::captures::{self, CaptureEntry, Captures};

/// What passed over one connection to a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyCapture {
    /// Where the client came from.
    pub client: SocketAddr,
    /// Where the proxy was asked to connect to, as the client wrote it.
    pub asked: Option<String>,
    /// What the client sent, what it told the proxy included.
    pub sent: Vec<u8>,
    /// What the server sent.
    pub received: Vec<u8>,
    /// More was sent or received than was kept.
    pub truncated: bool,
    /// The connection has ended: nothing will be added.
    pub ended: bool,
}

impl ProxyCapture {
    /// Whether `name` can be read in either direction, in any case of letters.
    pub fn contains(&self, name: &str) -> bool {
        captures::shows(&self.sent, name) || captures::shows(&self.received, name)
    }
}

/// The captures of one proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyRecorder(Captures<ProxyCapture>);

impl ProxyRecorder {
    pub(super) fn begin(&self, client: SocketAddr) -> ProxyEntry {
        ProxyEntry(self.0.begin(ProxyCapture {
            client,
            asked: None,
            sent: Vec::new(),
            received: Vec::new(),
            truncated: false,
            ended: false,
        }))
    }

    pub(crate) fn captures(&self) -> Vec<ProxyCapture> {
        self.0.all()
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}

/// The capture of one connection in the making.
#[derive(Clone, Debug)]
pub(super) struct ProxyEntry(CaptureEntry<ProxyCapture>);

impl ProxyEntry {
    pub(super) fn asked(&self, target: &str) {
        self.0.get().asked = Some(target.to_owned());
    }

    pub(super) fn end(&self) {
        self.0.get().ended = true;
    }

    /// Keeps what is read from the client.
    pub(super) fn tap_client<S: Stream>(&self, stream: S) -> impl Stream + use<S> {
        self.tap(stream, |capture| &mut capture.sent)
    }

    /// Keeps what is read from the server.
    pub(super) fn tap_server<S: Stream>(&self, stream: S) -> impl Stream + use<S> {
        self.tap(stream, |capture| &mut capture.received)
    }

    fn tap<S: Stream>(
        &self,
        stream: S,
        side: fn(&mut ProxyCapture) -> &mut Vec<u8>,
    ) -> impl Stream + use<S> {
        let entry = self.clone();
        InspectReader::new(stream, move |bytes: &[u8]| {
            let mut capture = entry.0.get();
            capture.truncated |= captures::keep(side(&mut capture), bytes);
        })
    }
}
