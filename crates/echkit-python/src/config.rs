//! Settings as values: what a context says at the moment of a connection.

use std::path::PathBuf;
use std::sync::Arc;

use echkit_tls::client::{
    ClientHandshake, ClientSetupError, ClientTls, EchOffer, OuterName, SessionUse, TlsTarget, Trust,
};
use echkit_tls::record_opener::client_provider;
use echkit_tls::server::{self, EchKeyHandle, EchServer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustls::client::ClientSessionStore;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{KeyLog, NamedGroup, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::ServerName;

use crate::ech_config::{EchConfigList, outer};
use crate::ech_keys::EchKeys;
use crate::failure::ssl_error;
use crate::identity::{Identities, Identity};
use crate::key_log::KeyLogTo;
use crate::trust::TrustStore;
use crate::verifier::Verifier;

/// Everything that a context says about its connections, read once.
#[pyclass(frozen, module = "echkit._echkit", weakref)]
pub(crate) struct Settings {
    /// The values in Python.
    source: Py<PyAny>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) verifier: Arc<Verifier>,
    identities: Arc<Identities>,
    versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<Vec<u8>>,
    key_log: Option<Arc<dyn KeyLog>>,
    client: Option<ClientTls>,
    server: Option<EchServer>,
    /// Whether a server has ECH keys.
    has_ech_keys: bool,
    ech: Option<Py<EchConfigList>>,
    /// The name to show in place of the config's public_name.
    pub(crate) outer_name: Option<OuterName>,
    grease: bool,
    /// `OP_IGNORE_UNEXPECTED_EOF`.
    pub(crate) ragged_eof_is_eof: bool,
}

/// The attributes of `echkit._settings.Values` that count here.
#[derive(FromPyObject)]
struct Values {
    server_side: bool,
    verify_mode: u8,
    check_hostname: bool,
    flags: u64,
    versions: (bool, bool),
    ciphers: Option<Vec<u16>>,
    curve: Option<String>,
    alpn: Vec<Vec<u8>>,
    keylog: Option<PathBuf>,
    tickets: usize,
    stateful: bool,
    client_order: bool,
    ignore_eof: bool,
    ech: Option<Py<EchConfigList>>,
    outer_name: Option<String>,
    grease: bool,
}

#[pymethods]
impl Settings {
    #[new]
    #[pyo3(signature = (*, values, trust, identities, ech_keys=None))]
    fn new(
        values: Bound<'_, PyAny>,
        trust: Py<TrustStore>,
        identities: Vec<PyRef<'_, Identity>>,
        ech_keys: Option<Py<EchKeys>>,
    ) -> PyResult<Self> {
        let source = values.clone().unbind();
        let Values {
            server_side,
            verify_mode,
            check_hostname,
            flags,
            versions,
            ciphers,
            curve,
            alpn,
            keylog,
            tickets,
            stateful,
            client_order,
            ignore_eof,
            ech,
            outer_name,
            grease,
        } = values.extract()?;
        let mut provider = match server_side {
            true => CryptoProvider::clone(&server::provider()),
            false => client_provider(),
        };
        if let Some(ids) = ciphers {
            let place = |suite: &SupportedCipherSuite| match suite.tls13() {
                Some(_) => Some(0),
                None => ids
                    .iter()
                    .position(|id| *id == u16::from(suite.suite()))
                    .map(|p| p + 1),
            };
            let suites = &mut provider.cipher_suites;
            suites.retain(|suite| place(suite).is_some());
            // The order of preference; those of TLS 1.3 keep their own.
            suites.sort_by_key(|suite| place(suite));
        }
        if let Some(name) = &curve {
            provider.kx_groups = vec![group(name)?];
        }
        let provider = Arc::new(provider);
        let mut enabled = Vec::new();
        if versions.1 {
            enabled.push(&TLS13);
        }
        if versions.0 && provider.cipher_suites.iter().any(|s| s.tls13().is_none()) {
            enabled.push(&TLS12);
        }
        if enabled.is_empty() {
            return Err(ssl_error(
                "NO_PROTOCOLS_AVAILABLE",
                "no protocols available: neither TLS 1.2 nor TLS 1.3 is left by versions, options \
                 and ciphers",
            ));
        }
        trust.get().check_crls(match verify_mode {
            0 => 0,
            _ => flags,
        })?;
        let verifier = Arc::new(Verifier {
            trust,
            provider: Arc::clone(&provider),
            flags,
            anyone: verify_mode == 0,
            mandatory: verify_mode == 2,
            check_hostname,
        });
        let key_log = match keylog {
            Some(path) => Some(KeyLogTo::open(path)? as Arc<dyn KeyLog>),
            None => None,
        };
        let mut settings = Self {
            source,
            provider,
            verifier,
            identities: Arc::new(Identities::new(&identities)),
            versions: enabled,
            alpn,
            key_log,
            client: None,
            server: None,
            has_ech_keys: ech_keys.is_some(),
            ech,
            outer_name: outer_name.as_deref().map(outer).transpose()?,
            grease,
            ragged_eof_is_eof: ignore_eof,
        };
        if server_side {
            let keys = ech_keys.map(|keys| keys.get().keys.clone());
            let config = settings.server_config(tickets, stateful, client_order)?;
            settings.server = Some(ech_server(config, keys.unwrap_or_default().into())?);
        } else {
            settings.client = Some(settings.client_tls()?);
        }
        Ok(settings)
    }

    /// The values that they were made from.
    #[getter]
    pub(crate) fn values(&self, py: Python<'_>) -> Py<PyAny> {
        self.source.clone_ref(py)
    }
}

impl Settings {
    fn client_tls(&self) -> PyResult<ClientTls> {
        let mut builder = ClientTls::builder()
            .provider(Arc::clone(&self.provider))
            .versions(&self.versions)
            .trust(Trust::verifier(Arc::clone(&self.verifier) as _))
            .client_certificate_resolver(Arc::clone(&self.identities) as _);
        if let Some(key_log) = &self.key_log {
            builder = builder.key_log(Arc::clone(key_log));
        }
        builder
            .build()
            .map_err(|error| ssl_error("TLS_ERROR", &error.to_string()))
    }

    fn server_config(
        &self,
        tickets: usize,
        stateful: bool,
        client_order: bool,
    ) -> PyResult<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| ssl_error("NO_PROTOCOLS_AVAILABLE", &error.to_string()))?
            .with_client_cert_verifier(Arc::clone(&self.verifier) as _)
            .with_cert_resolver(Arc::clone(&self.identities) as _);
        config.alpn_protocols.clone_from(&self.alpn);
        config.ignore_client_order = !client_order;
        config.send_tls13_tickets = tickets;
        // Without a ticketer sessions are kept here, and tickets of TLS 1.3 only name them: what
        // OP_NO_TICKET means to OpenSSL.
        if !stateful {
            config.ticketer = aws_lc_rs::Ticketer::new()
                .map_err(|error| ssl_error("TLS_ERROR", &error.to_string()))?;
        }
        if let Some(key_log) = &self.key_log {
            config.key_log = Arc::clone(key_log);
        }
        Ok(config)
    }

    /// The server; without application protocols where the client shares none, because Python's
    /// servers continue without (RFC 7301 §3.2 would end the handshake).
    pub(crate) fn server(&self, offered: Option<&[Vec<u8>]>) -> PyResult<EchServer> {
        let server = self.server.as_ref();
        let server = server.ok_or_else(|| ssl_error("NO_CONTEXT", "not a server's settings"))?;
        let shared = offered.is_none_or(|o| o.iter().any(|p| self.alpn.contains(p)));
        if shared || self.alpn.is_empty() {
            return Ok(server.clone());
        }
        let mut config = ServerConfig::clone(server.config());
        config.alpn_protocols.clear();
        ech_server(config, server.keys().clone())
    }

    /// The handshake of a server that has ECH keys; its configuration is chosen by the hello.
    pub(crate) fn opener(&self) -> PyResult<Option<server::Handshake>> {
        match self.has_ech_keys {
            true => Ok(Some(self.server(None)?.handshake_with_choice())),
            false => Ok(None),
        }
    }

    /// The config that is offered, as Python has it.
    pub(crate) fn offered(&self, py: Python<'_>) -> Option<Py<EchConfigList>> {
        self.ech.as_ref().map(|list| list.clone_ref(py))
    }

    /// The config that is offered, if any.
    pub(crate) fn ech(&self) -> Option<&EchConfigList> {
        self.ech.as_ref().map(Py::get)
    }

    /// Refuses an outer name that is the name that the offer must hide.
    pub(crate) fn check_outer_name(&self, host: Option<&str>) -> PyResult<()> {
        match (&self.ech, &self.outer_name, host) {
            (Some(_), Some(name), Some(host)) => name
                .check_against(host)
                .map_err(|error| PyValueError::new_err(error.to_string())),
            _ => Ok(()),
        }
    }

    /// Whether a rejection can be authenticated. Where the public_name is the name inside, nobody
    /// can tell whom rustls asks about, and without `check_hostname` neither name is checked.
    pub(crate) fn authenticates_rejections(&self, host: Option<&str>) -> bool {
        let public = self.ech().and_then(EchConfigList::public_name);
        let same = match (public, host) {
            (Some(public), Some(host)) => host.trim_end_matches('.').eq_ignore_ascii_case(public),
            _ => false,
        };
        !self.verifier.anyone && (self.verifier.check_hostname || !same)
    }

    pub(crate) fn greases(&self) -> bool {
        self.grease && self.ech.is_none()
    }

    /// Makes a client's connection, and the guard that its hellos have to pass.
    pub(crate) fn client(
        &self,
        name: ServerName<'static>,
        sessions: Arc<dyn ClientSessionStore>,
    ) -> Result<ClientHandshake, rustls::Error> {
        let tls = self
            .client
            .as_ref()
            .ok_or_else(|| rustls::Error::General("not a client's settings".to_owned()))?;
        let mut target = TlsTarget::new(name);
        target.alpn.clone_from(&self.alpn);
        target.sessions = SessionUse::Store(sessions);
        target.outer_sni.clone_from(&self.outer_name);
        target.offer = match self.ech() {
            Some(list) => list.offer(),
            None if self.grease => EchOffer::Grease,
            None => EchOffer::None,
        };
        tls.handshake(&target).map_err(|error| match error {
            ClientSetupError::Tls { source, .. } => source,
            other => rustls::Error::General(other.to_string()),
        })
    }
}

fn ech_server(config: ServerConfig, keys: EchKeyHandle) -> PyResult<EchServer> {
    EchServer::new(Arc::new(config), keys)
        .map_err(|error| ssl_error("TLS_ERROR", &error.to_string()))
}

fn group(name: &str) -> PyResult<&'static dyn SupportedKxGroup> {
    let wanted = match name.to_ascii_lowercase().as_str() {
        "prime256v1" | "secp256r1" | "p-256" => NamedGroup::secp256r1,
        "secp384r1" | "p-384" => NamedGroup::secp384r1,
        "x25519" => NamedGroup::X25519,
        _ => {
            return Err(PyValueError::new_err(format!(
                "the curve {name} is not supported: prime256v1, secp384r1 and X25519 are"
            )));
        }
    };
    aws_lc_rs::ALL_KX_GROUPS
        .iter()
        .find(|group| group.name() == wanted)
        .copied()
        .ok_or_else(|| PyValueError::new_err(format!("the curve {name} is not supported")))
}

/// Whether a curve can be used; raises `ValueError` where not.
#[pyfunction]
pub(crate) fn check_curve(name: &str) -> PyResult<()> {
    group(name).map(|_| ())
}
