//! Peers as clients.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

use crate::page::EchWord;
use crate::peers::{Peer, Peers};
use crate::pki::{Pki, SECRET_NAME};
use crate::process::{Process, ProcessError};

/// What a peer's client offers.
#[derive(Clone, Debug, Default)]
pub enum Offer {
    /// No ECH.
    #[default]
    Nothing,
    /// GREASE (OpenSSL only).
    Grease,
    /// Real ECH from an ECHConfigList.
    List(Vec<u8>),
}

/// How to run a peer's client.
#[derive(Clone, Debug, Default)]
pub struct PeerClient {
    /// What to offer.
    pub offer: Offer,
    /// Connect twice, and resume the session the second time.
    pub resume: bool,
    /// Speak TLS 1.2 and nothing newer.
    pub tls12: bool,
    /// Offer TLS 1.2 beside TLS 1.3 (OpenSSL puts both inside the inner hello too).
    pub also_tls12: bool,
    /// More arguments for `s_client`.
    pub extra: Vec<&'static str>,
}

/// What a peer's client says about a connection.
#[derive(Clone, Debug)]
pub struct ClientWord {
    /// Its word on ECH; GREASE counts as [`EchWord::NotAccepted`].
    pub ech: EchWord,
    /// The ECHConfigList that a rejection came with.
    pub retry_configs: Option<Vec<u8>>,
    /// Whether the handshake was done and an HTTP answer came.
    pub answered: bool,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// Whether a HelloRetryRequest came.
    pub hello_retry: bool,
    /// The protocol version, as `TLSv1.3`; empty when there was none.
    pub version: String,
    /// The answer's body.
    pub body: String,
    /// All that it printed.
    pub output: String,
}

impl PeerClient {
    /// A client that offers `list`.
    pub fn offering(list: &[u8]) -> Self {
        Self {
            offer: Offer::List(list.to_owned()),
            ..Self::default()
        }
    }

    /// Connects to `address` as [`SECRET_NAME`] and asks for `/`: one word for each connection.
    pub fn run(
        &self,
        peers: &Peers,
        peer: Peer,
        pki: &Pki,
        address: SocketAddr,
    ) -> Result<Vec<ClientWord>, ProcessError> {
        match peer {
            Peer::OpenSsl => self.run_openssl(peers, pki, address),
            Peer::Go => self.run_go(peers, pki, address),
        }
    }

    /// Connects twice with OpenSSL's client: the second resumes the session of the first, and sends
    /// `file` as early data.
    pub fn run_early(
        &self,
        peers: &Peers,
        pki: &Pki,
        address: SocketAddr,
        file: &Path,
    ) -> Result<(ClientWord, ClientWord), ProcessError> {
        let session = pki
            .folder()
            .join(format!("early-session-{}.pem", address.port()));
        let round = |more: &[OsString], until: &str| {
            let mut arguments = self.openssl_arguments(pki, address);
            arguments.extend_from_slice(more);
            let client = Process::start_open(peers.program(Peer::OpenSsl), &arguments, true)?;
            client.wait_for(until, |line| line.contains(until).then_some(()))?;
            Ok::<_, ProcessError>(read_s_client(client.finish()?.output))
        };
        // Tickets come after the handshake.
        let save = ["-sess_out".into(), session.clone().into()];
        let first = round(&save, "TLS session ticket:")?;
        let resume = ["-sess_in".into(), session.into()];
        let early = ["-early_data".into(), file.into()];
        let second = round(&[resume, early].concat(), "Early data was")?;
        Ok((first, second))
    }

    fn openssl_arguments(&self, pki: &Pki, address: SocketAddr) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![
            "s_client".into(),
            "-connect".into(),
            address.to_string().into(),
            "-CAfile".into(),
            pki.authority_file().into(),
            "-verify_return_error".into(),
            "-servername".into(),
            SECRET_NAME.into(),
            "-verify_hostname".into(),
            SECRET_NAME.into(),
            "-msg".into(),
        ];
        if self.tls12 {
            arguments.push("-tls1_2".into());
        } else if !self.also_tls12 {
            arguments.push("-tls1_3".into());
        }
        match &self.offer {
            Offer::Nothing => {}
            Offer::Grease => arguments.push("-ech_grease".into()),
            Offer::List(list) => {
                arguments.extend(["-ech_config_list".into(), BASE64.encode(list).into()]);
            }
        }
        arguments
    }

    fn run_openssl(
        &self,
        peers: &Peers,
        pki: &Pki,
        address: SocketAddr,
    ) -> Result<Vec<ClientWord>, ProcessError> {
        let session = pki.folder().join(format!("session-{}.pem", address.port()));
        let mut words = Vec::new();
        for round in 0..=usize::from(self.resume) {
            let mut arguments = self.openssl_arguments(pki, address);
            arguments.push("-ign_eof".into());
            if self.resume {
                let option = if round == 0 { "-sess_out" } else { "-sess_in" };
                arguments.extend([option.into(), session.clone().into()]);
            }
            arguments.extend(self.extra.iter().map(OsString::from));
            let request = format!("GET / HTTP/1.0\r\nHost: {SECRET_NAME}\r\n\r\n");
            let program = peers.program(Peer::OpenSsl);
            let finished =
                Process::start(program, &arguments, Some(request.as_bytes()))?.finish()?;
            words.push(read_s_client(finished.output));
        }
        Ok(words)
    }

    fn run_go(
        &self,
        peers: &Peers,
        pki: &Pki,
        address: SocketAddr,
    ) -> Result<Vec<ClientWord>, ProcessError> {
        let mut arguments: Vec<OsString> = vec![
            "connect".into(),
            "-address".into(),
            address.to_string().into(),
            "-ca".into(),
            pki.authority_file().into(),
            "-name".into(),
            SECRET_NAME.into(),
            "-get".into(),
        ];
        if let Offer::List(list) = &self.offer {
            arguments.extend(["-ech".into(), BASE64.encode(list).into()]);
        }
        if self.resume {
            arguments.extend(["-times".into(), "2".into()]);
        }
        if self.tls12 {
            arguments.extend(["-max-version".into(), "1.2".into()]);
        }
        let finished = Process::start(peers.program(Peer::Go), &arguments, None)?.finish()?;
        let offered = !matches!(self.offer, Offer::Nothing);
        Ok(finished
            .output
            .lines()
            .map(|line| read_goecho(line, offered))
            .collect())
    }
}

/// Reads the output of `s_client -msg`.
fn read_s_client(output: String) -> ClientWord {
    let mut word = ClientWord {
        ech: EchWord::NotOffered,
        retry_configs: None,
        answered: false,
        resumed: false,
        hello_retry: false,
        version: String::new(),
        body: String::new(),
        output: String::new(),
    };
    let mut server_hellos = 0;
    let mut retry_configs = Vec::new();
    for line in output.lines() {
        if line.starts_with("<<<") && line.ends_with("ServerHello") {
            server_hellos += 1;
        } else if line == "ECH: success: 1" {
            word.ech = EchWord::Accepted;
        } else if line.starts_with("ECH: failed")
            || line.starts_with("ECH: tried but failed")
            || line.starts_with("ECH: GREASE")
        {
            word.ech = EchWord::NotAccepted;
        } else if let Some(config) = line.strip_prefix("ECH: \t[") {
            retry_configs.extend(encode_shown_config(config).unwrap_or_default());
        }
        for (prefix, resumed) in [("New, ", false), ("Reused, ", true)] {
            if let Some(rest) = line.strip_prefix(prefix) {
                word.resumed |= resumed;
                let version = rest.split(',').next().unwrap_or_default();
                if version != "(NONE)" {
                    word.version = version.to_owned();
                }
            }
        }
    }
    word.hello_retry = server_hellos > 1;
    if !retry_configs.is_empty() {
        let mut list = (retry_configs.len() as u16).to_be_bytes().to_vec();
        list.append(&mut retry_configs);
        word.retry_configs = Some(list);
    }
    if let Some(body) = output
        .lines()
        .find(|line| line.starts_with("{") && line.ends_with("}"))
    {
        word.body = body.to_owned();
        word.answered = true;
    }
    word.output = output;
    word
}

/// Encodes an ECHConfig with one suite and no extensions from what `s_client` shows of it:
/// `fe0d,ID,NAME,[KEM,KDF,AEAD],KEY,MAXIMUM,00]`.
fn encode_shown_config(shown: &str) -> Option<Vec<u8>> {
    let shown = shown.trim_end().strip_suffix(']')?;
    let parts: Vec<&str> = shown.split([',', '[', ']']).collect();
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let [
        _version,
        id,
        name,
        kem,
        kdf,
        aead,
        key,
        maximum,
        _extensions,
    ] = parts[..]
    else {
        return None;
    };
    let hex = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let key = hex(key)?;
    let mut contents = hex(id)?;
    contents.extend(hex(kem)?);
    contents.extend(u16::try_from(key.len()).ok()?.to_be_bytes());
    contents.extend(key);
    contents.extend([0, 4]);
    contents.extend(hex(kdf)?);
    contents.extend(hex(aead)?);
    contents.extend(hex(maximum)?);
    contents.push(u8::try_from(name.len()).ok()?);
    contents.extend(name.as_bytes());
    contents.extend([0, 0]);
    let mut config = vec![0xfe, 0x0d];
    config.extend(u16::try_from(contents.len()).ok()?.to_be_bytes());
    config.extend(contents);
    Some(config)
}

/// Reads one line of `goecho connect`.
fn read_goecho(line: &str, offered: bool) -> ClientWord {
    let said: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    let flag = |key: &str| said[key].as_bool().unwrap_or_default();
    let retry = BASE64.decode(text("retry_configs").as_bytes());
    let done = text("error").is_empty() && said.is_object();
    ClientWord {
        ech: match (flag("ech_accepted"), offered) {
            (true, _) => EchWord::Accepted,
            (false, true) => EchWord::NotAccepted,
            (false, false) => EchWord::NotOffered,
        },
        retry_configs: retry.ok().filter(|list| !list.is_empty()),
        answered: done,
        resumed: flag("resumed"),
        hello_retry: flag("hello_retry"),
        version: text("version").replace("TLS ", "TLSv"),
        body: text("body"),
        output: line.to_owned(),
    }
}
