//! The TLS servers of the cases.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use echkit::server::{Acceptor, EchKeyHandle, EchKeys, EchOutcome};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::accept::each_connection;
use crate::ca::Authorities;
use crate::capture::{Recorded, Recorder};
use crate::case::{Ech, Groups, ServerWord, Spec, Versions};
use crate::configs::{self, KeySpec, Keys};
use crate::elsewhere::{Blueprint, relay};
use crate::error::TestbedError;
use crate::hosts::Hosts;
use crate::names::{PUBLIC, in_zone};
use crate::page::{self, Directory, PageEch, PageTls, Visit};
use crate::sessions::Tickets;

/// A server, configured and not yet listening.
#[derive(Clone)]
pub(crate) struct CaseServer {
    spec: Arc<Spec>,
    front: Arc<RwLock<Front>>,
    certificates: Arc<ByName>,
    sessions: Arc<dyn StoresServerSessions>,
    recorder: Recorder,
    directory: Directory,
}

/// What meets the ClientHello.
#[derive(Clone)]
enum Front {
    /// Stock rustls, which ignores ECH.
    Plain(TlsAcceptor),
    /// The acceptor of `echkit`.
    Ech(Box<Acceptor>),
    /// Another server, which gets every byte.
    Elsewhere(SocketAddr),
}

impl CaseServer {
    pub(crate) fn new(
        spec: &Spec,
        hosts: &Hosts,
        keys: &Keys,
        authorities: &Authorities,
        recorder: Recorder,
        tickets: &Tickets,
        directory: Directory,
    ) -> Result<Self, TestbedError> {
        let provider = provider(spec.server.ech, spec.server.groups);
        let certificates = Arc::new(certificates(spec, hosts, authorities, &provider)?);
        let sessions = tickets.store();
        let config = tls_config(spec, provider, certificates.clone(), sessions.clone())?;
        let held = keys.held(&spec.keys).map_err(key_error(spec.name))?;
        let held = EchKeys::new(held).map_err(key_error(spec.name))?;
        let front = front(spec, config, held.into())?;
        Ok(Self {
            spec: Arc::new(spec.clone()),
            front: Arc::new(RwLock::new(front)),
            certificates,
            sessions,
            recorder,
            directory,
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.spec.name
    }

    /// Forgets the ECH keys and makes a new one, which only its retry_configs tell of.
    pub(crate) fn rotate(&self) -> Result<(), TestbedError> {
        if let Front::Ech(acceptor) = self.front() {
            let failed = key_error(self.spec.name);
            let old = acceptor.keys().load();
            let id = old
                .keys()
                .first()
                .map_or(0, |key| key.config_id().wrapping_add(1));
            let key = configs::generate(&KeySpec::new("rotated"), id).map_err(failed)?;
            let keys = EchKeys::new(vec![key]);
            acceptor
                .keys()
                .store(keys.map_err(key_error(self.spec.name))?);
        }
        Ok(())
    }

    /// From now on asks for a key share of P-384, which clients send only when asked.
    pub(crate) fn demand_hello_retry(&self) -> Result<(), TestbedError> {
        let provider = provider(self.spec.server.ech, Groups::P384);
        let (certificates, sessions) = (self.certificates.clone(), self.sessions.clone());
        let config = tls_config(&self.spec, provider, certificates, sessions)?;
        let keys = match self.front() {
            Front::Plain(_) | Front::Elsewhere(_) => EchKeyHandle::default(),
            Front::Ech(acceptor) => acceptor.keys().clone(),
        };
        *self.front.write().unwrap_or_else(PoisonError::into_inner) =
            front(&self.spec, config, keys)?;
        Ok(())
    }

    /// What another server needs to serve the case.
    pub(crate) fn blueprint(&self, authorities: &Authorities) -> Result<Blueprint, TestbedError> {
        let keys = match self.front() {
            Front::Ech(acceptor) => {
                let keys = acceptor.keys().load();
                keys.keys().iter().map(|key| (**key).clone()).collect()
            }
            Front::Plain(_) | Front::Elsewhere(_) => Vec::new(),
        };
        Blueprint::new(&self.spec, keys, authorities)
    }

    /// From now on passes every connection on.
    pub(crate) fn hand_over(&self, to: SocketAddr) {
        *self.front.write().unwrap_or_else(PoisonError::into_inner) = Front::Elsewhere(to);
    }

    fn front(&self) -> Front {
        self.front
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Serves until aborted; its connections end with it.
    pub(crate) async fn serve(self, listener: TcpListener) {
        each_connection(listener, |tcp, client| self.clone().connection(tcp, client)).await;
    }

    async fn connection(self, tcp: TcpStream, client: SocketAddr) {
        let _ = tcp.set_nodelay(true);
        let local = tcp.local_addr().ok();
        let io = self.recorder.record(self.spec.name, local, client, tcp);
        if self.spec.server.ech == Ech::NewKeyEachTime
            && let Err(error) = self.rotate()
        {
            tracing::error!(case = %self.spec.name, %error, "no new key");
        }
        let front = self.front();
        if let Front::Elsewhere(to) = front {
            return relay(io, to).await;
        }
        match front.accept(io).await {
            Ok((stream, ech)) => {
                let (recorded, tls) = stream.get_ref();
                // rustls says of a resumption nothing but that it is one.
                let hello_retry = recorded.client_hellos() > 1;
                let served = self.recorder.serve(self.spec.name, client, ech.clone());
                let visit = Arc::new(self.visit(ech, tls, hello_retry));
                let service = service_fn(move |request| {
                    served.get().requests += 1;
                    page::answer(request, visit.clone())
                });
                // The peer may leave whenever it likes.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
            // Many cases are meant to end here; the client has its alert.
            Err(error) => tracing::debug!(case = %self.spec.name, %error, "handshake failed"),
        }
    }

    fn visit(&self, ech: PageEch, tls: &ServerConnection, hello_retry: bool) -> Visit {
        Visit {
            case: self.spec.name.to_owned(),
            about: self.spec.about.to_owned(),
            expect: self.spec.expect.clone(),
            directory: self.directory.clone(),
            ech,
            tls: PageTls {
                version: tls.protocol_version().map(|v| match v {
                    rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
                    rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
                    other => format!("{other:?}"),
                }),
                cipher_suite: tls
                    .negotiated_cipher_suite()
                    .map(|suite| format!("{:?}", suite.suite())),
                group: tls
                    .negotiated_key_exchange_group()
                    .map(|g| format!("{:?}", g.name())),
                alpn: tls
                    .alpn_protocol()
                    .map(|id| String::from_utf8_lossy(id).into_owned()),
                hello_retry,
                resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            },
        }
    }
}

type Stream = TlsStream<Recorded<TcpStream>>;

impl Front {
    async fn accept(
        &self,
        io: Recorded<TcpStream>,
    ) -> Result<(Stream, PageEch), Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Plain(acceptor) => {
                let stream = acceptor.accept(io).await?;
                let sni = stream.get_ref().1.server_name().map(str::to_owned);
                Ok((stream, PageEch::without(ServerWord::Off, sni)))
            }
            Self::Ech(acceptor) => {
                let accepted = acceptor.accept(io).await?;
                let sni = accepted.stream.get_ref().1.server_name().map(str::to_owned);
                let ech = match accepted.outcome {
                    EchOutcome::Accepted {
                        config_id,
                        suite,
                        inner_sni,
                        outer_sni,
                    } => PageEch {
                        status: ServerWord::Accepted,
                        inner_sni,
                        outer_sni,
                        config_id: Some(config_id),
                        suite: Some(suite.to_string()),
                        retry_configs: false,
                    },
                    EchOutcome::Rejected {
                        outer_sni,
                        retry_configs,
                        ..
                    } => PageEch {
                        retry_configs,
                        ..PageEch::without(ServerWord::Rejected, outer_sni)
                    },
                    _ => PageEch::without(ServerWord::NotOffered, sni),
                };
                Ok((accepted.stream, ech))
            }
            Self::Elsewhere(to) => Err(format!("handed over to {to}").into()),
        }
    }
}

fn front(spec: &Spec, config: ServerConfig, keys: EchKeyHandle) -> Result<Front, TestbedError> {
    let config = Arc::new(config);
    Ok(match spec.server.ech {
        Ech::Off => Front::Plain(config.into()),
        Ech::Keys | Ech::NewKeyEachTime => {
            let acceptor = Acceptor::new(config, keys).map_err(key_error(spec.name))?;
            Front::Ech(Box::new(acceptor))
        }
    })
}

fn tls_config(
    spec: &Spec,
    provider: CryptoProvider,
    certificates: Arc<ByName>,
    sessions: Arc<dyn StoresServerSessions>,
) -> Result<ServerConfig, TestbedError> {
    let versions: &[_] = match spec.server.versions {
        Versions::All => rustls::ALL_VERSIONS,
        Versions::Tls12 => &[&rustls::version::TLS12],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .map_err(|source| TestbedError::Tls {
            name: spec.name.to_owned(),
            error: source,
        })?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.session_storage = sessions;
    config.alpn_protocols = spec
        .server
        .alpn
        .iter()
        .map(|id| id.as_bytes().to_vec())
        .collect();
    Ok(config)
}

fn provider(ech: Ech, groups: Groups) -> CryptoProvider {
    let mut provider = match ech {
        Ech::Off => rustls::crypto::aws_lc_rs::default_provider(),
        Ech::Keys | Ech::NewKeyEachTime => (*echkit::server::provider()).clone(),
    };
    if groups == Groups::P384 {
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1];
    }
    provider
}

fn certificates(
    spec: &Spec,
    hosts: &Hosts,
    authorities: &Authorities,
    provider: &CryptoProvider,
) -> Result<ByName, TestbedError> {
    let site = authorities.site(&hosts.certified())?;
    let site = site.certified(provider)?;
    let public = authorities.public(spec.server.public_certificate)?;
    let public = public.certified(provider)?;
    let sites = hosts.names().map(|host| (host, site.clone()));
    Ok(ByName(sites.chain([(in_zone(PUBLIC), public)]).collect()))
}

fn key_error<E: std::fmt::Display>(case: &str) -> impl Fn(E) -> TestbedError + '_ {
    move |error| TestbedError::Key {
        case: case.to_owned(),
        reason: error.to_string(),
    }
}

/// Certificates by the name asked for; a stranger's name gets none, hence an alert.
///
/// rustls has such a resolver, which refuses certificates that do not fit their name. Some of ours
/// must not.
#[derive(Debug)]
struct ByName(HashMap<String, Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(hello.server_name()?).cloned()
    }
}
