//! DNS in the clear over UDP and TCP (RFC 1035 §4.2, RFC 7766).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::message::{EdnsUse, Question, Response, Unusable, framed};

/// Servers to ask, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Classic {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) protocol: Protocol,
}

/// How a server is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Datagrams, and TCP where an answer does not fit into one.
    Udp,
    /// A connection from the start.
    Tcp,
}

/// How long to wait, and how often to ask.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) total: Duration,
    pub(super) tries: u32,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    Io(io::Error),
    Refused(u16),
    Malformed(&'static str),
    Timeout,
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Unusable> for ExchangeError {
    fn from(unusable: Unusable) -> Self {
        Self::Malformed(unusable.reason())
    }
}

/// FORMERR, NOTIMP and BADVERS: a server that may not know EDNS (RFC 6891 §7).
const MAYBE_EDNS: [u16; 3] = [1, 4, 16];

impl Classic {
    /// How many sockets a question may take: one for each try, and every server is tried.
    pub(super) fn sockets(&self, patience: &Patience) -> usize {
        usize::try_from(patience.tries)
            .unwrap_or(1)
            .max(self.servers.len())
    }

    /// Asks the servers in turn. A try goes on listening while the next one has started, so that
    /// a slow answer still counts.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<Response, ExchangeError> {
        let deadline = Instant::now() + patience.total;
        let rounds = self.sockets(patience);
        let mut waiting = self.servers.iter().cycle().take(rounds).copied();
        // Every wait is longer than the one before by the same step, and all fill the time: a lost
        // query is soon sent again, and a slow path is not flooded.
        let steps = u32::try_from(rounds * (rounds + 1) / 2).unwrap_or(u32::MAX);
        let step = patience.total / steps.max(1);
        let mut interval = step;
        let mut refused = Vec::new();
        let mut running = JoinSet::new();
        let mut last = ExchangeError::Timeout;
        loop {
            // A server that has said that it cannot answer is not asked again.
            if let Some(server) = waiting.find(|server| !refused.contains(server)) {
                let (question, patience) = (question.clone(), patience.clone());
                let protocol = self.protocol;
                running.spawn(async move {
                    let result = ask(server, protocol, &question, &patience).await;
                    (server, result)
                });
            } else if running.is_empty() {
                return Err(last);
            }
            let more = waiting.clone().any(|server| !refused.contains(&server));
            tokio::select! {
                Some(joined) = running.join_next() => match joined {
                    Ok((_, Ok(response))) => return Ok(response),
                    Ok((server, Err(error))) => {
                        if !matches!(error, ExchangeError::Timeout) {
                            refused.push(server);
                        }
                        last = error;
                    }
                    Err(error) => return Err(io::Error::other(error).into()),
                },
                () = sleep(interval), if more => interval += step,
                () = sleep_until(deadline) => return Err(last),
            }
        }
    }
}

/// Asks one server once, and once more without EDNS if that may help.
async fn ask(
    server: SocketAddr,
    protocol: Protocol,
    question: &Question,
    patience: &Patience,
) -> Result<Response, ExchangeError> {
    let first = ask_with(server, protocol, question, patience, EdnsUse::Plain).await;
    match first {
        Err(ExchangeError::Refused(rcode)) if MAYBE_EDNS.contains(&rcode) => {
            ask_with(server, protocol, question, patience, EdnsUse::Off).await
        }
        other => other,
    }
}

async fn ask_with(
    server: SocketAddr,
    protocol: Protocol,
    question: &Question,
    patience: &Patience,
    edns: EdnsUse,
) -> Result<Response, ExchangeError> {
    if protocol == Protocol::Udp {
        let response = ask_udp(server, question, edns, patience.total).await?;
        if !response.truncated {
            return accept(response);
        }
    }
    let response = ask_tcp(server, question, edns).await?;
    if response.truncated {
        return Err(ExchangeError::Malformed("it is truncated on a connection"));
    }
    accept(response)
}

/// NOERROR and NXDOMAIN are answers; all else is a refusal to answer.
pub(super) fn accept(response: Response) -> Result<Response, ExchangeError> {
    match response.rcode {
        0 | 3 => Ok(response),
        rcode => Err(ExchangeError::Refused(rcode)),
    }
}

/// A socket of its own for each question: the port adds to what a forger must guess (RFC 5452).
async fn ask_udp(
    server: SocketAddr,
    question: &Question,
    edns: EdnsUse,
    patience: Duration,
) -> Result<Response, ExchangeError> {
    let socket = UdpSocket::bind((source_for(server.ip()), 0)).await?;
    socket.connect(server).await?;
    let id = rand::random();
    socket.send(&question.encode(id, edns)?).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut broken = None;
    let listen = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            match Response::parse(&buffer[..length], question, id) {
                Ok(response) => return Ok(response),
                // Not ours, or damaged on the way: the true answer may still come.
                Err(Unusable::NotOurs(_)) => {}
                Err(unusable) => broken = Some(unusable.reason()),
            }
        }
    };
    // The first try ends before the exchange as a whole does, to tell garbage from silence.
    match timeout(patience.mul_f32(0.9), listen).await {
        Ok(result) => result,
        Err(_) => Err(broken.map_or(ExchangeError::Timeout, ExchangeError::Malformed)),
    }
}

/// Asks from loopback on loopback; elsewhere the system picks.
pub(super) fn source_for(server: IpAddr) -> IpAddr {
    match server {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

async fn ask_tcp(
    server: SocketAddr,
    question: &Question,
    edns: EdnsUse,
) -> Result<Response, ExchangeError> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let id = rand::random();
    let query = question.encode(id, edns)?;
    stream.write_all(&framed(query)?).await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Response::parse(&message, question, id)?)
}
