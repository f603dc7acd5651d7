//! The client: a [`ClientTls`] whose bytes pass the guard.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use echkit_proto::config::EchConfigList;
use echkit_tls::client::{
    ClientHandshake, ClientTls, ConfigSource, EchOffer, OfferOutcome, RealOffer, SessionUse,
    TlsTarget, Trust, default_provider,
};
use rustls::client::ClientSessionMemoryCache;
use rustls::sign::SingleCertAndKey;
use rustls::{Connection, Error};
use rustls_pki_types::ServerName;

use crate::exchange::{Ended, Exchange};
use crate::expectations::Seen;
use crate::failure::Failure;
use crate::options::ConnectionOptions;
use crate::server::with_groups;
use crate::socket::Socket;
use crate::verifiers::{ServerCertificates, Verified};
use crate::{Side, credentials};

/// A client, with its sessions.
pub(crate) struct Client {
    sessions: Arc<ClientSessionMemoryCache>,
    /// Sessions are resumed by the same verifier only.
    tls: Option<(ClientTls, Arc<Verified>)>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            sessions: Arc::new(ClientSessionMemoryCache::new(32)),
            tls: None,
        }
    }
}

impl Side for Client {
    fn connect(
        &mut self,
        socket: &mut Socket,
        options: &ConnectionOptions,
        is_resumption: bool,
    ) -> Result<(), Failure> {
        let (tls, verified) = match &mut self.tls {
            Some(made) => made,
            none => none.insert(client_tls(options)?),
        };
        let mut target = TlsTarget::new(name(options)?);
        target.alpn.clone_from(&options.alpn);
        target.offer = offer(options)?;
        target.sessions = SessionUse::Store(self.sessions.clone());
        let ClientHandshake {
            connection, guard, ..
        } = tls.handshake(&target).map_err(Failure::failed)?;
        let mut exchange = Exchange {
            connection: connection.into(),
            guard: Some(guard),
            socket,
            options,
        };
        let result = exchange.run(|exchange| check(exchange, verified, is_resumption));
        let own = target.name.to_str();
        options.expected.check_names(&verified.names(), &own)?;
        match result {
            Ok(()) => options.expected.check_rejection(None),
            Err(Ended::Other(failure)) => Err(failure),
            Err(Ended::Tls(error)) => Err(failed(&exchange.connection, error, options)),
        }
    }
}

fn client_tls(options: &ConnectionOptions) -> Result<(ClientTls, Arc<Verified>), Failure> {
    let verified = Arc::new(Verified::default());
    let provider = with_groups(&Arc::new(default_provider()), &options.groups)?;
    let verifier = ServerCertificates::new(options, &provider, &verified)?;
    let mut builder = ClientTls::builder()
        .provider(Arc::clone(&provider))
        .versions(&options.versions())
        .trust(Trust::verifier(Arc::new(verifier)));
    if let Some(identity) = credentials::own(options, &provider)? {
        builder = builder.client_certificate_resolver(Arc::new(SingleCertAndKey::from(identity)));
    }
    Ok((builder.build().map_err(Failure::failed)?, verified))
}

/// The host to ask for. An address counts as none: it is in no hello.
fn name(options: &ConnectionOptions) -> Result<ServerName<'static>, Failure> {
    match &options.host_name {
        Some(name) => ServerName::try_from(name.clone()).map_err(Failure::failed),
        None => Ok(IpAddr::from(Ipv4Addr::LOCALHOST).into()),
    }
}

/// The offer that the options lead to, as a client makes it out of a record.
fn offer(options: &ConnectionOptions) -> Result<EchOffer, Failure> {
    let mut offer = None;
    if let Some(list) = &options.ech_config_list {
        let list = EchConfigList::parse(list)
            .map_err(|error| Failure::failed(format!("invalid ECHConfigList: {error}")))?;
        offer = RealOffer::from_selection(list.select(), ConfigSource::Manual);
    }
    match offer {
        Some(offer) => Ok(EchOffer::Real(Box::new(offer))),
        None if options.requires_usable_config => Err(Failure::failed("no usable ECHConfig")),
        None if options.sends_grease => Ok(EchOffer::Grease),
        None => Ok(EchOffer::None),
    }
}

fn check(
    exchange: &mut Exchange<'_>,
    verified: &Verified,
    is_resumption: bool,
) -> Result<(), Failure> {
    let Connection::Client(connection) = &exchange.connection else {
        return Err(Failure::failed("the client has become a server"));
    };
    let hellos = exchange
        .guard
        .as_ref()
        .map_or(0, |guard| guard.hellos().len());
    let seen = Seen {
        ech_accepted: OfferOutcome::read(connection, None) == OfferOutcome::Accepted,
        hello_retry: Some(hellos > 1),
        server_name: None,
        early_data: false,
    };
    let expected = &exchange.options.expected;
    expected.check(connection, &seen, verified, is_resumption)
}

/// The outcome of a handshake that rustls has ended.
fn failed(connection: &Connection, error: Error, options: &ConnectionOptions) -> Failure {
    let Connection::Client(connection) = connection else {
        return Failure::failed(error);
    };
    let (rejection, reason) = match OfferOutcome::read(connection, Some(&error)) {
        OfferOutcome::Rejected(rejection) => {
            (Some(rejection.retry_configs), "ECH was rejected".to_owned())
        }
        OfferOutcome::RejectedResumed => {
            (None, "ECH was rejected under a resumed session".to_owned())
        }
        _ => (None, error.to_string()),
    };
    match options.expected.check_rejection(rejection) {
        Ok(()) => Failure::Failed(reason),
        Err(unmet) => unmet,
    }
}
