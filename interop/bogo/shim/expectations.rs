//! What a connection has to be like.

use std::fmt::Debug;

use rustls::{CommonState, HandshakeKind};

use crate::failure::Failure;
use crate::verifiers::Verified;

/// What the test expects of one connection. Unless it says otherwise: no ECH accepted, no
/// application protocol, and a resumed session in every connection but the first.
#[derive(Clone, Default)]
pub(crate) struct Expectations {
    pub(crate) ech_accepted: bool,
    /// A rejection with these retry_configs, or with none.
    pub(crate) retry_configs: Option<Option<Vec<u8>>>,
    /// For which name a client verifies the certificate.
    pub(crate) verified_name: Option<ExpectedName>,
    /// The name that a server is asked for, or that there is none.
    pub(crate) server_name: Option<Option<String>>,
    pub(crate) session_miss: bool,
    pub(crate) hello_retry: Option<bool>,
    pub(crate) group: Option<u16>,
    pub(crate) version: Option<u16>,
    pub(crate) suite: Option<u16>,
    pub(crate) alpn: Option<String>,
    pub(crate) early_data: Option<bool>,
    pub(crate) peer_scheme: Option<u16>,
}

/// For which name a certificate is verified (RFC 9849 §6.1.7).
#[derive(Clone)]
pub(crate) enum ExpectedName {
    /// The one that the client asked for.
    Own,
    /// The public_name, which this is.
    Public(String),
}

/// What only the side that made a connection knows about it.
pub(crate) struct Seen {
    pub(crate) ech_accepted: bool,
    /// `None` where it cannot be told.
    pub(crate) hello_retry: Option<bool>,
    /// The name that a server was asked for; `None` for clients.
    pub(crate) server_name: Option<Option<String>>,
    pub(crate) early_data: bool,
}

impl Expectations {
    /// Checks a connection whose handshake is done.
    pub(crate) fn check(
        &self,
        connection: &CommonState,
        seen: &Seen,
        verified: &Verified,
        is_resumption: bool,
    ) -> Result<(), Failure> {
        same("ECH accepted", seen.ech_accepted, self.ech_accepted)?;
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        same("resumed", resumed, is_resumption && !self.session_miss)?;
        let alpn = connection.alpn_protocol().map(String::from_utf8_lossy);
        same("ALPN", alpn.as_deref(), self.alpn.as_deref())?;
        let version = connection.protocol_version().map(u16::from);
        same_if("version", version, self.version)?;
        let suite = connection.negotiated_cipher_suite();
        same_if(
            "cipher suite",
            suite.map(|suite| suite.suite().into()),
            self.suite,
        )?;
        let group = connection.negotiated_key_exchange_group();
        same_if("group", group.map(|group| group.name().into()), self.group)?;
        same_if("early data", Some(seen.early_data), self.early_data)?;
        // Under a resumed session nobody signs.
        if !resumed {
            let scheme = verified.scheme().map(u16::from);
            same_if("signature of the peer", scheme, self.peer_scheme)?;
        }
        if let Some(hello_retry) = seen.hello_retry {
            same_if("HelloRetryRequest", Some(hello_retry), self.hello_retry)?;
        }
        same_if(
            "server name",
            seen.server_name.clone(),
            self.server_name.clone(),
        )
    }

    /// Checks for which names a client has verified certificates, whatever became of the handshake.
    pub(crate) fn check_names(&self, names: &[String], own: &str) -> Result<(), Failure> {
        let expected = match &self.verified_name {
            None => return Ok(()),
            Some(ExpectedName::Own) => own,
            Some(ExpectedName::Public(name)) => name,
        };
        // A resumed session verifies none.
        match names.iter().find(|name| *name != expected) {
            Some(other) => same("verified name", other.as_str(), expected),
            None => Ok(()),
        }
    }

    /// Checks a client's handshake that failed; `rejection` holds the retry_configs of a rejection.
    pub(crate) fn check_rejection(
        &self,
        rejection: Option<Option<Vec<u8>>>,
    ) -> Result<(), Failure> {
        match &self.retry_configs {
            None => Ok(()),
            expected => same("retry_configs of a rejection", &rejection, expected),
        }
    }
}

fn same<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Result<(), Failure> {
    match seen == expected {
        true => Ok(()),
        false => Err(Failure::Unmet(format!(
            "{what}: {seen:?}, not {expected:?}"
        ))),
    }
}

fn same_if<T: PartialEq + Debug>(
    what: &str,
    seen: Option<T>,
    expected: Option<T>,
) -> Result<(), Failure> {
    match expected {
        None => Ok(()),
        expected => same(what, seen, expected),
    }
}
