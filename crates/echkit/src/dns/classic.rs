//! DNS in the clear over UDP and TCP (RFC 1035 §4.2, RFC 7766).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echkit_proto::dns::{DnsResponse, EdnsUse, Question, ResponseError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::exchange::{ExchangeError, Patience, accept, whole};
use super::network::source_for;

/// Servers to ask, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Classic {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) protocol: Protocol,
    pub(super) edns: EdnsSupport,
}

/// How a server is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Datagrams, and TCP where an answer does not fit into one.
    Udp,
    /// A connection from the start.
    Tcp,
}

/// What is known of servers and EDNS. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct EdnsSupport {
    seen: Arc<Mutex<HashMap<SocketAddr, Seen>>>,
}

/// How a server was last seen to answer.
#[derive(Clone, Copy, Debug)]
enum Seen {
    WithEdns,
    /// Without alone; it is believed until then.
    WithoutUntil(Instant),
}

/// FORMERR, NOTIMP and BADVERS: a server that may not know EDNS (RFC 6891 §7).
const MAYBE_EDNS: [u16; 3] = [1, 4, 16];
/// A lost datagram can make a server look as if it did not know EDNS, and a middlebox may go away.
const WITHOUT_EDNS: Duration = Duration::from_secs(600);
/// What is known of more servers than this is forgotten.
const MAX_SERVERS: usize = 64;

impl Classic {
    pub(super) fn new(servers: Vec<SocketAddr>, protocol: Protocol) -> Self {
        Self {
            servers,
            protocol,
            edns: EdnsSupport::default(),
        }
    }

    /// How many sockets a question may take: one for each try.
    pub(super) fn sockets(&self, patience: &Patience) -> usize {
        self.schedule(patience, Instant::now()).len()
    }

    /// Whom to ask in which order, and whether with EDNS. Every server is asked; one that nothing
    /// is known of once without EDNS, since some drop what they do not understand.
    fn schedule(&self, patience: &Patience, now: Instant) -> Vec<(SocketAddr, EdnsUse)> {
        let servers = self.servers.len();
        let rounds = usize::try_from(patience.tries).unwrap_or(1).max(servers);
        let known: Vec<Option<EdnsUse>> = self
            .servers
            .iter()
            .map(|server| self.edns.of(server, now))
            .collect();
        let mut schedule: Vec<_> = (0..rounds)
            .filter_map(|number| {
                let index = number.checked_rem(servers)?;
                let edns = known[index].unwrap_or(match number / servers {
                    1 => EdnsUse::Off,
                    _ => EdnsUse::Plain,
                });
                Some((self.servers[index], edns))
            })
            .collect();
        for (index, server) in self.servers.iter().enumerate() {
            if known[index].is_none() && servers + index >= rounds {
                schedule.push((*server, EdnsUse::Off));
            }
        }
        schedule
    }

    /// Asks the servers in turn. A try goes on listening while the next one has started, so that
    /// a slow answer still counts.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        patience: &Patience,
    ) -> Result<DnsResponse, ExchangeError> {
        let now = Instant::now();
        let deadline = now + patience.total;
        let schedule = self.schedule(patience, now);
        let rounds = schedule.len();
        let mut waiting = schedule.into_iter();
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
            if let Some((server, edns)) = waiting.find(|(server, _)| !refused.contains(server)) {
                let (question, patience) = (question.clone(), patience.clone());
                let (protocol, support) = (self.protocol, self.edns.clone());
                running.spawn(async move {
                    let result = ask(server, protocol, &question, &patience, edns, &support).await;
                    (server, result)
                });
            } else if running.is_empty() {
                return Err(last);
            }
            let more = waiting
                .clone()
                .any(|(server, _)| !refused.contains(&server));
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

impl EdnsSupport {
    /// How to ask a server, if it is known.
    fn of(&self, server: &SocketAddr, now: Instant) -> Option<EdnsUse> {
        match self.lock().get(server)? {
            Seen::WithEdns => Some(EdnsUse::Plain),
            Seen::WithoutUntil(until) => (now < *until).then_some(EdnsUse::Off),
        }
    }

    /// Notes that a server answered a query of this kind.
    fn note(&self, server: SocketAddr, edns: EdnsUse, now: Instant) {
        let mut seen = self.lock();
        if seen.len() >= MAX_SERVERS && !seen.contains_key(&server) {
            seen.clear();
        }
        let answered = match (edns, seen.get(&server)) {
            (EdnsUse::Plain | EdnsUse::Padded, _) => Seen::WithEdns,
            // Not extended by each answer, so that EDNS is tried again.
            (EdnsUse::Off, Some(Seen::WithoutUntil(until))) if now < *until => return,
            (EdnsUse::Off, _) => Seen::WithoutUntil(now + WITHOUT_EDNS),
        };
        seen.insert(server, answered);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks one server once, and once more without EDNS if it seems not to know it.
async fn ask(
    server: SocketAddr,
    protocol: Protocol,
    question: &Question,
    patience: &Patience,
    edns: EdnsUse,
    support: &EdnsSupport,
) -> Result<DnsResponse, ExchangeError> {
    let first = ask_with(server, protocol, question, patience, edns).await;
    match first {
        Err(ExchangeError::Refused(rcode))
            if edns != EdnsUse::Off && MAYBE_EDNS.contains(&rcode) =>
        {
            let plain = ask_with(server, protocol, question, patience, EdnsUse::Off).await;
            if plain.is_ok() {
                support.note(server, EdnsUse::Off, Instant::now());
            }
            plain
        }
        outcome => {
            if matches!(outcome, Ok(_) | Err(ExchangeError::Refused(_))) {
                support.note(server, edns, Instant::now());
            }
            outcome
        }
    }
}

async fn ask_with(
    server: SocketAddr,
    protocol: Protocol,
    question: &Question,
    patience: &Patience,
    edns: EdnsUse,
) -> Result<DnsResponse, ExchangeError> {
    if protocol == Protocol::Udp {
        let response = ask_udp(server, question, edns, patience.total).await?;
        if !response.truncated {
            return accept(response);
        }
    }
    whole(ask_tcp(server, question, edns).await?)
}

/// A socket of its own for each question: the port adds to what a forger must guess (RFC 5452).
async fn ask_udp(
    server: SocketAddr,
    question: &Question,
    edns: EdnsUse,
    patience: Duration,
) -> Result<DnsResponse, ExchangeError> {
    let socket = UdpSocket::bind((source_for(server.ip()), 0)).await?;
    socket.connect(server).await?;
    let id = rand::random();
    socket.send(&question.encode(id, edns)).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut broken = None;
    let listen = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            match DnsResponse::parse(&buffer[..length], question, id) {
                Ok(response) => return Ok(response),
                // Not ours, or damaged on the way: the true answer may still come.
                Err(ResponseError::NotOurs(_)) => {}
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

async fn ask_tcp(
    server: SocketAddr,
    question: &Question,
    edns: EdnsUse,
) -> Result<DnsResponse, ExchangeError> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let id = rand::random();
    let query = question.encode_for_stream(id, edns);
    stream.write_all(&query).await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(DnsResponse::parse(&message, question, id)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(classic: &Classic, tries: u32, now: Instant) -> Vec<(u16, EdnsUse)> {
        let patience = Patience {
            total: Duration::from_secs(5),
            tries,
        };
        let schedule = classic.schedule(&patience, now);
        let by_port = schedule
            .into_iter()
            .map(|(server, edns)| (server.port(), edns));
        by_port.collect()
    }

    fn server(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_server_that_nothing_is_known_of_is_asked_once_without_edns() {
        use EdnsUse::{Off, Plain};
        let now = Instant::now();
        let one = Classic::new(vec![server(1)], Protocol::Udp);
        let expected = [(1, Plain), (1, Off), (1, Plain), (1, Plain)];
        assert_eq!(schedule(&one, 4, now), expected);
        assert_eq!(schedule(&one, 1, now), [(1, Plain), (1, Off)]);
        let two = Classic::new(vec![server(1), server(2)], Protocol::Udp);
        assert_eq!(
            schedule(&two, 3, now),
            [(1, Plain), (2, Plain), (1, Off), (2, Off)]
        );
        two.edns.note(server(1), Plain, now);
        two.edns.note(server(2), Off, now);
        assert_eq!(schedule(&two, 3, now), [(1, Plain), (2, Off), (1, Plain)]);
        // Believed for a while, however often it answers meanwhile.
        let later = now + WITHOUT_EDNS - Duration::from_secs(1);
        two.edns.note(server(2), Off, later);
        assert_eq!(schedule(&two, 1, later), [(1, Plain), (2, Off)]);
        let end = now + WITHOUT_EDNS;
        assert_eq!(schedule(&two, 1, end), [(1, Plain), (2, Plain), (2, Off)]);
    }

    #[test]
    fn what_is_known_of_servers_is_bounded() {
        let support = EdnsSupport::default();
        for port in 0..1000 {
            support.note(server(port), EdnsUse::Plain, Instant::now());
        }
        assert!(support.lock().len() <= MAX_SERVERS);
    }
}
