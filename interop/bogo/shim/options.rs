//! The runner's options, as far as this shim has them.

mod cursor;

use std::path::PathBuf;

use crate::expectations::{Expectations, ExpectedName};
use crate::failure::Failure;
use cursor::Cursor;

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// What the process is to do.
pub(crate) enum Command {
    /// The runner asks for a second process for split handshakes, which is BoringSSL's own.
    IsHandshakerSupported,
    /// Make connections.
    Connect(Box<Options>),
}

/// The options of a test.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) is_ipv6: bool,
    /// Sent first on each connection, so that the runner knows which test it belongs to.
    pub(crate) shim_id: u64,
    pub(crate) is_server: bool,
    /// An option of our own: be a backend server of split mode.
    pub(crate) is_backend: bool,
    /// How many connections follow the first one.
    pub(crate) resumptions: usize,
    pub(crate) initial: ConnectionOptions,
    pub(crate) resumed: ConnectionOptions,
}

/// The options of one connection.
#[derive(Clone, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) ocsp_response: Option<Vec<u8>>,
    /// Signature schemes to sign with, in order of preference; empty for the key's own order.
    pub(crate) signing_schemes: Vec<u16>,
    /// Signature schemes to accept from the peer; empty for all.
    pub(crate) verified_schemes: Vec<u16>,
    pub(crate) trust_file: Option<PathBuf>,
    /// Whether a server asks for a client certificate, and whether it must get one.
    pub(crate) asks_for_certificate: bool,
    pub(crate) requires_certificate: bool,
    /// Refuse whatever certificate the peer shows.
    pub(crate) fails_verification: bool,
    /// Key exchange groups; empty for the default.
    pub(crate) groups: Vec<u16>,
    pub(crate) min_version: Option<u16>,
    pub(crate) max_version: Option<u16>,
    pub(crate) host_name: Option<String>,
    /// Application protocols that a client offers, or the one that a server selects.
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) ech_configs: Vec<Vec<u8>>,
    pub(crate) ech_keys: Vec<Vec<u8>>,
    pub(crate) ech_is_retry_config: Vec<bool>,
    pub(crate) ech_config_list: Option<Vec<u8>>,
    pub(crate) sends_grease: bool,
    pub(crate) requires_usable_config: bool,
    pub(crate) has_no_tickets: bool,
    pub(crate) takes_early_data: bool,
    /// The hello is looked at before it is answered.
    pub(crate) chooses_by_hello: bool,
    /// Bytes arrive one by one.
    pub(crate) reads_bytewise: bool,
    pub(crate) read_size: Option<usize>,
    pub(crate) max_fragment: Option<usize>,
    pub(crate) writes_first: bool,
    pub(crate) first_write: Option<String>,
    pub(crate) shuts_down: bool,
    pub(crate) checks_close_notify: bool,
    pub(crate) updates_keys: bool,
    pub(crate) export: Export,
    pub(crate) expected: Expectations,
}

/// Keying material to export and send (RFC 8446 §7.5).
#[derive(Clone, Default)]
pub(crate) struct Export {
    pub(crate) length: usize,
    pub(crate) label: String,
    pub(crate) context: String,
    pub(crate) has_context: bool,
}

impl ConnectionOptions {
    /// Whether a client with these options offers ECH or GREASE, where a config is usable.
    pub(crate) fn offers_ech(&self) -> bool {
        self.ech_config_list.is_some() || self.sends_grease
    }

    /// The versions of TLS that the options leave, of those that rustls has.
    pub(crate) fn versions(&self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let least = self.min_version.unwrap_or(0);
        let most = self.max_version.unwrap_or(TLS13);
        let known = [
            (TLS13, &rustls::version::TLS13),
            (TLS12, &rustls::version::TLS12),
        ];
        let left = known
            .into_iter()
            .filter(|(number, _)| (least..=most).contains(number));
        left.map(|(_, version)| version).collect()
    }
}

/// Reads the command line.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, Failure> {
    let arguments: Vec<String> = arguments.collect();
    let mut cursor = Cursor::new(&arguments);
    let mut options = Box::<Options>::default();
    while let Some(argument) = cursor.next() {
        match argument {
            "-is-handshaker-supported" => return Ok(Command::IsHandshakerSupported),
            "-port" => options.port = cursor.number()?,
            "-ipv6" => options.is_ipv6 = true,
            "-shim-id" => options.shim_id = cursor.number()?,
            "-server" => options.is_server = true,
            "-backend-server" => options.is_backend = true,
            "-resume-count" => options.resumptions = cursor.number()?,
            other => {
                // Without one of the prefixes, an option holds for all connections.
                if let Some(name) = other.strip_prefix("-on-initial") {
                    options.initial.set(name, &mut cursor)?;
                } else if let Some(name) = other.strip_prefix("-on-resume") {
                    options.resumed.set(name, &mut cursor)?;
                } else if let Some(name) = other.strip_prefix("-on-handshaker") {
                    // There is no handshaker beside this shim.
                    ConnectionOptions::default().set(name, &mut cursor)?;
                } else {
                    let name = other.strip_prefix("-on-shim").unwrap_or(other);
                    let mut again = cursor.clone();
                    options.initial.set(name, &mut again)?;
                    options.resumed.set(name, &mut cursor)?;
                }
            }
        }
    }
    options.check()?;
    Ok(Command::Connect(options))
}

impl Options {
    /// Whether any of the connections takes early data.
    pub(crate) fn takes_early_data(&self) -> bool {
        self.initial.takes_early_data || self.resumed.takes_early_data
    }

    /// Refuses what depends on the side.
    fn check(&self) -> Result<(), Failure> {
        let declined = |option: &str| Err(Failure::Declined(option.to_owned()));
        for connection in [&self.initial, &self.resumed] {
            if connection.takes_early_data && !self.is_server {
                return declined("-enable-early-data of a client");
            }
            let below_tls13 = connection
                .max_version
                .is_some_and(|version| version < TLS13);
            if !self.is_server && connection.offers_ech() && below_tls13 {
                return declined("-max-version of a client that offers ECH");
            }
            if connection.fails_verification && !connection.asks_for_certificate {
                return declined("-verify-fail without -verify-peer");
            }
            if connection.versions().is_empty() {
                return declined("a version below TLS 1.2");
            }
        }
        Ok(())
    }
}

impl ConnectionOptions {
    /// Sets one option.
    fn set(&mut self, name: &str, values: &mut Cursor<'_>) -> Result<(), Failure> {
        match name {
            "-cert-file" => self.certificate_file = Some(values.text()?.into()),
            "-key-file" => self.key_file = Some(values.text()?.into()),
            "-ocsp-response" => self.ocsp_response = Some(values.base64()?),
            "-signing-prefs" => self.signing_schemes.push(values.number()?),
            "-verify-prefs" => self.verified_schemes.push(values.number()?),
            "-trust-cert" => self.trust_file = Some(values.text()?.into()),
            "-verify-peer" => self.asks_for_certificate = true,
            "-require-any-client-certificate" => {
                self.asks_for_certificate = true;
                self.requires_certificate = true;
            }
            "-verify-fail" => self.fails_verification = true,
            "-curves" => self.groups.push(values.number()?),
            "-min-version" => self.min_version = Some(values.number()?),
            "-max-version" => self.max_version = Some(values.number()?),
            "-no-tls13" => self.max_version = Some(TLS12),
            "-no-tls12" => self.min_version = Some(TLS13),
            "-host-name" => self.host_name = Some(values.text()?.to_owned()),
            "-advertise-alpn" => self.alpn = values.length_prefixed()?,
            "-select-alpn" => {
                // Empty for none, in one of two connections.
                let protocol = Some(values.text()?).filter(|protocol| !protocol.is_empty());
                self.alpn = protocol
                    .iter()
                    .map(|name| name.as_bytes().to_owned())
                    .collect();
                self.expected.alpn = protocol.map(str::to_owned);
            }
            "-ech-server-config" => self.ech_configs.push(values.base64()?),
            "-ech-server-key" => self.ech_keys.push(values.base64()?),
            "-ech-is-retry-config" => {
                self.ech_is_retry_config.push(values.number::<u8>()? != 0);
            }
            "-ech-config-list" => self.ech_config_list = Some(values.base64()?),
            "-enable-ech-grease" => self.sends_grease = true,
            "-reject-unusable-ech-config" => self.requires_usable_config = true,
            "-no-ticket" => self.has_no_tickets = true,
            "-enable-early-data" => self.takes_early_data = true,
            "-use-early-callback" => self.chooses_by_hello = true,
            "-async" => self.reads_bytewise = true,
            "-read-size" => self.read_size = Some(values.number()?),
            "-max-send-fragment" => self.max_fragment = Some(values.number()?),
            "-shim-writes-first" => self.writes_first = true,
            "-shim-initial-write" => self.first_write = Some(values.text()?.to_owned()),
            "-shim-shuts-down" => self.shuts_down = true,
            "-check-close-notify" => self.checks_close_notify = true,
            "-key-update" => self.updates_keys = true,
            "-export-keying-material" => self.export.length = values.number()?,
            "-export-label" => self.export.label = values.text()?.to_owned(),
            "-export-context" => self.export.context = values.text()?.to_owned(),
            "-use-export-context" => self.export.has_context = true,
            // There are no such versions, no other way to run a handshake, and no other callback.
            "-no-tls1"
            | "-no-tls11"
            | "-implicit-handshake"
            | "-no-op-extra-handshake"
            | "-use-custom-verify-callback"
            | "-decline-alpn" => {}
            // rustls does not verify again, and the name is checked wherever it does verify.
            "-reverify-on-resume" => {}
            // A certificate that is shown is verified, or the handshake fails.
            "-expect-verify-result" => {}
            // The trace of a callback of BoringSSL's; the handshake itself is checked.
            "-expect-msg-callback" => {
                values.text()?;
            }
            _ => return self.expect(name, values),
        }
        Ok(())
    }

    /// Sets what a connection has to be like.
    fn expect(&mut self, name: &str, values: &mut Cursor<'_>) -> Result<(), Failure> {
        let expected = &mut self.expected;
        match name {
            "-expect-ech-accept" => expected.ech_accepted = true,
            "-expect-ech-retry-configs" => expected.retry_configs = Some(Some(values.base64()?)),
            "-expect-no-ech-retry-configs" => expected.retry_configs = Some(None),
            "-expect-ech-name-override" => {
                expected.verified_name = Some(ExpectedName::Public(values.text()?.to_owned()));
            }
            "-expect-no-ech-name-override" => expected.verified_name = Some(ExpectedName::Own),
            "-expect-server-name" => {
                expected.server_name = Some(Some(values.text()?.to_owned()));
            }
            "-expect-no-server-name" => expected.server_name = Some(None),
            "-expect-session-miss" => expected.session_miss = true,
            "-expect-hrr" => expected.hello_retry = Some(true),
            "-expect-no-hrr" => expected.hello_retry = Some(false),
            "-expect-curve-id" => expected.group = Some(values.number()?),
            "-expect-version" => expected.version = Some(values.number()?),
            "-expect-cipher" => expected.suite = Some(values.number()?),
            "-expect-alpn" => expected.alpn = Some(values.text()?.to_owned()),
            "-expect-accept-early-data" => expected.early_data = Some(true),
            "-expect-reject-early-data" => expected.early_data = Some(false),
            // The reason is BoringSSL's name; that data was taken, or not, can be checked.
            "-expect-early-data-reason" => expected.early_data = Some(values.text()? == "accept"),
            "-expect-peer-signature-algorithm" => {
                expected.peer_scheme = Some(values.number()?);
            }
            other => return Err(Failure::Declined(other.to_owned())),
        }
        Ok(())
    }
}
