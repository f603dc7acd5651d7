"""ECH for asyncio's streams and protocols, on asyncio's own loops and on uvloop.

::

    reader, writer = await echkit.asyncio.open_connection("example.com", 443)
    print(echkit.report_of(writer).status)
"""

from __future__ import annotations

import asyncio
import os
import ssl as _std
import typing
import weakref

from ._asyncio import connect
from ._connection_report import report_of
from ._context import create_default_context
from ._dialing import Dialer, checked

__all__ = ["create_connection", "open_connection"]

_Path = str | os.PathLike[str]
P = typing.TypeVar("P", bound=asyncio.BaseProtocol)

_dialers: weakref.WeakKeyDictionary[_std.SSLContext, dict[typing.Any, Dialer]] = (
    weakref.WeakKeyDictionary()
)


def dialer_of(
    context: _std.SSLContext,
    ech: typing.Literal["prefer", "require"],
    dns: str | None,
    dns_cafile: _Path | None,
    proxy_resolves: bool = False,
) -> Dialer:
    """Connections of one context and with the same settings have retry configs in common."""
    alpn = tuple(getattr(context, "_alpn", ())) or (b"http/1.1",)
    key = (ech, dns, dns_cafile, proxy_resolves, alpn)
    known = _dialers.setdefault(context, {})
    if key not in known:
        known[key] = Dialer(ech, dns, dns_cafile, proxy_resolves=proxy_resolves, alpn=alpn)
    return known[key]


async def create_connection(
    protocol_factory: typing.Callable[[], P],
    host: str,
    port: int,
    *,
    ssl: _std.SSLContext | None = None,
    ech: typing.Literal["prefer", "require"] = "prefer",
    dns: str | None = None,
    dns_cafile: _Path | None = None,
    timeout: float | None = None,
    server_hostname: str | None = None,
    local_addr: tuple[str, int] | None = None,
    **kwargs: typing.Any,
) -> tuple[asyncio.Transport, P]:
    """What ``loop.create_connection(..., ssl=True)`` does, with ECH.

    ``timeout`` is for DNS, TCP and TLS together. The factory is called again where a second connection
    is made after a rejection. Other arguments go to the loop's method.
    """
    context = checked(ssl) or create_default_context()
    made = await connect(
        dialer_of(context, ech, dns, dns_cafile),
        protocol_factory,
        host,
        port,
        context,
        timeout=timeout,
        server_name=server_hostname,
        source_address=local_addr,
        **kwargs,
    )
    return made[0], made[1]


async def open_connection(
    host: str, port: int, *, limit: int = 2**16, **kwargs: typing.Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """What ``asyncio.open_connection(..., ssl=True)`` does, with ECH. Arguments are those of
    :func:`create_connection`."""
    loop = asyncio.get_running_loop()
    readers: list[asyncio.StreamReader] = []

    def factory() -> asyncio.StreamReaderProtocol:
        readers.append(asyncio.StreamReader(limit=limit, loop=loop))
        return asyncio.StreamReaderProtocol(readers[-1], loop=loop)

    transport, protocol = await create_connection(factory, host, port, **kwargs)
    writer = asyncio.StreamWriter(transport, protocol, readers[-1], loop)
    # Known when the connection is closed as well.
    writer.ech_report = report_of(transport)  # type: ignore[attr-defined]
    return readers[-1], writer
