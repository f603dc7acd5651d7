//! ECH keys made by peers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::peers::{Peer, Peers};
use crate::process::Process;

/// An ECH key in a file of RFC 9934.
#[derive(Clone, Debug)]
pub struct PeerKey {
    /// The file.
    pub path: PathBuf,
    /// Its ECHConfigList.
    pub list: Vec<u8>,
}

impl PeerKey {
    /// Lets a peer make a key: `kem`, `kdf` and `aead` are the numbers of RFC 9180 §7.
    pub fn make(
        peers: &Peers,
        peer: Peer,
        path: &Path,
        (kem, kdf, aead): (u16, u16, u16),
        public_name: &str,
    ) -> Result<Self, String> {
        let mut arguments: Vec<OsString> = Vec::new();
        match peer {
            Peer::OpenSsl => {
                let suite = format!("{kem:#x},{kdf},{aead}");
                for argument in ["ech", "-public_name", public_name, "-suite", &suite] {
                    arguments.push(argument.into());
                }
            }
            Peer::Go => {
                let kem = match kem {
                    0x0010 => "p256",
                    0x0011 => "p384",
                    0x0012 => "p521",
                    0x0020 => "x25519",
                    other => return Err(format!("goecho writes no file for KEM {other:#06x}")),
                };
                let suite = format!("{kdf}:{aead}");
                // OpenSSL draws its config_id; a fixed one here makes keys of both differ.
                let fixed = ["gen", "-kem", kem, "-public-name", public_name, "-id", "77"];
                arguments.extend(fixed.map(OsString::from));
                arguments.extend(["-suites", &suite].map(OsString::from));
            }
        }
        arguments.extend(["-out".into(), path.into()]);
        let finished = Process::start(peers.program(peer), &arguments, None)
            .and_then(Process::finish)
            .map_err(|error| error.to_string())?;
        if !finished.status.success() {
            return Err(format!("{peer} made no key: {}", finished.output));
        }
        Self::read(path)
    }

    /// Reads a file with plain means, so that echkit's own reader is not its own judge.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let block = text
            .split_once("-----BEGIN ECHCONFIG-----")
            .and_then(|(_, rest)| rest.split_once("-----END ECHCONFIG-----"))
            .ok_or_else(|| format!("{} has no ECHCONFIG block", path.display()))?
            .0;
        let packed: String = block.split_whitespace().collect();
        let list = data_encoding::BASE64
            .decode(packed.as_bytes())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            list,
        })
    }
}
