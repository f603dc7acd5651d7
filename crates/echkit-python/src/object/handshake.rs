//! The handshake: a client's connection is made, or a server's configuration chosen.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustls::Connection;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::stats::{ACCEPT, ACCEPT_GOOD, CONNECT, CONNECT_GOOD, HITS};
use super::waiting::Patience;
use super::{SslObject, lock};
use crate::config::Settings;
use crate::core::{Io, State};
use crate::failure::{Failure, ssl_error};
use crate::session::Store;
use crate::trust::Role;

impl SslObject {
    pub(super) fn shake_hands(
        &self,
        py: Python<'_>,
        patience: Patience,
        name: &'static str,
    ) -> PyResult<()> {
        if lock(&self.core).done {
            return Ok(());
        }
        self.begin(py)?;
        loop {
            match self.run(py, patience, name, |core, io| core.handshake(io)) {
                Ok(true) => break,
                Ok(false) => self.choose(py)?,
                Err(failure) => {
                    self.tell_of_failure(py, &failure)?;
                    return Err(failure.into());
                }
            }
        }
        self.finish();
        Ok(())
    }

    /// Tells the context of a client what became of an offer that did not serve.
    fn tell_of_failure(&self, py: Python<'_>, failure: &Failure) -> PyResult<()> {
        if matches!(failure, Failure::WantRead | Failure::WantWrite) {
            return Ok(());
        }
        let Some(offered) = lock(&self.settings).get().offered(py) else {
            return Ok(());
        };
        let retry_configs = match failure {
            Failure::Rejected(configs) => Some(PyBytes::new(py, configs)),
            _ => None,
        };
        let context = self.first_context.bind(py);
        context.call_method1("_ech_failed", (offered, retry_configs))?;
        Ok(())
    }

    /// Makes a client's connection, at the first call: until then a session can be set.
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        if self.server_side {
            return Ok(());
        }
        let settings = lock(&self.settings).clone_ref(py);
        // The exception is made when the locks are free again.
        match self.connect(settings.get()) {
            Ok(true) => self.stats.get().add(CONNECT),
            Ok(false) => {}
            Err(error) => return Err(Failure::Tls(error).into()),
        }
        Ok(())
    }

    fn connect(&self, settings: &Settings) -> Result<bool, rustls::Error> {
        let mut core = lock(&self.core);
        let (None, Some(name)) = (core.connection(), core.inner_name.clone()) else {
            return Ok(false);
        };
        let mut sessions = lock(&self.sessions);
        // rustls 0.23.46 can show the real ticket of an offer in a second outer hello; where
        // nothing may tie the hidden visit to another one, none is offered.
        if let (Some(wanted), None) = (&sessions.wanted, settings.ech()) {
            sessions.store = Arc::new(Store::resuming(wanted.get().store()));
        }
        let started = settings.client(name, Arc::clone(&sessions.store) as _)?;
        core.guard = Some(started.guard);
        core.state = State::Running(Box::new(Connection::Client(started.connection)));
        Ok(true)
    }

    /// A server has read a hello: asks the callback, and chooses the configuration.
    fn choose(&self, py: Python<'_>) -> PyResult<()> {
        let io = match self.fd(py)? {
            Some(fd) => Io::Socket(fd),
            None => Io::Memory,
        };
        let Some(hello) = lock(&self.core).hello() else {
            return Ok(());
        };
        if !std::mem::replace(&mut lock(&self.core).start_counted, true) {
            self.stats.get().add(ACCEPT);
        }
        let context = self.context(py);
        let context = context.bind(py);
        let mut callback = context.getattr("sni_callback")?;
        if callback.is_none() {
            callback = self.first_context.bind(py).getattr("sni_callback")?;
        }
        if !callback.is_none() {
            let owner = match self.owner(py) {
                Some(owner) => owner.into_bound(py),
                None => py.None().into_bound(py),
            };
            let alert = match callback.call1((owner, hello.name, context)) {
                Ok(answer) if answer.is_none() => None,
                Ok(answer) => Some(answer.extract::<u8>().unwrap_or_else(|error| {
                    error.write_unraisable(py, Some(&callback));
                    80 // internal_error
                })),
                Err(error) => {
                    error.write_unraisable(py, Some(&callback));
                    Some(40) // handshake_failure
                }
            };
            if let Some(alert) = alert {
                lock(&self.core).abort(alert, io);
                self.hand_out(py)?;
                return Err(ssl_error("CALLBACK_FAILED", "callback failed"));
            }
        }
        let settings = lock(&self.settings).clone_ref(py);
        let settings = settings.get();
        let own = &settings.provider.cipher_suites;
        let mut shared = hello.suites;
        shared.retain(|s| own.iter().any(|o| u16::from(o.suite()) == *s));
        *lock(&self.shared_suites) = Some(shared);
        let server = settings.server(hello.alpn.as_deref())?;
        let ragged_eof_is_eof = settings.ragged_eof_is_eof;
        let chosen = py.detach(|| {
            let mut core = lock(&self.core);
            core.ragged_eof_is_eof = ragged_eof_is_eof;
            core.choose(&server, io)
        });
        self.hand_out(py)?;
        Ok(chosen?)
    }

    fn finish(&self) {
        if std::mem::replace(&mut lock(&self.core).end_counted, true) {
            return;
        }
        let stats = self.stats.get();
        stats.add(if self.server_side {
            ACCEPT_GOOD
        } else {
            CONNECT_GOOD
        });
        if self.session_reused() == Some(true) {
            stats.add(HITS);
            lock(&self.sessions).store.note_resumed();
        }
    }

    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
    ) -> Option<Vec<CertificateDer<'static>>> {
        let (end_entity, intermediates) = chain.split_first()?;
        let role = match self.server_side {
            true => Role::Client,
            false => Role::Server,
        };
        let settings = lock(&self.settings);
        let verifier = &settings.get().verifier;
        verifier
            .judge(end_entity, intermediates, None, role, UnixTime::now())
            .ok()
    }
}
