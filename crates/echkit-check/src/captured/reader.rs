//! Reads capture files: pcapng, and the older pcap.

use std::io::Read;

use etherparse::LaxSlicedPacket;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, SecretsType, create_reader};

use super::flows::Flows;

/// How much of the file is held at first, and at most: the longest block.
const BUFFER: usize = 1 << 16;
const MAX_BUFFER: usize = 1 << 26;

/// Secrets that are kept at most.
const MAX_KEY_LOG: usize = 1 << 26;

/// Why a file is not a capture that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureReadError {
    /// It begins like neither form.
    #[error("not a capture file: it begins neither as pcapng nor as pcap")]
    NotACapture,
    /// The file could not be read.
    #[error("cannot read the capture file")]
    Read,
    /// All its packets are of a kind that is not known here.
    #[error(
        "the packets have link type {0}, which is not known here; capture on an Ethernet, loopback or \
         tun interface, or on \"any\""
    )]
    LinkType(i32),
}

/// What was read beside the packets.
pub(super) struct ReadCapture {
    pub(super) packets: u64,
    pub(super) key_log: String,
    pub(super) cut: Option<String>,
}

/// Hands each packet to `flows`.
pub(super) fn read(
    file: impl Read + Send,
    flows: &mut Flows,
) -> Result<ReadCapture, CaptureReadError> {
    let mut reader = create_reader(BUFFER, file).map_err(|error| match error {
        PcapError::ReadError => CaptureReadError::Read,
        _ => CaptureReadError::NotACapture,
    })?;
    let mut read = ReadCapture {
        packets: 0,
        key_log: String::new(),
        cut: None,
    };
    let mut links: Vec<Linktype> = Vec::new();
    let mut unknown = None;
    let mut known = false;
    let mut buffer = BUFFER;
    loop {
        let step = match reader.next() {
            Ok((taken, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => links = vec![header.network],
                    PcapBlockOwned::Legacy(packet) => {
                        read.packets += 1;
                        take(
                            &links,
                            0,
                            packet.data,
                            read.packets,
                            flows,
                            &mut known,
                            &mut unknown,
                        );
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        links.push(interface.linktype);
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        read.packets += 1;
                        let (link, data) = (packet.if_id as usize, packet.packet_data());
                        take(
                            &links,
                            link,
                            data,
                            read.packets,
                            flows,
                            &mut known,
                            &mut unknown,
                        );
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        read.packets += 1;
                        let data = packet.packet_data();
                        take(
                            &links,
                            0,
                            data,
                            read.packets,
                            flows,
                            &mut known,
                            &mut unknown,
                        );
                    }
                    PcapBlockOwned::NG(Block::DecryptionSecrets(secrets))
                        if secrets.secrets_type == SecretsType::TlsKeyLog =>
                    {
                        let len = secrets.data.len().min(secrets.secrets_len as usize);
                        if read.key_log.len() + len <= MAX_KEY_LOG {
                            let lines = String::from_utf8_lossy(&secrets.data[..len]);
                            read.key_log.push_str(&lines);
                            read.key_log.push('\n');
                        }
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                Step::Consume(taken)
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => Step::Refill,
            Err(PcapError::BufferTooSmall) if buffer < MAX_BUFFER => Step::Grow,
            Err(error) => {
                read.cut = Some(why(&error));
                break;
            }
        };
        match step {
            Step::Consume(taken) => reader.consume(taken),
            Step::Refill if reader.reader_exhausted() => {
                read.cut = Some("the file ends inside a packet".to_owned());
                break;
            }
            Step::Refill => {
                let held = reader.data().len();
                reader.refill().map_err(|_| CaptureReadError::Read)?;
                // A block that needs more than there is room for, and does not say so.
                if reader.data().len() == held && !reader.reader_exhausted() {
                    if buffer >= MAX_BUFFER {
                        read.cut = Some(why(&PcapError::BufferTooSmall));
                        break;
                    }
                    buffer *= 2;
                    reader.grow(buffer);
                }
            }
            Step::Grow => {
                buffer *= 2;
                reader.grow(buffer);
                reader.refill().map_err(|_| CaptureReadError::Read)?;
            }
        }
    }
    match unknown {
        Some(link) if !known => Err(CaptureReadError::LinkType(link)),
        _ => Ok(read),
    }
}

enum Step {
    Consume(usize),
    Refill,
    Grow,
}

fn why(error: &PcapError<&[u8]>) -> String {
    match error {
        PcapError::UnexpectedEof => "the file ends inside a packet",
        PcapError::BufferTooSmall => "a block of the file is longer than 64 MiB",
        _ => "the file is malformed",
    }
    .to_owned()
}

/// Hands a packet on, without its link's header.
fn take(
    links: &[Linktype],
    link: usize,
    data: &[u8],
    number: u64,
    flows: &mut Flows,
    known: &mut bool,
    unknown: &mut Option<i32>,
) {
    let Some(link) = links.get(link) else { return };
    let behind = |header: usize| data.get(header..).unwrap_or_default();
    let sliced = match *link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => LaxSlicedPacket::from_ip(data).ok(),
        Linktype::NULL | Linktype::LOOP => LaxSlicedPacket::from_ip(behind(4)).ok(),
        Linktype::LINUX_SLL => LaxSlicedPacket::from_ip(behind(16)).ok(),
        Linktype::LINUX_SLL2 => LaxSlicedPacket::from_ip(behind(20)).ok(),
        Linktype(other) => {
            unknown.get_or_insert(other);
            return;
        }
    };
    *known = true;
    if let Some(packet) = sliced {
        flows.take(&packet, number);
    }
}
