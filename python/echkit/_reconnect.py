"""Another TCP connection in the place of one that carried a rejected handshake, and nothing else."""

from __future__ import annotations

import os
import socket
import struct
import typing

# data_segs_in and data_segs_out of Linux' tcp_info: segments that carried data.
_DATA_SEGMENTS = struct.Struct("=II")
_AT = 152


class Fresh(typing.NamedTuple):
    """Where a connection leads that has carried no data yet."""

    family: int
    peer: typing.Any
    source: typing.Any


def fresh(sock: typing.Any) -> Fresh | None:
    """``None`` where something was said before TLS, to a proxy for one, or where nobody can tell."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if len(info) < _AT + _DATA_SEGMENTS.size or any(_DATA_SEGMENTS.unpack_from(info, _AT)):
            return None
        return Fresh(sock.family, sock.getpeername(), sock.getsockname())
    except OSError:
        return None


def opened(where: Fresh) -> socket.socket:
    """A socket for another connection to the same peer, which is not connected yet."""
    sock = socket.socket(where.family, socket.SOCK_STREAM)
    try:
        sock.bind((where.source[0], 0, *where.source[2:]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def replace(sock: typing.Any, where: Fresh) -> None:
    """Connect again under the same file descriptor."""
    timeout = sock.gettimeout()
    with opened(where) as new:
        new.settimeout(timeout)
        new.connect(where.peer)
        os.dup2(new.fileno(), sock.fileno(), inheritable=False)
