//! The `_sslobj` behind Python's `SSLSocket` and `SSLObject`: I/O and waiting around [`Core`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyWeakrefMethods, PyWeakrefReference};
use rustls::{Connection, HandshakeKind, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime};

use crate::certificate::{Certificate, describe};
use crate::config::Settings;
use crate::core::{CHUNK, Core, Io, State};
use crate::failure::{Failure, ssl_error};
use crate::session::{SSLSession, Store};
use crate::socket::{Direction, Fd};
use crate::suites;
use crate::trust::Role;

// `SSL_ECH_STATUS_*`.
const ECH_GREASE: i32 = 2;
const ECH_SUCCESS: i32 = 1;
const ECH_FAILED: i32 = 0;
const ECH_NOT_TRIED: i32 = -101;
const ECH_NOT_CONFIGURED: i32 = -103;
const ECH_FAILED_ECH: i32 = -105;
const ECH_FAILED_ECH_BAD_NAME: i32 = -106;

/// Counts of a context, as `session_stats()` shows them.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug, Default)]
pub(crate) struct Stats {
    counts: [AtomicU64; 5],
}

const CONNECT: usize = 0;
const CONNECT_GOOD: usize = 1;
const ACCEPT: usize = 2;
const ACCEPT_GOOD: usize = 3;
const HITS: usize = 4;

#[pymethods]
impl Stats {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The counts by their names.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let names = ["connect", "connect_good", "accept", "accept_good", "hits"];
        let counts = PyDict::new(py);
        for (name, count) in names.iter().zip(&self.counts) {
            counts.set_item(name, count.load(Ordering::Relaxed))?;
        }
        Ok(counts)
    }
}

impl Stats {
    fn add(&self, which: usize) {
        self.counts[which].fetch_add(1, Ordering::Relaxed);
    }
}

enum Transport {
    Socket(Py<PyWeakrefReference>),
    Memory {
        incoming: Py<PyAny>,
        outgoing: Py<PyAny>,
    },
}

struct Sessions {
    wanted: Option<Py<SSLSession>>,
    store: Arc<Store>,
}

/// A TLS connection as `ssl.SSLSocket` and `ssl.SSLObject` drive it.
#[pyclass(frozen, module = "echkit._echkit", weakref)]
pub(crate) struct SslObject {
    core: Mutex<Core>,
    transport: Transport,
    settings: Mutex<Py<Settings>>,
    context: Mutex<Py<PyAny>>,
    owner: Mutex<Option<Py<PyWeakrefReference>>>,
    sessions: Mutex<Sessions>,
    stats: Py<Stats>,
    shared_suites: Mutex<Option<Vec<u16>>>,
    /// Whether it is a server's side.
    #[pyo3(get)]
    server_side: bool,
    /// The name that was asked for.
    #[pyo3(get)]
    server_hostname: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a call may wait.
#[derive(Clone, Copy)]
enum Patience {
    NonBlocking,
    Until(Option<Instant>),
}

#[pymethods]
impl SslObject {
    #[new]
    #[pyo3(signature = (settings, context, stats, *, server_side, server_hostname, sock=None,
                        incoming=None, outgoing=None, owner=None, session=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        settings: Py<Settings>,
        context: Py<PyAny>,
        stats: Py<Stats>,
        server_side: bool,
        server_hostname: Option<String>,
        sock: Option<Bound<'_, PyAny>>,
        incoming: Option<Py<PyAny>>,
        outgoing: Option<Py<PyAny>>,
        owner: Option<Bound<'_, PyAny>>,
        session: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let transport = match (sock, incoming, outgoing) {
            (Some(sock), ..) => Transport::Socket(PyWeakrefReference::new(&sock)?.unbind()),
            (None, Some(incoming), Some(outgoing)) => Transport::Memory { incoming, outgoing },
            _ => {
                return Err(PyTypeError::new_err(
                    "a socket or two MemoryBIOs are needed",
                ));
            }
        };
        let mut core = Core::new(match server_side {
            true => State::Accepting(Box::default()),
            false => State::Dead,
        });
        core.ragged_eof_is_eof = settings.get().ragged_eof_is_eof;
        if !server_side {
            core.inner_name = Some(host(server_hostname.as_deref())?);
            core.unverified = settings.get().verifier.anyone;
        }
        let object = Self {
            core: Mutex::new(core),
            transport,
            settings: Mutex::new(settings),
            context: Mutex::new(context),
            owner: Mutex::new(match owner {
                Some(owner) => Some(PyWeakrefReference::new(&owner)?.unbind()),
                None => None,
            }),
            sessions: Mutex::new(Sessions {
                wanted: None,
                store: Arc::default(),
            }),
            stats,
            shared_suites: Mutex::new(None),
            server_side,
            server_hostname,
        };
        if let Some(session) = session {
            object.set_session(&session)?;
        }
        Ok(object)
    }

    /// Shakes hands, or goes on with it.
    fn do_handshake(&self, py: Python<'_>) -> PyResult<()> {
        let (_, patience) = self.patience(py)?;
        self.shake_hands(py, patience, "handshake")
    }

    /// Reads up to `len` bytes, into `buffer` where it is given.
    #[pyo3(signature = (len=1024, buffer=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        len: isize,
        buffer: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let buffer = buffer.map(|b| bytes_of(&b)).transpose()?;
        let len = match (&buffer, usize::try_from(len)) {
            (None, Ok(len)) => len,
            (None, Err(_)) => return Err(PyValueError::new_err("size should not be negative")),
            (Some(buffer), Ok(len)) if len > 0 => len.min(buffer.item_count()),
            (Some(buffer), _) => buffer.item_count(),
        };
        if buffer.as_ref().is_some_and(|b| b.readonly()) {
            return Err(PyTypeError::new_err("a writable buffer is needed"));
        }
        let mut chunk = Vec::new();
        if len > 0 {
            let (_, patience) = self.patience(py)?;
            self.shake_hands(py, patience, "read")?;
            chunk = match self.run(py, patience, "read", |core, io| {
                core.fill(io)?;
                let mut chunk = vec![0; len.min(core.plaintext)];
                let taken = core.take(&mut chunk);
                chunk.truncate(taken);
                Ok(chunk)
            }) {
                Ok(chunk) => chunk,
                Err(Failure::Closed) => Vec::new(),
                Err(failure) => return Err(failure.into()),
            };
        }
        match buffer {
            None => Ok(PyBytes::new(py, &chunk).into_any()),
            Some(buffer) => {
                copy_out(py, &buffer, &chunk)?;
                Ok(chunk.len().into_pyobject(py)?.into_any())
            }
        }
    }

    /// Writes `data`, and says how much of it was written.
    fn write(&self, py: Python<'_>, data: Bound<'_, PyAny>) -> PyResult<usize> {
        let data = bytes_of(&data)?;
        let (_, patience) = self.patience(py)?;
        self.shake_hands(py, patience, "write")?;
        let data = data.to_vec(py)?;
        if matches!(patience, Patience::NonBlocking) && !self.in_memory() {
            return self.write_chunk(py, patience, &data[..data.len().min(CHUNK)]);
        }
        for chunk in data.chunks(CHUNK) {
            self.write_chunk(py, patience, chunk)?;
        }
        Ok(data.len())
    }

    /// How much can be read without waiting.
    fn pending(&self) -> usize {
        lock(&self.core).plaintext
    }

    /// Says goodbye; returns the socket.
    fn shutdown(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let (socket, patience) = self.patience(py)?;
        match self.run(py, patience, "read", |core, io| core.shutdown(io)) {
            Ok(()) => Ok(socket.map(Bound::unbind)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// What the standard module's `getpeercert()` returns.
    #[pyo3(signature = (binary_form=false))]
    fn getpeercert<'py>(
        &self,
        py: Python<'py>,
        binary_form: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let core = lock(&self.core);
        if !core.done {
            return Err(PyValueError::new_err("handshake not done yet"));
        }
        let Some(cert) = core
            .connection()
            .and_then(|c| c.peer_certificates())
            .and_then(|chain| chain.first())
        else {
            return Ok(None);
        };
        if binary_form {
            return Ok(Some(PyBytes::new(py, cert).into_any()));
        }
        match lock(&self.settings).get().verifier.anyone {
            true => Ok(Some(PyDict::new(py).into_any())),
            false => Ok(Some(describe(py, cert)?.into_any())),
        }
    }

    /// The chain as the peer sent it.
    fn get_unverified_chain(&self) -> Option<Vec<Certificate>> {
        let core = lock(&self.core);
        let chain = core.connection()?.peer_certificates()?;
        Some(chain.iter().map(certificate).collect())
    }

    /// The chain from the peer's certificate to the anchor that vouches for it.
    fn get_verified_chain(&self) -> Option<Vec<Certificate>> {
        let chain = lock(&self.core).connection()?.peer_certificates()?.to_vec();
        let verified = self.verify(&chain);
        Some(
            verified
                .as_deref()
                .unwrap_or(&chain)
                .iter()
                .map(certificate)
                .collect(),
        )
    }

    /// The application protocol that was agreed on.
    fn selected_alpn_protocol(&self) -> Option<String> {
        let core = lock(&self.core);
        let protocol = core.connection()?.alpn_protocol()?;
        Some(String::from_utf8_lossy(protocol).into_owned())
    }

    /// (name, version, secret bits) of the cipher suite.
    fn cipher(&self) -> Option<(&'static str, &'static str, i32)> {
        let core = lock(&self.core);
        let suite: SupportedCipherSuite = core.connection()?.negotiated_cipher_suite()?;
        core.done.then(|| suites::describe(suite.suite()))
    }

    /// The cipher suites that both sides have, at a server.
    fn shared_ciphers(&self) -> Option<Vec<(&'static str, &'static str, i32)>> {
        let shared = lock(&self.shared_suites);
        let shared = shared.as_ref()?;
        Some(
            shared
                .iter()
                .map(|s| suites::describe((*s).into()))
                .collect(),
        )
    }

    /// Never any compression.
    fn compression(&self) -> Option<String> {
        None
    }

    /// The protocol's version.
    fn version(&self) -> Option<&'static str> {
        let core = lock(&self.core);
        if !core.done {
            return None;
        }
        match core.connection()?.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => Some("TLSv1.2"),
        }
    }

    /// rustls does not show what tls-unique is made of.
    #[pyo3(signature = (cb_type="tls-unique"))]
    fn get_channel_binding(&self, cb_type: &str) -> PyResult<()> {
        Err(PyValueError::new_err(format!(
            "{cb_type} channel binding type not implemented"
        )))
    }

    /// rustls has no authentication after the handshake.
    fn verify_client_post_handshake(&self) -> PyResult<()> {
        if !self.server_side {
            return Err(ssl_error("NOT_SERVER", "not server"));
        }
        if self.version() == Some("TLSv1.2") {
            return Err(ssl_error("WRONG_SSL_VERSION", "wrong ssl version"));
        }
        Err(ssl_error(
            "EXTENSION_NOT_RECEIVED",
            "extension not received: rustls has no authentication after the handshake",
        ))
    }

    /// The context.
    #[getter]
    fn context(&self, py: Python<'_>) -> Py<PyAny> {
        lock(&self.context).clone_ref(py)
    }

    #[setter]
    fn set_context(&self, py: Python<'_>, context: Bound<'_, PyAny>) -> PyResult<()> {
        if !context.hasattr("_connection_settings")? {
            return Err(PyTypeError::new_err("The value must be a SSLContext"));
        }
        if self.server_side {
            let settings = context.call_method1("_connection_settings", (true,))?;
            let settings = settings.cast::<Settings>()?.clone().unbind();
            *lock(&self.settings) = settings;
        }
        let old = std::mem::replace(&mut *lock(&self.context), context.unbind());
        old.drop_ref(py);
        Ok(())
    }

    /// The socket or object that this one belongs to.
    #[getter]
    fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let owner = lock(&self.owner).as_ref().map(|o| o.clone_ref(py))?;
        owner.bind(py).upgrade().map(Bound::unbind)
    }

    #[setter]
    fn set_owner(&self, owner: Bound<'_, PyAny>) -> PyResult<()> {
        *lock(&self.owner) = Some(PyWeakrefReference::new(&owner)?.unbind());
        Ok(())
    }

    /// The session, to resume it with another connection.
    #[getter]
    fn session(&self) -> Option<SSLSession> {
        if self.server_side || !lock(&self.core).done {
            return None;
        }
        let reused = self.session_reused() == Some(true);
        let context = lock(&self.context).as_ptr() as usize;
        let sessions = lock(&self.sessions);
        let resumed = sessions.wanted.as_ref().filter(|_| reused);
        SSLSession::of(&sessions.store, resumed.map(|s| s.get()), context)
    }

    #[setter]
    fn set_session(&self, session: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(session) = session.cast::<SSLSession>() else {
            return Err(PyTypeError::new_err("Value is not a SSLSession."));
        };
        if session.get().context != lock(&self.context).as_ptr() as usize {
            return Err(PyValueError::new_err(
                "Session refers to a different SSLContext.",
            ));
        }
        if self.server_side {
            return Err(PyValueError::new_err(
                "Cannot set session for server-side SSLSocket.",
            ));
        }
        if lock(&self.core).connection().is_some() {
            return Err(PyValueError::new_err("Cannot set session after handshake."));
        }
        lock(&self.sessions).wanted = Some(session.clone().unbind());
        Ok(())
    }

    /// Whether a session was resumed; `None` before the handshake.
    #[getter]
    fn session_reused(&self) -> Option<bool> {
        let core = lock(&self.core);
        if !core.done {
            return None;
        }
        Some(core.connection()?.handshake_kind()? == HandshakeKind::Resumed)
    }

    /// (code, inner name, outer name) of Encrypted Client Hello.
    fn get_ech_status(&self) -> (i32, Option<String>, Option<String>) {
        let settings = lock(&self.settings);
        let settings = settings.get();
        let core = lock(&self.core);
        let code = if self.server_side || (settings.ech().is_none() && !settings.greases()) {
            ECH_NOT_CONFIGURED
        } else if core.ech.rejected {
            match (&core.ech.authenticated, &core.ech.retry_configs) {
                (false, _) => ECH_FAILED_ECH_BAD_NAME,
                (true, Some(_)) => ECH_FAILED_ECH,
                (true, None) => ECH_FAILED,
            }
        } else {
            match core.connection() {
                Some(Connection::Client(client)) => match client.ech_status() {
                    rustls::client::EchStatus::Accepted if core.done => ECH_SUCCESS,
                    rustls::client::EchStatus::Grease => ECH_GREASE,
                    _ => ECH_NOT_TRIED,
                },
                _ => ECH_NOT_TRIED,
            }
        };
        (code, self.server_hostname.clone(), core.outer_name())
    }

    /// The configs of an authenticated rejection, as an ECHConfigList.
    fn get_ech_retry_config<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let core = lock(&self.core);
        Some(PyBytes::new(py, core.ech.retry_configs.as_deref()?))
    }
}

impl SslObject {
    /// The socket, and how long a call may wait: asked anew for each call.
    fn patience<'py>(&self, py: Python<'py>) -> PyResult<(Option<Bound<'py, PyAny>>, Patience)> {
        let Transport::Socket(weak) = &self.transport else {
            return Ok((None, Patience::NonBlocking));
        };
        let socket = weak.bind(py).upgrade().ok_or_else(gone)?;
        let timeout: Option<f64> = socket.call_method0("gettimeout")?.extract()?;
        let patience = match timeout {
            None => Patience::Until(None),
            Some(0.0) => Patience::NonBlocking,
            Some(seconds) => Patience::Until(
                Duration::try_from_secs_f64(seconds)
                    .ok()
                    .and_then(|d| Instant::now().checked_add(d)),
            ),
        };
        Ok((Some(socket), patience))
    }

    fn in_memory(&self) -> bool {
        matches!(self.transport, Transport::Memory { .. })
    }

    fn fd(&self, py: Python<'_>) -> PyResult<Option<Fd>> {
        let Transport::Socket(weak) = &self.transport else {
            return Ok(None);
        };
        let socket = weak.bind(py).upgrade().ok_or_else(gone)?;
        match socket.call_method0("fileno")?.extract::<i32>()? {
            -1 => Err(gone()),
            fd => Ok(Some(Fd(fd))),
        }
    }

    /// Runs `operation` until it no longer asks to wait. No lock is held while waiting, so that a
    /// blocked reader never stops a writer.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        patience: Patience,
        name: &'static str,
        operation: impl Fn(&mut Core, Io) -> Result<T, Failure> + Send + Sync,
    ) -> Result<T, Failure> {
        loop {
            let Some(fd) = self.fd(py)? else {
                return self.run_in_memory(py, &operation);
            };
            let outcome = py.detach(|| operation(&mut lock(&self.core), Io::Socket(fd)));
            let direction = match &outcome {
                Err(Failure::WantRead) => Direction::Read,
                Err(Failure::WantWrite) => Direction::Write,
                _ => return outcome,
            };
            let Patience::Until(deadline) = patience else {
                return outcome;
            };
            loop {
                match py.detach(|| fd.wait(direction, deadline)) {
                    Ok(true) => break,
                    Ok(false) => return Err(Failure::TimedOut(name)),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                        py.check_signals()?;
                    }
                    Err(error) => return Err(Failure::Io(error)),
                }
            }
        }
    }

    fn run_in_memory<T: Send>(
        &self,
        py: Python<'_>,
        operation: &(impl Fn(&mut Core, Io) -> Result<T, Failure> + Send + Sync),
    ) -> Result<T, Failure> {
        let Transport::Memory { incoming, outgoing } = &self.transport else {
            return Err(Failure::WantRead);
        };
        let incoming = incoming.bind(py);
        let data = incoming.call_method0("read")?;
        let data = data.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes();
        let eof: bool = incoming.getattr("eof")?.extract()?;
        let (outcome, output) = py.detach(|| {
            let mut core = lock(&self.core);
            core.input.extend_from_slice(data);
            core.input_eof = eof;
            let outcome = operation(&mut core, Io::Memory);
            (outcome, std::mem::take(&mut core.output))
        });
        if !output.is_empty() {
            outgoing
                .bind(py)
                .call_method1("write", (PyBytes::new(py, &output),))?;
        }
        outcome
    }

    fn shake_hands(&self, py: Python<'_>, patience: Patience, name: &'static str) -> PyResult<()> {
        if lock(&self.core).done {
            return Ok(());
        }
        self.begin(py)?;
        while !self.run(py, patience, name, |core, io| core.handshake(io))? {
            self.choose(py)?;
        }
        self.finish();
        Ok(())
    }

    /// Makes a client's connection, at the first call: until then a session can be set.
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        let mut core = lock(&self.core);
        if self.server_side || core.connection().is_some() {
            return Ok(());
        }
        let Some(name) = core.inner_name.clone() else {
            return Ok(());
        };
        let settings = lock(&self.settings).clone_ref(py);
        let settings = settings.get();
        let mut sessions = lock(&self.sessions);
        // rustls 0.23.46 can show the real ticket of an offer in a second outer hello; where
        // nothing may tie the hidden visit to another one, none is offered.
        if let (Some(wanted), None) = (&sessions.wanted, settings.ech()) {
            sessions.store = wanted.get().store();
        }
        let connection = settings
            .client(name.clone(), Arc::clone(&sessions.store) as _)
            .map_err(Failure::Tls)?;
        core.guard = Some(settings.guard(&name));
        core.state = State::Running(Box::new(Connection::Client(connection)));
        self.stats.get().add(CONNECT);
        Ok(())
    }

    /// A server has read a hello: asks the callback, and chooses the configuration.
    fn choose(&self, py: Python<'_>) -> PyResult<()> {
        let io = match self.fd(py)? {
            Some(fd) => Io::Socket(fd),
            None => Io::Memory,
        };
        self.stats.get().add(ACCEPT);
        let name = match &lock(&self.core).state {
            State::Hello(accepted) => accepted.client_hello().server_name().map(str::to_owned),
            _ => return Ok(()),
        };
        let context = self.context(py);
        let context = context.bind(py);
        let callback = context.getattr("sni_callback")?;
        if !callback.is_none() {
            let owner = match self.owner(py) {
                Some(owner) => owner.into_bound(py),
                None => py.None().into_bound(py),
            };
            let alert = match callback.call1((owner, name, context)) {
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
        let mut core = lock(&self.core);
        core.ragged_eof_is_eof = settings.ragged_eof_is_eof;
        let State::Hello(accepted) = &core.state else {
            return Ok(());
        };
        let hello = accepted.client_hello();
        let own = &settings.provider.cipher_suites;
        *lock(&self.shared_suites) = Some(
            hello
                .cipher_suites()
                .iter()
                .filter(|s| own.iter().any(|o| o.suite() == **s))
                .map(|s| u16::from(*s))
                .collect(),
        );
        let Some(config) = settings.server(&hello) else {
            return Err(ssl_error("NO_CONTEXT", "not a server's settings"));
        };
        drop(core);
        let chosen = py.detach(|| lock(&self.core).choose(config, io));
        self.hand_out(py)?;
        Ok(chosen?)
    }

    /// Hands records out that were made outside of [`Self::run`].
    fn hand_out(&self, py: Python<'_>) -> PyResult<()> {
        if let Transport::Memory { outgoing, .. } = &self.transport {
            let output = std::mem::take(&mut lock(&self.core).output);
            outgoing
                .bind(py)
                .call_method1("write", (PyBytes::new(py, &output),))?;
        }
        Ok(())
    }

    fn finish(&self) {
        let stats = self.stats.get();
        stats.add(if self.server_side {
            ACCEPT_GOOD
        } else {
            CONNECT_GOOD
        });
        if self.session_reused() == Some(true) {
            stats.add(HITS);
        }
    }

    fn verify(&self, chain: &[CertificateDer<'_>]) -> Option<Vec<CertificateDer<'static>>> {
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

    fn write_chunk(&self, py: Python<'_>, patience: Patience, chunk: &[u8]) -> PyResult<usize> {
        if matches!(patience, Patience::NonBlocking) && !self.in_memory() {
            return Ok(self.run(py, patience, "write", |core, io| {
                if core.unflushed == 0 {
                    core.flush(io)?;
                    core.scratch.clear();
                    core.scratch.extend_from_slice(chunk);
                    core.unflushed = core.encrypt(0)?;
                }
                core.flush(io)?;
                Ok(std::mem::take(&mut core.unflushed))
            })?);
        }
        let mut written = 0;
        loop {
            // Only what this call encrypted counts for it: another thread may be writing too.
            written += self.run(py, patience, "write", |core, io| {
                core.flush(io)?;
                core.scratch.clear();
                core.scratch.extend_from_slice(&chunk[written..]);
                core.encrypt(0)
            })?;
            self.run(py, patience, "write", |core, io| core.flush(io))?;
            if written >= chunk.len() {
                return Ok(written);
            }
        }
    }
}

/// A buffer as bytes, whatever its items are.
fn bytes_of(object: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    PyBuffer::get(object).or_else(|_| {
        let bytes = PyMemoryView::from(object)?.call_method1("cast", ("B",))?;
        PyBuffer::get(&bytes)
    })
}

/// Copies `bytes` to the beginning of a buffer.
#[allow(unsafe_code)]
fn copy_out(py: Python<'_>, buffer: &PyBuffer<u8>, bytes: &[u8]) -> PyResult<()> {
    if !buffer.is_c_contiguous() || buffer.readonly() || bytes.len() > buffer.item_count() {
        return Err(PyValueError::new_err(
            "a contiguous, writable buffer is needed",
        ));
    }
    let _attached = py;
    // SAFETY: the buffer is contiguous, writable and long enough, and cannot be moved or freed
    // while it is exported. `bytes` is memory of ours. Other threads of Python that write to the
    // same memory at the same time would need the interpreter's lock, which is held here.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.buf_ptr().cast::<u8>(), bytes.len());
    }
    Ok(())
}

fn gone() -> PyErr {
    ssl_error("NO_SOCKET", "Underlying socket has been closed.")
}

fn certificate(der: &CertificateDer<'_>) -> Certificate {
    Certificate {
        der: der.as_ref().to_vec(),
    }
}

/// The name to connect to; an address that is never sent where there is none.
fn host(name: Option<&str>) -> PyResult<ServerName<'static>> {
    let Some(name) = name else {
        let nobody = Ipv4Addr::from([0, 0, 0, 0]);
        return Ok(ServerName::IpAddress(IpAddr::V4(nobody)));
    };
    if name.is_empty() || name.starts_with('.') {
        return Err(PyValueError::new_err(
            "server_hostname cannot be an empty string or start with a leading dot.",
        ));
    }
    if name.contains('\0') {
        return Err(PyTypeError::new_err(
            "server_hostname must be str without null characters",
        ));
    }
    ServerName::try_from(name.to_owned())
        .map_err(|_| PyValueError::new_err(format!("server_hostname {name:?} is no host name")))
}
