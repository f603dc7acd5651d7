//! Peers as servers.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::peers::{Peer, Peers};
use crate::pki::{PUBLIC_NAME, Pki, SECRET_NAME};
use crate::process::{Process, ProcessError};

/// How to run a peer's server, and the running one.
#[derive(Debug, Default)]
pub struct PeerServer {
    /// Key files whose configs go into retry_configs.
    pub keys: Vec<PathBuf>,
    /// Key files that open hellos only.
    pub decrypt_only: Vec<PathBuf>,
    /// Keys as `CONFIG:PRIVATE` in hex, sent in retry_configs (Go only): for those without a file.
    pub raw_keys: Vec<String>,
    /// Take part in a group only that clients offer no share for: HelloRetryRequest.
    pub hello_retry: bool,
    /// Speak TLS 1.2 and nothing newer.
    pub tls12: bool,
}

/// A peer's server that answers HTTP; it ends when this is dropped.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    peer: Peer,
    process: Process,
}

impl PeerServer {
    /// Starts it on a free port of loopback.
    pub fn start(&self, peers: &Peers, peer: Peer, pki: &Pki) -> Result<Running, ProcessError> {
        let arguments = match peer {
            Peer::OpenSsl => self.openssl_arguments(pki),
            Peer::Go => self.go_arguments(pki),
        };
        let process = Process::start(peers.program(peer), &arguments, None)?;
        let address = process.wait_for("its address", |line| match peer {
            Peer::OpenSsl => line.strip_prefix("ACCEPT ")?.parse().ok(),
            Peer::Go => {
                let said: serde_json::Value = serde_json::from_str(line).ok()?;
                said.get("address")?.as_str()?.parse().ok()
            }
        })?;
        Ok(Running {
            address,
            peer,
            process,
        })
    }

    fn openssl_arguments(&self, pki: &Pki) -> Vec<OsString> {
        let (public, secret) = (pki.files(PUBLIC_NAME), pki.files(SECRET_NAME));
        let mut arguments: Vec<OsString> = vec![
            "s_server".into(),
            "-accept".into(),
            "127.0.0.1:0".into(),
            "-www".into(),
            "-msg".into(),
            "-cert".into(),
            public.0.into(),
            "-key".into(),
            public.1.into(),
            "-cert2".into(),
            secret.0.into(),
            "-key2".into(),
            secret.1.into(),
            "-servername".into(),
            SECRET_NAME.into(),
            if self.tls12 { "-tls1_2" } else { "-tls1_3" }.into(),
        ];
        // Every ECH key file goes through a folder, since -ech_key may be given once only.
        for (option, files) in [
            ("-ech_dir", &self.keys),
            ("-ech_noretry_dir", &self.decrypt_only),
        ] {
            if let Some(folder) = files.first().and_then(|file| file.parent()) {
                arguments.extend([option.into(), folder.into()]);
            }
        }
        if self.hello_retry {
            arguments.extend(["-groups".into(), "P-384".into()]);
        }
        arguments
    }

    fn go_arguments(&self, pki: &Pki) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        for name in [PUBLIC_NAME, SECRET_NAME] {
            let (chain, key) = pki.files(name);
            let mut pair = OsString::from(chain);
            pair.push(",");
            pair.push(key);
            arguments.extend(["-cert".into(), pair]);
        }
        for (option, files) in [("-ech-key", &self.keys), ("-stale-key", &self.decrypt_only)] {
            for file in files {
                arguments.extend([option.into(), file.into()]);
            }
        }
        for key in &self.raw_keys {
            arguments.extend(["-raw-key".into(), key.into()]);
        }
        if self.hello_retry {
            arguments.extend(["-curves".into(), "p384".into()]);
        }
        if self.tls12 {
            arguments.extend(["-max-version".into(), "1.2".into()]);
        }
        arguments
    }
}

impl Running {
    /// Waits until it has told of `count` handshakes in which it did not accept ECH, where
    /// OpenSSL counts only those that the client ended with `ech_required` (RFC 9849 §6.1.6).
    pub fn wait_for_rejections(&self, count: usize) -> Result<(), ProcessError> {
        let said = match self.peer {
            Peer::OpenSsl => "SSL alert number 121",
            Peer::Go => "\"ech_accepted\":false",
        };
        self.process.wait_until("a rejection", |lines| {
            let seen = lines.iter().filter(|line| line.contains(said)).count();
            (seen >= count).then_some(())
        })
    }

    /// How many handshakes needed a HelloRetryRequest.
    pub fn hello_retries(&self) -> usize {
        let output = self.process.output();
        match self.peer {
            Peer::Go => output.matches("\"hello_retry\":true").count(),
            // `-msg` shows a HelloRetryRequest as a ServerHello; the real one is the message
            // just before EncryptedExtensions.
            Peer::OpenSsl => {
                let sent = |what: &str| {
                    output
                        .lines()
                        .filter(|line| line.starts_with(">>>") && line.ends_with(what))
                        .count()
                };
                sent("ServerHello").saturating_sub(sent("EncryptedExtensions"))
            }
        }
    }

    /// The names that it answered for: those outside, and the inner ones that it opened.
    pub fn names(&self) -> Vec<String> {
        let output = self.process.output();
        let said = |line: &str| match self.peer {
            Peer::OpenSsl => {
                let (_, name) = line.split_once("Hostname in TLS extension: \"")?;
                Some(name.trim_end_matches('"').to_owned())
            }
            Peer::Go => {
                let said: serde_json::Value = serde_json::from_str(line).ok()?;
                Some(said.get("server_name")?.as_str()?.to_owned())
            }
        };
        output.lines().filter_map(said).collect()
    }

    /// All that it printed, for the reader of a failure.
    pub fn output(&self) -> String {
        self.process.output()
    }
}
