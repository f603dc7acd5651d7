//! Peers as servers.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::peers::{Peer, Peers};
use crate::pki::{Pki, Sites};
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
    /// Take early data, and answer nothing (OpenSSL only).
    pub early_data: bool,
    /// The application protocols (Go only; OpenSSL speaks HTTP/1 and chooses none). HTTP/2 and
    /// HTTP/1.1 when empty.
    pub alpn: Vec<String>,
}

/// A peer's server that answers HTTP; it ends when this is dropped.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    peer: Peer,
    process: Process,
}

impl PeerServer {
    /// Starts it on a free port of loopback, with the sites of `pki`.
    pub fn start(&self, peers: &Peers, peer: Peer, pki: &Pki) -> Result<Running, ProcessError> {
        self.start_with(peers, peer, &pki.sites())
    }

    /// Starts it on a free port of loopback.
    pub fn start_with(
        &self,
        peers: &Peers,
        peer: Peer,
        sites: &Sites,
    ) -> Result<Running, ProcessError> {
        let arguments = match peer {
            Peer::OpenSsl => self.openssl_arguments(sites),
            Peer::Go => self.go_arguments(sites),
        };
        // s_server ends with its standard input, where it does not answer by itself.
        let process = Process::start_open(peers.program(peer), &arguments, self.early_data)?;
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

    fn openssl_arguments(&self, sites: &Sites) -> Vec<OsString> {
        let (public, secret) = (&sites.public, &sites.secret);
        let mut arguments: Vec<OsString> = vec![
            "s_server".into(),
            "-accept".into(),
            "127.0.0.1:0".into(),
            if self.early_data {
                "-early_data"
            } else {
                "-www"
            }
            .into(),
            "-msg".into(),
            "-cert".into(),
            public.0.clone().into(),
            "-key".into(),
            public.1.clone().into(),
            "-cert2".into(),
            secret.0.clone().into(),
            "-key2".into(),
            secret.1.clone().into(),
            "-servername".into(),
            sites.secret_name.clone().into(),
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

    fn go_arguments(&self, sites: &Sites) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        // Names that no certificate has get the first one.
        for (chain, key) in [&sites.public, &sites.secret] {
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
        if !self.alpn.is_empty() {
            arguments.extend(["-alpn".into(), self.alpn.join(",").into()]);
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

    /// How many handshakes needed a HelloRetryRequest, out of `handshakes` that were made.
    ///
    /// A client can have its answer before what the peer printed about it is read, so this waits
    /// until the peer has told of all of them.
    pub fn hello_retries(&self, handshakes: usize) -> Result<usize, ProcessError> {
        let said = self.wait_for_handshakes(handshakes)?;
        Ok(match self.peer {
            Peer::Go => said
                .iter()
                .filter(|line| line.contains("\"hello_retry\":true"))
                .count(),
            // `-msg` shows a HelloRetryRequest as a ServerHello; the real one is the message
            // just before EncryptedExtensions.
            Peer::OpenSsl => {
                let hellos = said.iter().filter(|line| sent(line, "ServerHello")).count();
                hellos.saturating_sub(handshakes)
            }
        })
    }

    /// The names that it answered for in the `handshakes` that were made, in alphabetical order:
    /// those outside, and the inner ones that it opened.
    pub fn names(&self, handshakes: usize) -> Result<Vec<String>, ProcessError> {
        let said = |line: &String| match self.peer {
            Peer::OpenSsl => {
                let (_, name) = line.split_once("Hostname in TLS extension: \"")?;
                Some(name.trim_end_matches('"').to_owned())
            }
            Peer::Go => {
                let said: serde_json::Value = serde_json::from_str(line).ok()?;
                Some(said.get("server_name")?.as_str()?.to_owned())
            }
        };
        let lines = self.wait_for_handshakes(handshakes)?;
        let mut names: Vec<String> = lines.iter().filter_map(said).collect();
        names.sort();
        Ok(names)
    }

    /// Waits until it has told of `count` TLS 1.3 handshakes, and gives what it has said so far.
    fn wait_for_handshakes(&self, count: usize) -> Result<Vec<String>, ProcessError> {
        let told = |line: &&String| match self.peer {
            Peer::OpenSsl => sent(line, "EncryptedExtensions"),
            Peer::Go => line.contains("\"event\":\"handshake\""),
        };
        self.process.wait_until("a handshake", |lines| {
            (lines.iter().filter(told).count() >= count).then(|| lines.to_vec())
        })
    }

    /// Waits for a line.
    pub fn wait_for_line(&self, line: &str) -> Result<(), ProcessError> {
        self.process
            .wait_for(line, |said| said.contains(line).then_some(()))
    }

    /// All that it printed, for the reader of a failure.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// Whether a line of `-msg` says that this message was sent.
fn sent(line: &str, message: &str) -> bool {
    line.starts_with(">>>") && line.ends_with(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pki::{PUBLIC_NAME, SECRET_NAME};

    /// A peer that answers before anybody has read what it prints.
    fn late(peer: Peer, lines: &[&str]) -> Running {
        let mut script = "sleep 0.3".to_owned();
        for line in lines {
            script.push_str(&format!("; echo '{line}'"));
        }
        let process =
            Process::start("/bin/sh".as_ref(), &["-c".into(), script.into()], None).unwrap();
        Running {
            address: ([127, 0, 0, 1], 0).into(),
            peer,
            process,
        }
    }

    #[test]
    fn what_a_peer_says_late_is_waited_for() {
        let go = late(
            Peer::Go,
            &[
                r#"{"event":"listening","address":"127.0.0.1:1"}"#,
                r#"{"event":"handshake","server_name":"secret.example","hello_retry":true}"#,
                r#"{"event":"handshake","server_name":"public.example","hello_retry":false}"#,
            ],
        );
        assert_eq!(go.hello_retries(2).unwrap(), 1);
        assert_eq!(go.names(2).unwrap(), [PUBLIC_NAME, SECRET_NAME]);

        let openssl = late(
            Peer::OpenSsl,
            &[
                ">>> TLS 1.3, Handshake [length 0058], ServerHello",
                ">>> TLS 1.3, Handshake [length 009b], ServerHello",
                "Hostname in TLS extension: \"secret.example\"",
                ">>> TLS 1.3, Handshake [length 000a], EncryptedExtensions",
            ],
        );
        assert_eq!(openssl.hello_retries(1).unwrap(), 1);
        assert_eq!(openssl.names(1).unwrap(), [SECRET_NAME]);
    }

    #[test]
    fn what_a_peer_never_says_is_no_answer() {
        let go = late(Peer::Go, &[r#"{"event":"handshake","hello_retry":true}"#]);
        let error = go.hello_retries(2).unwrap_err().to_string();
        assert!(error.contains("never said a handshake"), "{error}");
    }
}
