//! The `_sslobj` behind Python's `SSLSocket` and `SSLObject`: its methods and attributes. What they
//! do is in the modules below, around [`Core`].

mod ech;
mod handshake;
mod records;
mod stats;
mod transfer;
mod transport;
mod waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyWeakrefMethods, PyWeakrefReference};
use rustls::{HandshakeKind, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName};

pub(crate) use stats::Stats;
use transport::Transport;

use crate::certificate::{Certificate, describe};
use crate::config::Settings;
use crate::core::{Core, State};
use crate::failure::ssl_error;
use crate::session::{SSLSession, Store};
use crate::suites;

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
    /// The context that made the connection, whichever it was given later.
    first_context: Py<PyAny>,
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

/// Locks one of an object's mutexes.
///
/// Two rules keep threads from waiting for each other. Nothing of Python's is called while one is
/// held: it could let another thread have the interpreter, which may then wait for the mutex
/// without giving the interpreter back. And a thread that holds `core` without the interpreter
/// neither waits for it, nor for the peer, nor for another mutex.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl SslObject {
    #[new]
    #[pyo3(signature = (settings, context, stats, *, server_side, server_hostname, sock=None,
                        incoming=None, outgoing=None, owner=None, session=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
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
            true => match settings.get().opener()? {
                Some(handshake) => State::Opening(Box::new(handshake)),
                None => State::Accepting(Box::default()),
            },
            false => State::Dead,
        });
        core.ragged_eof_is_eof = settings.get().ragged_eof_is_eof;
        if !server_side {
            core.inner_name = Some(host(server_hostname.as_deref())?);
            let settings = settings.get();
            settings.check_outer_name(server_hostname.as_deref())?;
            core.unverified = !settings.authenticates_rejections(server_hostname.as_deref());
        }
        let object = Self {
            core: Mutex::new(core),
            transport,
            settings: Mutex::new(settings),
            first_context: context.clone_ref(py),
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

    /// Performs or resumes the TLS handshake.
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
        self.read_into(py, len, buffer)
    }

    /// Writes `data`, and says how much of it was written.
    fn write(&self, py: Python<'_>, data: Bound<'_, PyAny>) -> PyResult<usize> {
        self.write_all(py, &data)
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
    #[pyo3(signature = (binary_form=None))]
    fn getpeercert<'py>(
        &self,
        py: Python<'py>,
        binary_form: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        // Nothing of Python's is called with a lock held.
        let (done, cert) = {
            let core = lock(&self.core);
            let chain = core.connection().and_then(|c| c.peer_certificates());
            (core.done, chain.and_then(|c| c.first().cloned()))
        };
        if !done {
            return Err(PyValueError::new_err("handshake not done yet"));
        }
        let Some(cert) = cert else {
            return Ok(None);
        };
        // Anything that Python takes for true or false.
        if binary_form.map_or(Ok(false), |form| form.is_truthy())? {
            return Ok(Some(PyBytes::new(py, &cert).into_any()));
        }
        // As the standard module, which asks the context that the connection has now.
        let mode: u8 = self.context(py).getattr(py, "verify_mode")?.extract(py)?;
        match mode {
            0 => Ok(Some(PyDict::new(py).into_any())),
            _ => Ok(Some(describe(py, &cert)?.into_any())),
        }
    }

    /// The chain as the peer sent it.
    fn get_unverified_chain(&self) -> Option<Vec<Certificate>> {
        let core = lock(&self.core);
        let chain = core.connection()?.peer_certificates()?;
        Some(chain.iter().map(certificate).collect())
    }

    /// The chain from the peer's certificate to the trust anchor that it ends at.
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

    /// rustls does not support post-handshake authentication.
    fn verify_client_post_handshake(&self) -> PyResult<()> {
        if !self.server_side {
            return Err(ssl_error("NOT_SERVER", "not server"));
        }
        if self.version() == Some("TLSv1.2") {
            return Err(ssl_error("WRONG_SSL_VERSION", "wrong ssl version"));
        }
        Err(ssl_error(
            "EXTENSION_NOT_RECEIVED",
            "extension not received: rustls does not support post-handshake authentication",
        ))
    }

    /// The context.
    #[getter]
    fn context(&self, py: Python<'_>) -> Py<PyAny> {
        lock(&self.context).clone_ref(py)
    }

    #[setter]
    fn set_context(&self, py: Python<'_>, context: Bound<'_, PyAny>) -> PyResult<()> {
        if !context.hasattr("_switched_settings")? {
            return Err(PyTypeError::new_err(
                "The value must be a SSLContext of echkit.ssl",
            ));
        }
        if lock(&self.core).connection().is_none() {
            let values = lock(&self.settings).get().values(py);
            let settings = context.call_method1("_switched_settings", (values,))?;
            let settings = settings.cast::<Settings>()?.clone().unbind();
            let old = std::mem::replace(&mut *lock(&self.settings), settings);
            old.drop_ref(py);
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
        let store = match (&sessions.wanted, reused) {
            (Some(wanted), true) => wanted.get().store(),
            _ => &sessions.store,
        };
        SSLSession::of(store, context)
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
    fn get_ech_status(&self, py: Python<'_>) -> (i32, Option<String>, Option<String>) {
        self.ech_status(py)
    }

    /// The configs of an authenticated rejection, as an ECHConfigList.
    fn get_ech_retry_config<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let retry_configs = lock(&self.core).ech.retry_configs.clone()?;
        Some(PyBytes::new(py, &retry_configs))
    }
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
