//! A client and a server in memory.

use std::sync::Arc;

use echkit_proto::config::{Chosen, EchConfig, EchConfigList};
use echkit_proto::hello::ClientHello;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::tls_record::whole_records;
use echkit_tls::client::{ClientHandshake, ClientTls, ClientTlsBuilder, OfferOutcome, Trust};
use echkit_tls::server::{EchKeyHandle, EchKeys, EchOutcome, EchServer};
use rustls::crypto::CryptoProvider;
use rustls::{ServerConfig, ServerConnection};

use crate::pki::Site;

pub const HIDDEN: &str = "hidden-name.test";
pub const PUBLIC: &str = "public.test";

/// A certificate for every name in these tests, and who trusts it.
#[derive(Debug)]
pub struct Pki(Site);

impl Pki {
    pub fn new(names: &[&str]) -> Self {
        Self(Site::self_signed(names))
    }

    pub fn client(&self) -> ClientTlsBuilder {
        ClientTls::builder().trust(Trust::certificates(self.0.chain()).unwrap())
    }

    pub fn server(&self, keys: Vec<EchKey>, hello_retry: bool) -> EchServer {
        let mut provider = CryptoProvider::clone(&echkit_tls::server::provider());
        if hello_retry {
            provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1];
        }
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.0.chain(), self.0.key.clone_key())
            .unwrap();
        EchServer::new(
            Arc::new(config),
            EchKeyHandle::new(EchKeys::new(keys).unwrap()),
        )
        .unwrap()
    }
}

/// The same key under another maximum_name_length: a config that rustls cannot tell from the first.
pub fn twin(key: &EchKey, maximum_name_length: u8) -> EchKey {
    let mut contents = key.contents().clone();
    contents.maximum_name_length = maximum_name_length;
    let config = EchConfig::try_from(contents).unwrap();
    EchKey::new(config, key.private_key_bytes().unwrap()).unwrap()
}

pub fn key_with(maximum_name_length: u8) -> EchKey {
    let params = KeyParams::new(PUBLIC)
        .unwrap()
        .with_maximum_name_length(maximum_name_length);
    EchKey::generate(&params).unwrap()
}

pub fn chosen(key: &EchKey) -> Chosen {
    let list = EchConfigList::from(key.config().clone());
    list.select().chosen.unwrap()
}

/// The bytes that the guard has cleared.
pub fn flight(client: &mut ClientHandshake) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.connection.wants_write() {
        client.connection.write_tls(&mut bytes).unwrap();
    }
    client.guard.push(&bytes).unwrap();
    let cleared = client.guard.cleared().to_vec();
    client.guard.sent(cleared.len());
    cleared
}

/// The ClientHello in the first record of a flight.
pub fn hello(flight: &[u8]) -> ClientHello {
    let first = whole_records(flight).next().unwrap();
    ClientHello::parse(first.content()).unwrap()
}

/// How a handshake ended on both sides.
pub struct Ended {
    pub outcome: OfferOutcome,
    /// `None` where the client ended the handshake first.
    pub server: Option<EchOutcome>,
    /// Every byte that the client sent.
    pub sent: Vec<u8>,
    pub resumed: bool,
    pub hellos: usize,
}

/// Runs a whole handshake, and lets the server's tickets arrive.
pub fn run(mut client: ClientHandshake, server: &EchServer) -> Ended {
    let mut sent = Vec::new();
    let mut error = None;
    let mut handshake = Some(server.handshake());
    let mut finished: Option<(ServerConnection, EchOutcome)> = None;
    loop {
        let to_server = flight(&mut client);
        sent.extend_from_slice(&to_server);
        let mut to_client = Vec::new();
        if let Some(mut running) = handshake.take() {
            // The alert of a client whose offer was rejected is an error here.
            let _ = running.read(&to_server);
            to_client = running.take_output();
            if running.is_done() {
                finished = Some(running.finish().unwrap());
            } else {
                handshake = Some(running);
            }
        } else if let Some((connection, _)) = &mut finished {
            let mut rest = &to_server[..];
            while !rest.is_empty() {
                connection.read_tls(&mut rest).unwrap();
                let _ = connection.process_new_packets();
            }
        }
        if let Some((connection, _)) = &mut finished {
            while connection.wants_write() {
                connection.write_tls(&mut to_client).unwrap();
            }
        }
        let mut rest = &to_client[..];
        while !rest.is_empty() && error.is_none() {
            client.connection.read_tls(&mut rest).unwrap();
            error = client.connection.process_new_packets().err();
        }
        if to_server.is_empty() && to_client.is_empty() {
            break;
        }
    }
    Ended {
        outcome: OfferOutcome::read(&client.connection, error.as_ref()),
        server: finished.map(|(_, outcome)| outcome),
        sent,
        resumed: client.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        hellos: client.guard.hellos().len(),
    }
}
