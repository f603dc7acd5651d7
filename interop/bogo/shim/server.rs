//! The server: an [`EchServer`] with its sans-IO handshake.

use std::sync::Arc;

use echkit_proto::config::EchConfig;
use echkit_proto::key::EchKey;
use echkit_tls::server::{EchKeys, EchOutcome, EchServer, Handshake, provider};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::sign::SingleCertAndKey;
use rustls::{Connection, HandshakeKind, ServerConfig, ServerConnection};

use crate::exchange::{self, Ended, Exchange};
use crate::expectations::Seen;
use crate::failure::Failure;
use crate::options::{ConnectionOptions, Options};
use crate::socket::Socket;
use crate::verifiers::{ClientCertificates, Verified};
use crate::{Side, credentials};

/// What BoringSSL's server takes.
const MAX_EARLY_DATA: u32 = 14_336;

/// rustls counts a record's header as part of its length.
const RECORD_HEADER: usize = 5;

/// A server, with what makes its sessions last.
pub(crate) struct Server {
    is_backend: bool,
    /// `None` where sessions are stored. rustls takes early data under stored sessions alone, each of
    /// which serves once (RFC 8446 §8.1).
    tickets: Option<Arc<dyn ProducesTickets>>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Server {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        Ok(Self {
            is_backend: options.is_backend,
            tickets: match options.takes_early_data() {
                true => None,
                false => Some(aws_lc_rs::Ticketer::new().map_err(Failure::failed)?),
            },
            sessions: ServerSessionMemoryCache::new(32),
        })
    }

    fn ech_server(
        &self,
        options: &ConnectionOptions,
        verified: &Arc<Verified>,
    ) -> Result<EchServer, Failure> {
        let config = self.config(options, verified)?.into();
        let server = match self.is_backend {
            true => EchServer::backend(config),
            false => EchServer::new(config, keys(options)?),
        };
        server.map_err(Failure::failed)
    }

    fn config(
        &self,
        options: &ConnectionOptions,
        verified: &Arc<Verified>,
    ) -> Result<ServerConfig, Failure> {
        let provider = with_groups(&provider(), &options.groups)?;
        let identity = credentials::own(options, &provider)?
            .ok_or_else(|| Failure::Declined("a server without a certificate".to_owned()))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&options.versions())
            .map_err(Failure::failed)?;
        let builder = match options.asks_for_certificate {
            true => builder.with_client_cert_verifier(Arc::new(ClientCertificates::new(
                options, &provider, verified,
            )?)),
            false => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols.clone_from(&options.alpn);
        config.max_fragment_size = options.max_fragment.map(|most| most + RECORD_HEADER);
        config.session_storage = Arc::clone(&self.sessions);
        if options.has_no_tickets {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else if let Some(tickets) = &self.tickets {
            config.ticketer = Arc::clone(tickets);
        }
        if options.takes_early_data {
            config.max_early_data_size = MAX_EARLY_DATA;
            config.send_half_rtt_data = true;
        }
        Ok(config)
    }
}

impl Side for Server {
    fn connect(
        &mut self,
        socket: &mut Socket,
        options: &ConnectionOptions,
        is_resumption: bool,
    ) -> Result<(), Failure> {
        let verified = Arc::new(Verified::default());
        let server = self.ech_server(options, &verified)?;
        let (connection, outcome) = answer_hello(&server, socket, options)?;
        let mut exchange = Exchange {
            connection: connection.into(),
            guard: None,
            socket,
            options,
        };
        let result = exchange.run(|exchange| {
            let Connection::Server(connection) = &mut exchange.connection else {
                return Err(Failure::failed("the server has become a client"));
            };
            check(connection, &outcome, &verified, options, is_resumption)
        });
        result.map_err(|ended| match ended {
            Ended::Tls(error) => Failure::failed(error),
            Ended::Other(failure) => failure,
        })
    }
}

/// The part of the handshake that ECH changes.
fn answer_hello(
    server: &EchServer,
    socket: &mut Socket,
    options: &ConnectionOptions,
) -> Result<(ServerConnection, EchOutcome), Failure> {
    let mut handshake = match options.chooses_by_hello {
        true => server.handshake_with_choice(),
        false => server.handshake(),
    };
    let mut buffer = vec![0; exchange::read_size(options)];
    while !handshake.is_done() {
        let bytes = socket.read(&mut buffer)?;
        let read = match bytes.is_empty() {
            true => handshake.end().map(|()| false),
            false => handshake
                .read(bytes)
                .and_then(|()| choose(&mut handshake, server)),
        };
        socket.send(&handshake.take_output())?;
        match read {
            Ok(true) => {}
            Ok(false) => return Err(Failure::failed("the peer closed during the handshake")),
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    let done = handshake.finish();
    done.ok_or_else(|| Failure::failed("the handshake is done and has no connection"))
}

/// Answers once the hello is there.
fn choose(
    handshake: &mut Handshake,
    server: &EchServer,
) -> Result<bool, echkit_tls::server::HandshakeError> {
    if handshake.hello().is_some() {
        handshake.answer(server)?;
    }
    Ok(true)
}

fn check(
    connection: &mut ServerConnection,
    outcome: &EchOutcome,
    verified: &Verified,
    options: &ConnectionOptions,
    is_resumption: bool,
) -> Result<(), Failure> {
    let server_name = connection.server_name().map(str::to_owned);
    if let EchOutcome::Accepted { inner_sni, .. } = outcome
        && *inner_sni != server_name
    {
        return Err(Failure::Unmet(format!(
            "inner name: {inner_sni:?}, but rustls answers for {server_name:?}"
        )));
    }
    let seen = Seen {
        ech_accepted: matches!(outcome, EchOutcome::Accepted { .. }),
        hello_retry: hello_retry(connection),
        server_name: Some(server_name),
        early_data: connection.early_data().is_some(),
    };
    options
        .expected
        .check(connection, &seen, verified, is_resumption)
}

/// Whether there was a HelloRetryRequest; rustls does not say it of a resumed session.
fn hello_retry(connection: &ServerConnection) -> Option<bool> {
    match connection.handshake_kind() {
        Some(HandshakeKind::Full) => Some(false),
        Some(HandshakeKind::FullWithHelloRetryRequest) => Some(true),
        _ => None,
    }
}

/// The provider with these groups in this order; all of its own for none.
pub(crate) fn with_groups(
    provider: &Arc<CryptoProvider>,
    groups: &[u16],
) -> Result<Arc<CryptoProvider>, Failure> {
    if groups.is_empty() {
        return Ok(Arc::clone(provider));
    }
    let known = aws_lc_rs::ALL_KX_GROUPS;
    let chosen: Result<Vec<_>, Failure> = groups
        .iter()
        .map(|number| {
            let group = known
                .iter()
                .find(|group| u16::from(group.name()) == *number);
            group
                .copied()
                .ok_or_else(|| Failure::Declined(format!("-curves {number}")))
        })
        .collect();
    let mut provider = CryptoProvider::clone(provider);
    provider.kx_groups = chosen?;
    Ok(Arc::new(provider))
}

fn keys(options: &ConnectionOptions) -> Result<EchKeys, Failure> {
    let (mut current, mut retired) = (Vec::new(), Vec::new());
    let pairs = options.ech_configs.iter().zip(&options.ech_keys);
    for ((config, key), is_retry) in pairs.zip(&options.ech_is_retry_config) {
        let config = EchConfig::parse(config).map_err(Failure::failed)?;
        let key = EchKey::new(config, key.clone()).map_err(Failure::failed)?;
        match is_retry {
            true => current.push(key),
            false => retired.push(key),
        }
    }
    EchKeys::new(current)
        .and_then(|keys| keys.with_retired(retired))
        .map_err(Failure::failed)
}
