//! Encrypted Client Hello (RFC 9849) without sockets, clocks or tasks: bytes and values in, bytes
//! and values out.
//!
//! Every rule of the protocol lives here, so that it is tested in microseconds and used alike by
//! clients, servers and tools. The crate `echkit` adds sockets and time.
//!
//! - [`config`]: ECHConfigList: parse, encode, select.
//! - [`hpke`]: HPKE in base mode (RFC 9180).
//! - [`key`]: ECH key pairs and their files (RFC 9934).
//! - [`key_log`]: what a key log says of ECH offers (RFC 9850).
//! - [`encoding`]: bytes as people write them: binary, hexadecimal, base64.
//! - [`pem`]: blocks of PEM text, which may be private keys (RFC 7468).
//! - [`svcb`]: HTTPS records and what they mean for a client (RFC 9460, RFC 9848).
//! - [`dns`]: DNS messages and CNAME chains (RFC 1035, RFC 2308).
//! - [`race`]: which connection to start when (Happy Eyeballs).
//! - [`tls_record`]: where TLS records begin and end (RFC 8446 §5.1).
//! - [`hello`]: a ClientHello as bytes with a map, and its way through records.
//! - [`inner`]: EncodedClientHelloInner to ClientHelloInner.
//! - [`accept`]: how a server confirms that it accepted.
//! - [`client`]: what a client may send, and what follows a rejection.
//! - [`server`]: how a server judges a ClientHello.
//! - [`alert`]: the alerts that end a handshake.
//!
//! Features: `x-wing` adds that KEM. `count-setups` counts HPKE set-ups and `test-util` forges
//! answers of a server, both for tests.

pub mod accept;
pub mod alert;
pub mod client;
pub mod codec;
pub mod config;
pub mod dns;
pub mod encoding;
pub mod hello;
pub mod hpke;
pub mod inner;
pub mod key;
pub mod key_log;
pub mod pem;
pub mod race;
pub mod server;
pub mod svcb;
pub mod tls_record;
