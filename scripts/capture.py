"""Reads what clients sent out of capture files that `ech grade --captures` keeps, without our parsers."""

import pathlib
import struct

ENHANCED_PACKET = 6
SYN, ACK = 0x02, 0x10


def packets(file: pathlib.Path):
    """The packets of a pcapng file whose link type is raw IP, in its order."""
    data, at = file.read_bytes(), 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if kind == ENHANCED_PACKET:
            (captured,) = struct.unpack_from("<I", data, at + 20)
            yield data[at + 28 : at + 28 + captured]
        at += length


def segment(packet: bytes):
    """Both ends, the flags and the payload of a TCP segment."""
    if packet[0] >> 4 == 4:
        header = 4 * (packet[0] & 15)
        (total,) = struct.unpack_from(">H", packet, 2)
        source, target = packet[12:16], packet[16:20]
    else:
        header, total = 40, 40 + struct.unpack_from(">H", packet, 4)[0]
        source, target = packet[8:24], packet[24:40]
    from_port, to_port = struct.unpack_from(">HH", packet, header)
    offset, flags = packet[header + 12], packet[header + 13]
    payload = packet[header + 4 * (offset >> 4) : total]
    return (source, from_port), (target, to_port), flags, payload


def sent_by_clients(file: pathlib.Path) -> list[bytes]:
    """What the client of each connection sent: the side that opened it."""
    sent: dict[tuple, bytearray] = {}
    for packet in packets(file):
        source, target, flags, payload = segment(packet)
        if flags & (SYN | ACK) == SYN:
            sent[source, target] = bytearray()
        elif (source, target) in sent:
            sent[source, target] += payload
    return [bytes(stream) for stream in sent.values()]
