//! Recorded connections as a capture file (pcapng) that packet analysers open.
//!
//! The payloads are the bytes that were sent and received. TCP and IP were not recorded: each
//! connection gets made-up headers, with a three-way handshake, sequence numbers that fit, and its
//! own addresses. The secrets are in a Decryption Secrets Block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use echkit::wire::{RecordedConnection, WireDirection};
use etherparse::PacketBuilder;
use pcap_parser::{
    DecryptionSecretsBlock, EnhancedPacketBlock, InterfaceDescriptionBlock, Linktype, OptionCode,
    PcapNGOption, SecretsType, SectionHeaderBlock, ToVec,
};

/// Payload of a packet at most: Ethernet's, less the longest headers that are made here.
const SEGMENT: usize = 1440;
/// The window that both sides announce: nobody is slowed down by it.
const WINDOW: u16 = u16::MAX;
/// Where sequence numbers begin.
const FIRST: u32 = 1_000;
/// The port of a side whose address is not known.
const UNKNOWN_PORT: u16 = 49152;

/// Writes a capture file of `connections`, with the lines of a key log (RFC 9850).
///
/// # Errors
///
/// When the key log is longer than a block can say, 4 GiB.
pub fn pcapng(
    connections: &[RecordedConnection],
    key_log: &str,
) -> Result<Vec<u8>, PcapngTooLarge> {
    let mut out = Vec::new();
    put(&mut out, section().to_vec())?;
    put(&mut out, interface().to_vec())?;
    if !key_log.is_empty() {
        let mut block = DecryptionSecretsBlock {
            block_type: 0,
            block_len1: 0,
            secrets_type: SecretsType::TlsKeyLog,
            secrets_len: u32::try_from(key_log.len()).map_err(|_| PcapngTooLarge)?,
            data: key_log.as_bytes(),
            options: Vec::new(),
            block_len2: 0,
        };
        put(&mut out, block.to_vec())?;
    }
    let mut packets: Vec<Packet> = connections.iter().flat_map(packets).collect();
    // Connections that overlap are mixed as they were; the sort keeps the order of each.
    packets.sort_by_key(|packet| packet.at);
    for packet in packets {
        put(&mut out, packet.block()?.to_vec())?;
    }
    Ok(out)
}

/// A capture cannot be written because a part of it is larger than the format allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the capture is larger than its format allows")]
#[non_exhaustive]
pub struct PcapngTooLarge;

fn put<E>(out: &mut Vec<u8>, block: Result<Vec<u8>, E>) -> Result<(), PcapngTooLarge> {
    out.extend(block.map_err(|_| PcapngTooLarge)?);
    Ok(())
}

/// The parts that `to_vec` fills in are left 0.
fn section() -> SectionHeaderBlock<'static> {
    let application = format!("echkit {}", env!("CARGO_PKG_VERSION"));
    SectionHeaderBlock {
        block_type: 0,
        block_len1: 0,
        bom: 0,
        major_version: 1,
        minor_version: 0,
        section_len: -1,
        options: vec![text_option(OptionCode::ShbUserAppl, &application)],
        block_len2: 0,
    }
}

fn interface() -> InterfaceDescriptionBlock<'static> {
    let says = "recorded by the client; TCP and IP headers are synthesised";
    InterfaceDescriptionBlock {
        block_type: 0,
        block_len1: 0,
        // Packets that begin with their IP header.
        linktype: Linktype::RAW,
        reserved: 0,
        snaplen: 0,
        options: vec![text_option(OptionCode::IfDescription, says)],
        block_len2: 0,
        // Microseconds.
        if_tsresol: 6,
        if_tsoffset: 0,
    }
}

fn text_option(code: OptionCode, text: &str) -> PcapNGOption<'static> {
    let len = text.len();
    let mut value = text.as_bytes().to_vec();
    value.resize(len.next_multiple_of(4), 0);
    PcapNGOption {
        code,
        // These texts are short.
        len: len as u16,
        value: value.into(),
    }
}

/// One packet, from its IP header on.
struct Packet {
    /// Since 1970.
    at: Duration,
    bytes: Vec<u8>,
}

impl Packet {
    fn block(&self) -> Result<EnhancedPacketBlock<'_>, PcapngTooLarge> {
        let micros = self.at.as_micros() as u64;
        let len = u32::try_from(self.bytes.len()).map_err(|_| PcapngTooLarge)?;
        Ok(EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: 0,
            ts_high: (micros >> 32) as u32,
            ts_low: micros as u32,
            caplen: len,
            origlen: len,
            data: &self.bytes,
            options: Vec::new(),
            block_len2: 0,
        })
    }
}

/// One side of a connection.
#[derive(Clone, Copy)]
struct Side {
    address: SocketAddr,
    /// The sequence number of the next byte.
    next: u32,
}

/// What a packet says beside its payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flags {
    Syn,
    SynAck,
    Ack,
    Push,
    Fin,
}

/// The packets of a connection: opening, data, and the ends that were seen.
fn packets(connection: &RecordedConnection) -> Vec<Packet> {
    let begun = connection.begun.duration_since(UNIX_EPOCH);
    let begun = begun.unwrap_or_default();
    let (local, peer) = addresses(connection);
    let mut ours = Side {
        address: local,
        next: FIRST,
    };
    let mut theirs = Side {
        address: peer,
        next: FIRST,
    };
    let mut out = vec![
        packet(begun, &mut ours, &theirs, Flags::Syn, &[]),
        packet(begun, &mut theirs, &ours, Flags::SynAck, &[]),
        packet(begun, &mut ours, &theirs, Flags::Ack, &[]),
    ];
    for chunk in &connection.chunks {
        let at = begun + chunk.at;
        let (from, to) = match chunk.direction {
            WireDirection::Sent => (&mut ours, &mut theirs),
            WireDirection::Received => (&mut theirs, &mut ours),
        };
        if chunk.bytes.is_empty() {
            out.push(packet(at, from, to, Flags::Fin, &[]));
            out.push(packet(at, to, from, Flags::Ack, &[]));
            continue;
        }
        for segment in chunk.bytes.chunks(SEGMENT) {
            out.push(packet(at, from, to, Flags::Push, segment));
        }
        out.push(packet(at, to, from, Flags::Ack, &[]));
    }
    out
}

/// Both addresses, of one family.
fn addresses(connection: &RecordedConnection) -> (SocketAddr, SocketAddr) {
    let peer = connection.peer;
    let local = connection
        .local
        .filter(|local| local.is_ipv4() == peer.is_ipv4())
        .unwrap_or_else(|| {
            let unknown: IpAddr = match peer.ip() {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let port = connection.local.map_or(UNKNOWN_PORT, |local| local.port());
            SocketAddr::new(unknown, port)
        });
    (local, peer)
}

fn packet(at: Duration, from: &mut Side, to: &Side, flags: Flags, payload: &[u8]) -> Packet {
    /// Hops that a packet may take.
    const HOPS: u8 = 64;
    let ip = match (from.address.ip(), to.address.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), HOPS)
        }
        (source, destination) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            PacketBuilder::ipv6(octets(source), octets(destination), HOPS)
        }
    };
    let tcp = ip.tcp(from.address.port(), to.address.port(), from.next, WINDOW);
    let tcp = match flags {
        Flags::Syn => tcp.syn(),
        Flags::SynAck => tcp.syn().ack(to.next),
        Flags::Ack => tcp.ack(to.next),
        Flags::Push => tcp.psh().ack(to.next),
        Flags::Fin => tcp.fin().ack(to.next),
    };
    let mut bytes = Vec::with_capacity(tcp.size(payload.len()));
    // Writing into memory fails only for payloads beyond what IP can say, which SEGMENT is not.
    let _ = tcp.write(&mut bytes, payload);
    let numbered = matches!(flags, Flags::Syn | Flags::SynAck | Flags::Fin);
    from.next = from
        .next
        .wrapping_add(payload.len() as u32)
        .wrapping_add(u32::from(numbered));
    Packet { at, bytes }
}
