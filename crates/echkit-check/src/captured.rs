//! The ClientHellos in a capture file, and what can be said of their ECH extensions.

mod flows;
mod reader;

use std::io::Read;
use std::net::SocketAddr;

use echkit_proto::hello::{ClientHello, EchExtension};
use echkit_proto::key_log::LoggedOffers;
use serde::Serialize;

use crate::trace::client_hellos;
use flows::Flows;

pub use reader::CaptureReadError;

/// A ClientHello in a capture file.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CapturedHello {
    /// The number of the packet that the connection's data begins in, from 1 on, as packet
    /// analysers count.
    pub packet: u64,
    /// The client.
    pub client: SocketAddr,
    /// The server.
    pub server: SocketAddr,
    /// 1, or 2 after a HelloRetryRequest.
    pub number: usize,
    /// Its length as a handshake message.
    pub len: usize,
    /// The name that everyone reads.
    pub server_name: Option<String>,
    /// The application protocols that everyone reads.
    pub alpn: Option<Vec<String>>,
    /// What can be said of its ECH extension.
    pub ech: CapturedEch,
}

/// What can be said of the ECH extension of a captured ClientHello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CapturedEch {
    /// There is none.
    None,
    /// A real offer or GREASE: they look alike, as RFC 9849 §6.2 has it.
    RealOrGrease {
        /// Its `config_id`.
        config_id: u8,
        /// KDF and AEAD.
        suite: String,
        /// The length of the payload.
        payload_len: usize,
    },
    /// A real offer: the secrets in the file open it.
    Real {
        /// Its `config_id`.
        config_id: u8,
        /// KDF and AEAD.
        suite: String,
        /// The name in the ClientHelloInner.
        server_name: Option<String>,
        /// The application protocols in it.
        alpn: Option<Vec<String>>,
    },
    /// A ClientHelloInner, as a client-facing server sends it to a backend server.
    Inner,
    /// It breaks the rules of RFC 9849 §5.
    Malformed {
        /// How.
        why: String,
    },
}

impl CapturedEch {
    /// In words.
    pub fn words(&self) -> String {
        let alike = "real or GREASE: they look alike (RFC 9849 §6.2), and the file has no secret";
        match self {
            Self::None => "no ECH".to_owned(),
            Self::RealOrGrease {
                config_id,
                suite,
                payload_len,
            } => format!("{alike}. config_id {config_id}, {suite}, payload {payload_len} bytes"),
            Self::Real {
                config_id,
                suite,
                server_name,
                ..
            } => format!(
                "real: the file's secret opens it, the name inside is {}. config_id {config_id}, {suite}",
                server_name.as_deref().unwrap_or("missing")
            ),
            Self::Inner => "a ClientHelloInner, on its way to a backend server".to_owned(),
            Self::Malformed { why } => format!("malformed: {why}"),
        }
    }
}

/// What a capture file has.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CapturedHellos {
    /// The packets in it.
    pub packets: u64,
    /// The ClientHellos, in the order of their packets.
    pub hellos: Vec<CapturedHello>,
    /// Connections that were left out: more than are followed at the same time.
    pub left_out: u64,
    /// Why the file could not be read to its end; what comes before counts.
    pub cut: Option<String>,
}

/// Finds the ClientHellos over TCP in a capture file, pcap or pcapng. `key_log` has secrets beside
/// those in the file (RFC 9850); it may be empty.
///
/// QUIC is passed over.
///
/// # Errors
///
/// When it is not a capture file, or of a link type that is not known.
pub fn captured_hellos(
    file: impl Read + Send,
    key_log: &str,
) -> Result<CapturedHellos, CaptureReadError> {
    let mut flows = Flows::default();
    let read = reader::read(file, &mut flows)?;
    let offers = LoggedOffers::parse(&[key_log, &read.key_log].join("\n"));
    let mut hellos = Vec::new();
    for flow in flows.streams() {
        let found = client_hellos(&flow.bytes);
        let mut opener = found
            .first()
            .and_then(|first| offers.opener(first).ok().flatten());
        for (number, hello) in (1..).zip(&found) {
            let opened = opener.as_mut().and_then(|opener| opener.open(hello).ok());
            hellos.push(CapturedHello {
                packet: flow.packet,
                client: flow.client,
                server: flow.server,
                number,
                len: hello.bytes().len(),
                server_name: hello.server_name().map(str::to_owned),
                alpn: alpn(hello),
                ech: ech(hello, opened.as_ref().map(|opened| &opened.inner)),
            });
        }
    }
    Ok(CapturedHellos {
        packets: read.packets,
        hellos,
        left_out: flows.left_out(),
        cut: read.cut,
    })
}

fn ech(hello: &ClientHello, inner: Option<&ClientHello>) -> CapturedEch {
    match (hello.ech(), inner) {
        (Ok(None), _) => CapturedEch::None,
        (Ok(Some(EchExtension::Outer(outer))), Some(inner)) => CapturedEch::Real {
            config_id: outer.config_id,
            suite: outer.suite.to_string(),
            server_name: inner.server_name().map(str::to_owned),
            alpn: alpn(inner),
        },
        (Ok(Some(EchExtension::Outer(outer))), None) => CapturedEch::RealOrGrease {
            config_id: outer.config_id,
            suite: outer.suite.to_string(),
            payload_len: outer.payload.len(),
        },
        (Ok(Some(EchExtension::Inner)), _) => CapturedEch::Inner,
        (Ok(Some(EchExtension::Unknown(kind))), _) => CapturedEch::Malformed {
            why: format!("an ECHClientHelloType of {kind}"),
        },
        (Err(error), _) => CapturedEch::Malformed {
            why: error.to_string(),
        },
    }
}

fn alpn(hello: &ClientHello) -> Option<Vec<String>> {
    let names = hello.alpn()?;
    Some(names.iter().map(|n| n.escape_ascii().to_string()).collect())
}
