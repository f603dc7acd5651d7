//! What a peer's server tells its visitor, and how it says it.

use crate::peers::Peer;

/// A peer's word on ECH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EchWord {
    /// Accepted.
    Accepted,
    /// Offered, and not accepted; a server cannot tell a stale key from GREASE.
    NotAccepted,
    /// Nothing was offered, or the peer has no keys and did not look.
    NotOffered,
}

/// The page of a peer's server, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its word on ECH. Go does not tell [`EchWord::NotAccepted`] from [`EchWord::NotOffered`]
    /// and says the latter for both.
    pub ech: EchWord,
    /// The name that it served, where it says so.
    pub server_name: Option<String>,
    /// The name that it saw outside, where it says so.
    pub outer_name: Option<String>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// The protocol version, as `TLSv1.3`.
    pub version: String,
}

impl Page {
    /// Reads the page that `peer` answered with.
    pub fn read(peer: Peer, body: &str) -> Result<Self, String> {
        match peer {
            Peer::OpenSsl => Self::read_openssl(body),
            Peer::Go => Self::read_go(body),
        }
        .ok_or_else(|| format!("cannot read the page of {peer}:\n{body}"))
    }

    /// `s_server -www`: a line about ECH, and one as `New, TLSv1.3, Cipher is …`.
    fn read_openssl(body: &str) -> Option<Self> {
        let mut page = Self {
            ech: EchWord::NotOffered,
            server_name: None,
            outer_name: None,
            resumed: false,
            version: String::new(),
        };
        let mut said = false;
        for line in body.lines() {
            if let Some(names) = line.strip_prefix("ECH success: outer sni: ") {
                let (outer, inner) = names.split_once(", inner sni: ")?;
                page.ech = EchWord::Accepted;
                page.outer_name = Some(outer.to_owned());
                page.server_name = Some(inner.to_owned());
                said = true;
            } else if line.starts_with("ECH attempt we interpret as GREASE") {
                page.ech = EchWord::NotAccepted;
                said = true;
            } else if line == "ECH not attempted" || line == "ECH not configured" {
                said = true;
            }
            for (prefix, resumed) in [("New, ", false), ("Reused, ", true)] {
                if let Some(rest) = line.strip_prefix(prefix) {
                    page.resumed = resumed;
                    page.version = rest.split(',').next()?.to_owned();
                }
            }
        }
        (said && !page.version.is_empty()).then_some(page)
    }

    /// `goecho serve`: one line of `key=value`.
    fn read_go(body: &str) -> Option<Self> {
        let value = |key: &str| {
            body.split_whitespace()
                .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
        };
        let accepted = value("ech_accepted")? == "true";
        Some(Self {
            ech: if accepted {
                EchWord::Accepted
            } else {
                EchWord::NotOffered
            },
            server_name: value("server_name").map(str::to_owned),
            outer_name: None,
            resumed: value("resumed")? == "true",
            version: value("version")?.to_owned(),
        })
    }
}
