//! A DNS server on loopback that says what a script tells it to, byte for byte.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echkit::dns::{RecordType, Resolver};
use echkit_proto::codec::Reader;
use echkit_proto::svcb::{DomainName, Record};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::pki::Site;

/// What a server says to one question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Records of the type that was asked for, each with this RDATA.
    Records(Vec<Vec<u8>>),
    /// An alias, and nothing about where it leads.
    Cname(&'static str),
    /// An alias, and records of the type at its end.
    CnameTo(&'static str, Vec<Vec<u8>>),
    /// The name is there, the type is not; with or without an SOA record.
    NoData { soa: bool },
    /// The name is not there.
    NxDomain,
    /// Only a response code.
    Rcode(u8),
    /// Nothing at all.
    Silence,
    /// Other delegations.
    Referral,
    /// Truncated over UDP, and this over TCP.
    Truncated(Box<Self>),
    /// Truncated, over TCP too.
    AlwaysTruncated,
    /// Garbage, a forged id, another question: and then this.
    AfterNoise(Box<Self>),
    /// The right id and question, and a record that is cut short.
    CutShort,
    /// FORMERR to queries with EDNS, else this.
    WithoutEdns(Box<Self>),
    /// No answer to queries with EDNS, else this.
    SilentToEdns(Box<Self>),
    /// This, after so many milliseconds.
    Late(u64, Box<Self>),
    /// Silence this many times, then this.
    AfterSilence(usize, Box<Self>),
    /// This, validated by DNSSEC (AD).
    Authentic(Box<Self>),
}

/// A question as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: DomainName,
    pub kind: u16,
    pub tcp: bool,
    pub message: Vec<u8>,
}

impl Asked {
    /// Whether it has an OPT record.
    pub fn edns(&self) -> bool {
        self.message[11] == 1
    }
}

#[derive(Debug)]
pub struct Script {
    replies: HashMap<(DomainName, u16), Reply>,
    pub asked: Mutex<Vec<Asked>>,
}

#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    pub script: Arc<Script>,
}

pub const TTL: u32 = 300;

/// RDATA of an HTTPS record in presentation form.
pub fn https(text: &str) -> Vec<u8> {
    text.parse::<Record>().unwrap().encode().unwrap()
}

pub fn v4(last: u8) -> Vec<u8> {
    Ipv4Addr::new(192, 0, 2, last).octets().to_vec()
}

pub fn v6(last: u16) -> Vec<u8> {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
        .octets()
        .to_vec()
}

impl Script {
    /// Names that are not in the list do not exist; types that are not there have no data.
    pub fn new(replies: impl IntoIterator<Item = (&'static str, RecordType, Reply)>) -> Arc<Self> {
        let replies = replies
            .into_iter()
            .map(|(name, kind, reply)| ((name.parse().unwrap(), kind.0), reply))
            .collect();
        Arc::new(Self {
            replies,
            asked: Mutex::new(Vec::new()),
        })
    }

    /// How often a question was asked.
    pub fn count(&self, name: &str, kind: RecordType) -> usize {
        let name: DomainName = name.parse().unwrap();
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked.name == name && asked.kind == kind.0)
            .count()
    }

    /// How long to wait with the answer.
    fn delay(&self, message: &[u8]) -> Duration {
        let mut reader = Reader::starting_at(message, 12);
        let name = DomainName::read(&mut reader).unwrap();
        let kind = reader.u16().unwrap();
        match self.replies.get(&(name, kind)) {
            Some(Reply::Late(ms, _)) => Duration::from_millis(*ms),
            _ => Duration::ZERO,
        }
    }

    /// The messages to send for one that came.
    pub fn answer(&self, message: &[u8], tcp: bool) -> Vec<Vec<u8>> {
        let mut reader = Reader::starting_at(message, 12);
        let name = DomainName::read(&mut reader).unwrap();
        let kind = reader.u16().unwrap();
        let asked = Asked {
            name: name.clone(),
            kind,
            tcp,
            message: message.to_vec(),
        };
        let before = {
            let mut all = self.asked.lock().unwrap();
            all.push(asked.clone());
            all.iter()
                .filter(|other| other.name == name && other.kind == kind)
                .count()
                - 1
        };
        let exists = self.replies.keys().any(|(known, _)| known.is_within(&name));
        let reply = match self.replies.get(&(name, kind)) {
            Some(reply) => reply.clone(),
            None if exists => Reply::NoData { soa: true },
            None => Reply::NxDomain,
        };
        self.play(&reply, &asked, before)
    }

    fn play(&self, reply: &Reply, asked: &Asked, before: usize) -> Vec<Vec<u8>> {
        let edns = asked.edns();
        let all = |rdata: &[Vec<u8>], owner: &[u8]| -> Vec<Vec<u8>> {
            rdata
                .iter()
                .map(|rdata| record(owner, asked.kind, rdata))
                .collect()
        };
        match reply {
            Reply::Records(rdata) => vec![respond(asked, 0x8180, &all(rdata, b"\xc0\x0c"), &[])],
            Reply::Cname(target) => vec![respond(asked, 0x8180, &[cname(target)], &[])],
            Reply::CnameTo(target, rdata) => {
                let target_name: DomainName = target.parse().unwrap();
                let mut records = vec![cname(target)];
                records.extend(all(rdata, target_name.wire()));
                vec![respond(asked, 0x8180, &records, &[])]
            }
            Reply::NoData { soa: true } => vec![respond(asked, 0x8180, &[], &[soa()])],
            Reply::NoData { soa: false } => vec![respond(asked, 0x8180, &[], &[])],
            Reply::NxDomain => vec![respond(asked, 0x8183, &[], &[soa()])],
            Reply::Rcode(rcode) => vec![respond(asked, 0x8180 | u16::from(*rcode), &[], &[])],
            Reply::Silence => vec![],
            Reply::Referral => {
                vec![respond(
                    asked,
                    0x8000,
                    &[],
                    &[record(b"\x04test\0", 2, b"\x01a\0")],
                )]
            }
            Reply::Truncated(then) if asked.tcp => self.play(then, asked, before),
            Reply::Truncated(_) => vec![respond(asked, 0x8380, &[], &[])],
            Reply::AlwaysTruncated => vec![respond(asked, 0x8380, &[], &[])],
            Reply::AfterNoise(then) => {
                let good = self.play(then, asked, before);
                let mut forged = good[0].clone();
                forged[0] ^= 0xff;
                let mut other = good[0].clone();
                other[13] ^= 1;
                let garbage = vec![0xa5; 40];
                let mut all = vec![vec![], vec![0], garbage, forged, other];
                all.extend(good);
                all
            }
            Reply::CutShort => {
                let mut message = respond(asked, 0x8180, &all(&[vec![1; 40]], b"\xc0\x0c"), &[]);
                message.truncate(message.len() - 7);
                vec![message]
            }
            Reply::WithoutEdns(_) if edns => vec![respond(asked, 0x8181, &[], &[])],
            Reply::WithoutEdns(then) => self.play(then, asked, before),
            Reply::SilentToEdns(_) if edns => vec![],
            Reply::SilentToEdns(then) => self.play(then, asked, before),
            Reply::Late(_, then) => self.play(then, asked, before),
            Reply::AfterSilence(times, _) if before < *times => vec![],
            Reply::AfterSilence(_, then) => self.play(then, asked, before),
            Reply::Authentic(then) => {
                let mut messages = self.play(then, asked, before);
                for message in &mut messages {
                    message[3] |= 0x20;
                }
                messages
            }
        }
    }
}

impl Server {
    pub async fn start(script: Arc<Script>) -> Self {
        // The same port for both protocols.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let for_udp = Arc::clone(&script);
        let udp = Arc::new(udp);
        tokio::spawn(async move {
            let mut buffer = vec![0; 65535];
            loop {
                let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
                let delay = for_udp.delay(&buffer[..length]);
                let messages = for_udp.answer(&buffer[..length], false);
                let udp = Arc::clone(&udp);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    for message in messages {
                        let _ = udp.send_to(&message, peer).await;
                    }
                });
            }
        });
        let for_tcp = Arc::clone(&script);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let script = Arc::clone(&for_tcp);
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut query = vec![0; usize::from(length)];
                        stream.read_exact(&mut query).await.unwrap();
                        for message in script.answer(&query, true) {
                            let length = u16::try_from(message.len()).unwrap();
                            stream.write_u16(length).await.unwrap();
                            stream.write_all(&message).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { address, script }
    }

    pub fn udp(&self) -> String {
        format!("udp://{}", self.address)
    }
}

/// A server's side with a fresh certificate, and that of a client that trusts it alone.
pub fn tls(names: &[&str], alpn: &[u8]) -> (ServerConfig, ClientConfig) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let site = Site::self_signed(names);
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(site.chain(), site.key.clone_key())
        .unwrap();
    server.alpn_protocols = vec![alpn.to_vec()];
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(site.roots())
        .with_no_client_auth();
    (server, client)
}

fn respond(asked: &Asked, flags: u16, answers: &[Vec<u8>], authority: &[Vec<u8>]) -> Vec<u8> {
    let question = asked.name.wire().len() + 4;
    let mut out = asked.message[..2].to_vec();
    let counts = [1, answers.len(), authority.len(), 0];
    out.extend(flags.to_be_bytes());
    out.extend(
        counts
            .iter()
            .flat_map(|count| u16::try_from(*count).unwrap().to_be_bytes()),
    );
    out.extend(&asked.message[12..12 + question]);
    out.extend(answers.concat());
    out.extend(authority.concat());
    out
}

fn record(owner: &[u8], kind: u16, rdata: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rdata.len()).unwrap();
    let head = [
        &kind.to_be_bytes()[..],
        &[0, 1],
        &TTL.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    [owner, &head.concat(), rdata].concat()
}

fn cname(target: &str) -> Vec<u8> {
    let target: DomainName = target.parse().unwrap();
    record(b"\xc0\x0c", 5, target.wire())
}

fn soa() -> Vec<u8> {
    let rdata = [&b"\x02ns\0\x02hm\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
    record(b"\x04test\0", 6, &rdata)
}

/// `NUMBER.test` has the address 192.0.2.NUMBER.
pub fn numbered(count: u8) -> Arc<Script> {
    Script::new((1..=count).map(|number| {
        let name: &'static str = format!("{number}.test").leak();
        (name, RecordType::A, Reply::Records(vec![v4(number)]))
    }))
}

/// Asks for all the numbers at once; each answer must be the right one.
pub async fn ask_all(resolver: &Resolver, count: u8) {
    let mut running = tokio::task::JoinSet::new();
    for number in 1..=count {
        let resolver = resolver.clone();
        let name = format!("{number}.test").parse().unwrap();
        running.spawn(async move {
            let answer = resolver.query(&name, RecordType::A).await.unwrap();
            assert!(answer.protected);
            assert_eq!(answer.rdata, [v4(number)]);
        });
    }
    running.join_all().await;
}
