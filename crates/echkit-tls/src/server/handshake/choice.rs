//! Handshakes whose configuration is chosen by the hello, as with [`rustls::server::Acceptor`].

use std::sync::Arc;

use echkit_proto::hello::ClientHello;

use super::super::outcome::dns_name;
use super::super::settings::EchServer;
use super::error::HandshakeError;
use super::{Handshake, Step};
use echkit_proto::server::HelloVerdict;

impl Handshake {
    /// The hello that is to be answered: the inner one where an offer was opened, else the one that
    /// came. Only in a handshake of [`EchServer::handshake_with_choice`], until
    /// [`answer`](Self::answer).
    pub fn hello(&self) -> Option<&ClientHello> {
        match &self.state {
            Step::Judged(judged) => Some(match &judged.verdict {
                HelloVerdict::Accepted(opened) => &opened.inner,
                _ => &judged.hello,
            }),
            _ => None,
        }
    }

    /// The name that is asked for by the hello that is to be answered: a DNS name in lower case, as
    /// [`rustls::server::ClientHello::server_name`] gives it. Other names are `None` here, and
    /// refused by rustls afterwards.
    pub fn server_name(&self) -> Option<String> {
        self.hello().and_then(dns_name)
    }

    /// Goes on with the configuration and the padding of `server`, which may be another one than
    /// the handshake began with. The keys and rules stay those that it began with.
    ///
    /// # Errors
    ///
    /// When the handshake fails, as with [`read`](Self::read), and when no hello waits.
    pub fn answer(&mut self, server: &EchServer) -> Result<(), HandshakeError> {
        let judged = match std::mem::replace(&mut self.state, Step::Failed) {
            Step::Judged(judged) => judged,
            other => {
                self.state = other;
                return Err(HandshakeError::Over);
            }
        };
        self.server.config = Arc::clone(&server.config);
        self.server.records = server.records.clone();
        self.server.padding = server.padding;
        let result = self.judged(*judged);
        self.settle(result)
    }
}
