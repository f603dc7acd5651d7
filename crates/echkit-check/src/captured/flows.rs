//! The beginnings of TCP streams, put together from packets.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use echkit_proto::tls_record::HANDSHAKE;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

/// Bytes of a stream that are kept: two ClientHellos of the largest kind.
const MAX_STREAM: usize = 2 * (0xffff + 64);
/// Streams that are followed.
const MAX_STREAMS: usize = 1 << 16;
/// Bytes that are kept of all streams together.
const MAX_BYTES: usize = 1 << 28;

/// The TCP streams of a capture, as far as they can begin with a ClientHello.
#[derive(Default)]
pub(super) struct Flows {
    /// By client and server; a port that is used again begins another stream.
    current: HashMap<(SocketAddr, SocketAddr), usize>,
    streams: Vec<Stream>,
    kept: usize,
    left_out: u64,
}

/// The beginning of one direction of a connection.
struct Stream {
    client: SocketAddr,
    server: SocketAddr,
    packet: u64,
    /// The sequence number of the first byte.
    first: u32,
    /// By their distance from the first byte.
    segments: BTreeMap<u32, Vec<u8>>,
}

/// What a client sent, up to the first gap.
pub(super) struct ClientStream {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) packet: u64,
    pub(super) bytes: Vec<u8>,
}

impl Flows {
    /// Takes a packet that may be of TCP.
    pub(super) fn take(&mut self, packet: &LaxSlicedPacket<'_>, number: u64) {
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            return;
        };
        let (source, destination): (IpAddr, IpAddr) = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            Some(LaxNetSlice::Ipv6(ip)) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            _ => return,
        };
        let client = SocketAddr::new(source, tcp.source_port());
        let server = SocketAddr::new(destination, tcp.destination_port());
        self.segment(client, server, tcp, number);
    }

    fn segment(&mut self, client: SocketAddr, server: SocketAddr, tcp: &TcpSlice<'_>, number: u64) {
        let key = (client, server);
        let payload = tcp.payload();
        if tcp.syn() {
            // The next byte is the first of a new stream.
            self.current.remove(&key);
            self.begin(key, tcp.sequence_number().wrapping_add(1), number);
            return;
        }
        if payload.is_empty() {
            return;
        }
        let index = match self.current.get(&key) {
            Some(index) => *index,
            // The capture began later than the connection: a hello may begin here.
            None if payload[0] == HANDSHAKE => {
                match self.begin(key, tcp.sequence_number(), number) {
                    Some(index) => index,
                    None => return,
                }
            }
            None => return,
        };
        let stream = &mut self.streams[index];
        let at = tcp.sequence_number().wrapping_sub(stream.first);
        // Bytes that are far ahead, or repeat what came before the first.
        if at as usize >= MAX_STREAM || self.kept + payload.len() > MAX_BYTES {
            return;
        }
        if stream.segments.is_empty() {
            stream.packet = number;
        }
        let len = payload.len().min(MAX_STREAM - at as usize);
        let known = stream.segments.get(&at).map_or(0, Vec::len);
        if len > known {
            self.kept += len - known;
            stream.segments.insert(at, payload[..len].to_vec());
        }
    }

    fn begin(&mut self, key: (SocketAddr, SocketAddr), first: u32, packet: u64) -> Option<usize> {
        if self.streams.len() >= MAX_STREAMS {
            self.left_out += 1;
            return None;
        }
        let (client, server) = key;
        self.streams.push(Stream {
            client,
            server,
            packet,
            first,
            segments: BTreeMap::new(),
        });
        let index = self.streams.len() - 1;
        self.current.insert(key, index);
        Some(index)
    }

    /// Connections that were not followed.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The streams that begin as TLS does, in the order of their first packets.
    pub(super) fn streams(&self) -> impl Iterator<Item = ClientStream> {
        self.streams.iter().filter_map(|stream| {
            let bytes = stream.joined();
            (bytes.first() == Some(&HANDSHAKE)).then_some(ClientStream {
                client: stream.client,
                server: stream.server,
                packet: stream.packet,
                bytes,
            })
        })
    }
}

impl Stream {
    /// The bytes up to the first gap; of repeated ones the first counts.
    fn joined(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for (at, segment) in &self.segments {
            let at = *at as usize;
            if at > bytes.len() {
                break;
            }
            let known = bytes.len() - at;
            bytes.extend_from_slice(segment.get(known..).unwrap_or_default());
        }
        bytes
    }
}
