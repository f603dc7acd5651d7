//! A rustls client and our handshake joined in memory.

pub mod disguise;
pub mod edit;

use std::sync::Arc;

use echkit::server::{EchKeys, EchOutcome, EchServer, HandshakeError, provider};
use echkit_proto::config::EchConfigList;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_proto::tls_record::{APPLICATION_DATA, WholeRecord, whole_records};
use rustls::client::{EchConfig, EchGreaseConfig, EchMode};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::EchConfigListBytes;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, crypto,
};

pub use crate::contains;
use crate::pki::Site;

pub const SECRET: &str = "secret.example";
pub const PUBLIC: &str = "public.example";

/// A certificate for every name of the tests, trusted by itself.
#[derive(Debug)]
pub struct Pki {
    pub site: Site,
}

impl Default for Pki {
    fn default() -> Self {
        Self::of(&[SECRET, PUBLIC, "plain.example"])
    }
}

impl Pki {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn of(names: &[&str]) -> Self {
        Self {
            site: Site::self_signed(names),
        }
    }

    pub fn roots(&self) -> RootCertStore {
        self.site.roots()
    }

    pub fn server_with(&self, provider: Arc<CryptoProvider>) -> ServerConfig {
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.site.chain(), self.site.key.clone_key())
            .unwrap()
    }

    pub fn server(&self) -> ServerConfig {
        self.server_with(provider())
    }

    pub fn client(&self, mode: Option<EchMode>) -> ClientConfig {
        self.client_with(mode, crypto::aws_lc_rs::default_provider())
    }

    pub fn client_with(&self, mode: Option<EchMode>, provider: CryptoProvider) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        match mode {
            Some(mode) => builder.with_ech(mode).unwrap(),
            None => builder.with_safe_default_protocol_versions().unwrap(),
        }
        .with_root_certificates(self.roots())
        .with_no_client_auth()
    }
}

pub fn ech_key(config_id: u8) -> EchKey {
    let mut params = KeyParams::new(PUBLIC).unwrap();
    params.config_id = Some(config_id);
    EchKey::generate(&params).unwrap()
}

/// A real offer under `key`.
pub fn offer(key: &EchKey) -> Option<EchMode> {
    let list = EchConfigList::from_configs(vec![key.config().clone()]).unwrap();
    let suites = crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES;
    let config = EchConfig::new(EchConfigListBytes::from(list.encode()), suites).unwrap();
    Some(config.into())
}

pub fn grease() -> Option<EchMode> {
    let suite: &dyn crypto::hpke::Hpke = crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
    let (public, _) = suite.generate_key_pair().unwrap();
    Some(EchGreaseConfig::new(suite, public).into())
}

/// A provider whose only group is P-384: the server answers our X25519 clients with a retry.
pub fn only(group: &'static dyn crypto::SupportedKxGroup, of: &CryptoProvider) -> CryptoProvider {
    let mut provider = of.clone();
    provider.kx_groups = vec![group];
    provider
}

/// Offers X25519's share and also speaks P-384: a server of P-384 has to send a retry.
pub fn retrying_client() -> CryptoProvider {
    let mut provider = crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        crypto::aws_lc_rs::kx_group::X25519,
        crypto::aws_lc_rs::kx_group::SECP384R1,
    ];
    provider
}

pub fn retrying_server() -> Arc<CryptoProvider> {
    Arc::new(only(crypto::aws_lc_rs::kx_group::SECP384R1, &provider()))
}

pub fn server(config: ServerConfig, keys: Vec<EchKey>) -> EchServer {
    EchServer::new(Arc::new(config), EchKeys::new(keys).unwrap()).unwrap()
}

pub fn connect(config: ClientConfig, name: &str) -> ClientConnection {
    connect_shared(&Arc::new(config), name)
}

pub fn connect_shared(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    ClientConnection::new(config.clone(), name.to_owned().try_into().unwrap()).unwrap()
}

/// What a handshake came to.
pub struct Joined {
    pub client: ClientConnection,
    pub server: ServerConnection,
    pub outcome: EchOutcome,
    /// Everything that the client sent until the server was done.
    pub sent: Vec<u8>,
}

/// How a handshake can end early.
#[derive(Debug)]
pub enum Failed {
    /// The front layer refused; the bytes are what it sent (the alert last).
    Front(HandshakeError, Vec<u8>),
    Client(rustls::Error, EchOutcome, Box<ServerConnection>),
    Server(rustls::Error),
}

/// Runs a handshake, with the client's bytes delivered `step` at a time.
pub fn join(server: &EchServer, client: ClientConnection, step: usize) -> Result<Joined, Failed> {
    join_through(server, client, step, |bytes| bytes, |bytes| bytes)
}

/// As [`join`], with changes to what each side sends while the front layer is at work.
pub fn join_through(
    server: &EchServer,
    mut client: ClientConnection,
    step: usize,
    mut up: impl FnMut(Vec<u8>) -> Vec<u8>,
    mut down: impl FnMut(Vec<u8>) -> Vec<u8>,
) -> Result<Joined, Failed> {
    let mut handshake = server.handshake();
    let mut sent = Vec::new();
    let mut early = None;
    while !handshake.is_done() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let bytes = up(bytes);
        assert!(!bytes.is_empty(), "the client has nothing to say");
        sent.extend_from_slice(&bytes);
        for chunk in bytes.chunks(step) {
            if let Err(error) = handshake.read(chunk) {
                return Err(Failed::Front(error, handshake.take_output()));
            }
        }
        let output = down(handshake.take_output());
        if let Err(error) = deliver_to_client(&mut client, &output) {
            early = Some(error);
            break;
        }
    }
    let (mut conn, outcome) = handshake.finish().expect("the handshake is done");
    if let Some(error) = early {
        return Err(Failed::Client(error, outcome, Box::new(conn)));
    }
    loop {
        let mut bytes = Vec::new();
        while conn.wants_write() {
            conn.write_tls(&mut bytes).unwrap();
        }
        let down_len = bytes.len();
        if let Err(error) = deliver_to_client(&mut client, &bytes) {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let _ = deliver_to_server(&mut conn, &bytes);
            return Err(Failed::Client(error, outcome, Box::new(conn)));
        }
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let idle = bytes.is_empty() && down_len == 0;
        deliver_to_server(&mut conn, &bytes).map_err(Failed::Server)?;
        if idle {
            break;
        }
    }
    assert!(!client.is_handshaking() && !conn.is_handshaking());
    Ok(Joined {
        client,
        server: conn,
        outcome,
        sent,
    })
}

fn deliver_to_client(conn: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        conn.read_tls(&mut bytes).unwrap();
        conn.process_new_packets()?;
    }
    Ok(())
}

fn deliver_to_server(conn: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        conn.read_tls(&mut bytes).unwrap();
        conn.process_new_packets()?;
    }
    Ok(())
}

/// The alert record that ends `output`.
pub fn alert_in(output: &[u8]) -> Option<u8> {
    match output.split_at_checked(output.len().checked_sub(7)?)?.1 {
        [21, 3, _, 0, 2, 2, code] => Some(*code),
        _ => None,
    }
}

/// The records in `bytes`, none of which is cut.
pub fn records_in(bytes: &[u8]) -> Vec<WholeRecord<'_>> {
    let mut records = whole_records(bytes);
    let all = records.by_ref().collect();
    assert!(records.rest().is_empty(), "a record was cut short");
    all
}

/// The content types of whole records.
pub fn kinds(records: &[u8]) -> Vec<u8> {
    records_in(records)
        .iter()
        .map(|record| record.header.content_type)
        .collect()
}

/// Whether `output` is whole records and one of them is encrypted.
pub fn has_sealed_record(output: &[u8]) -> bool {
    kinds(output).contains(&APPLICATION_DATA)
}

/// Both sides derive the same secret: their transcripts agree to the last byte.
pub fn assert_same_exporter(joined: &Joined) {
    let export = |out: [u8; 32]| out;
    let client = joined.client.export_keying_material([0; 32], b"test", None);
    let server = joined.server.export_keying_material([0; 32], b"test", None);
    assert_eq!(export(client.unwrap()), export(server.unwrap()));
}
