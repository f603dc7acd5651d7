//! The TLS servers of the cases.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ca::{Ca, Validity};
use crate::capture::{Recorded, Recorder};
use crate::case::{Ech, Groups, PublicCertificate, ServerSpec, ServerWord, Spec, Versions};
use crate::configs::{Keys, PUBLIC};
use crate::error::Error;
use crate::page::{self, PageEch, PageTls, Visit};
use crate::sessions::Tickets;
use crate::zone::in_zone;

/// A server, configured and not yet listening.
#[derive(Clone)]
pub(crate) struct CaseServer {
    case: Arc<str>,
    about: Arc<str>,
    front: Front,
    recorder: Recorder,
}

/// What meets the ClientHello.
#[derive(Clone)]
enum Front {
    /// Stock rustls, which ignores ECH.
    Plain(TlsAcceptor),
}

impl CaseServer {
    pub(crate) fn new(
        spec: &Spec,
        keys: &Keys,
        authorities: &Authorities,
        recorder: Recorder,
        tickets: &Tickets,
    ) -> Result<Self, Error> {
        let config = Arc::new(tls_config(spec, authorities, tickets)?);
        let front = Front::Plain(config.into());
        Ok(Self {
            case: spec.name.into(),
            about: spec.about.into(),
            front,
            recorder,
        })
    }

    /// Serves until aborted; its connections end with it.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok((tcp, client)) = listener.accept().await else {
                // Out of descriptors, most likely: others will be closed.
                tokio::task::yield_now().await;
                continue;
            };
            connections.spawn(self.clone().connection(tcp, client));
        }
    }

    async fn connection(self, tcp: TcpStream, client: SocketAddr) {
        let _ = tcp.set_nodelay(true);
        let io = self.recorder.record(&self.case, client, tcp);
        match self.front.accept(io).await {
            Ok((stream, ech)) => {
                let visit = Arc::new(self.visit(ech, stream.get_ref().1));
                let service = service_fn(move |request| page::answer(request, visit.clone()));
                // The peer may leave whenever it likes.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
            // Many cases are meant to end here; the client has its alert.
            Err(error) => tracing::debug!(case = %self.case, %error, "handshake failed"),
        }
    }

    fn visit(&self, ech: PageEch, tls: &ServerConnection) -> Visit {
        let kind = tls.handshake_kind();
        Visit {
            case: self.case.to_string(),
            about: self.about.to_string(),
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
                hello_retry: kind == Some(HandshakeKind::FullWithHelloRetryRequest),
                resumed: kind == Some(HandshakeKind::Resumed),
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
        }
    }
}

/// Those who sign the servers' certificates.
#[derive(Debug)]
pub(crate) struct Authorities {
    /// The one that clients are told to trust.
    pub(crate) trusted: Ca,
    /// One that nobody trusts.
    pub(crate) stranger: Ca,
}

impl Authorities {
    pub(crate) fn generate() -> Result<Self, Error> {
        Ok(Self {
            trusted: Ca::generate("echkit testbed root")?,
            stranger: Ca::generate("echkit testbed stranger")?,
        })
    }
}

fn tls_config(
    spec: &Spec,
    authorities: &Authorities,
    tickets: &Tickets,
) -> Result<ServerConfig, Error> {
    let ServerSpec {
        public_certificate,
        versions,
        groups,
        alpn,
        ..
    } = spec.server;
    let mut provider = provider(spec.server.ech);
    match groups {
        Groups::All => {}
        Groups::P384 => provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1],
    }

    let (host, public) = (in_zone(spec.name), in_zone(PUBLIC));
    let Authorities { trusted, stranger } = authorities;
    let other = in_zone("other");
    let (issuer, name, validity) = match public_certificate {
        PublicCertificate::Good => (trusted, &public, Validity::Current),
        PublicCertificate::OtherName => (trusted, &other, Validity::Current),
        PublicCertificate::OtherRoot => (stranger, &public, Validity::Current),
        PublicCertificate::Expired => (trusted, &public, Validity::Expired),
    };
    let public_certificate = issuer.server_certificate(&[name], validity, &provider)?;
    let certificate = trusted.server_certificate(&[&host], Validity::Current, &provider)?;
    let certificates = ByName([(host, certificate), (public, public_certificate)].into());

    let versions: &[_] = match versions {
        Versions::All => rustls::ALL_VERSIONS,
        Versions::Tls12 => &[&rustls::version::TLS12],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .map_err(|source| Error::Tls {
            name: spec.name.to_owned(),
            source,
        })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.session_storage = tickets.store();
    config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
    Ok(config)
}

fn provider(_ech: Ech) -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
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
