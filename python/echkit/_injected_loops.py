"""Event loops whose connections are made once more after a rejection, and uvloop's look-ups."""

from __future__ import annotations

import asyncio.base_events
import socket
import sys
import types
import typing

from . import _reconnect
from .ssl import ECHRejectedError

Put = typing.Callable[[typing.Any, str, typing.Any], None]
Resolve = typing.Callable[..., typing.Any]


def patch(put: Put, resolve: Resolve) -> None:
    """asyncio's own loops, which resolve by ``socket.getaddrinfo``; and uvloop's, if it is there."""
    loop = asyncio.base_events.BaseEventLoop
    put(loop, "create_connection", _again(loop.create_connection))
    uvloop = sys.modules.get("uvloop")
    if uvloop is not None:
        patch_uvloop(put, uvloop, resolve)


def patch_uvloop(put: Put, uvloop: types.ModuleType, resolve: Resolve) -> None:
    """uvloop's class in C takes no attributes, its subclass in Python does."""
    loop = uvloop.Loop
    again = _again(loop.create_connection)

    async def getaddrinfo(
        self: asyncio.AbstractEventLoop, host: typing.Any, port: typing.Any, **kwargs: typing.Any
    ) -> typing.Any:
        return await self.run_in_executor(None, lambda: resolve(host, port, **kwargs))

    async def create_connection(
        self: typing.Any,
        factory: typing.Any,
        host: typing.Any = None,
        port: typing.Any = None,
        *,
        ssl: typing.Any = None,
        sock: typing.Any = None,
        family: int = 0,
        server_hostname: str | None = None,
        **kwargs: typing.Any,
    ) -> typing.Any:
        if not ssl or sock is not None or host is None:
            return await again(
                self, factory, host, port, ssl=ssl, sock=sock, family=family,
                server_hostname=server_hostname, **kwargs,
            )
        # libuv resolves by itself: connected here to what we resolve.
        local = kwargs.pop("local_addr", None)
        for name in ("proto", "flags", "happy_eyeballs_delay", "interleave", "all_errors"):
            kwargs.pop(name, None)
        found = await getaddrinfo(self, host, port, family=family, type=socket.SOCK_STREAM)
        error: OSError | None = None
        for kind, how, proto, _, address in found:
            plain = socket.socket(kind, how, proto)
            try:
                plain.setblocking(False)
                if local is not None:
                    plain.bind(local)
                await self.sock_connect(plain, address)
            except OSError as refused:
                plain.close()
                error = refused
                continue
            except BaseException:
                plain.close()
                raise
            name = host if server_hostname is None else server_hostname
            return await again(self, factory, ssl=ssl, sock=plain, server_hostname=name, **kwargs)
        raise error or OSError(f"{host}: no address")

    put(loop, "getaddrinfo", getaddrinfo)
    put(loop, "create_connection", create_connection)


def _again(original: typing.Any) -> typing.Any:
    """A loop's ``create_connection``, which connects once more after an authenticated rejection."""

    async def create_connection(
        self: typing.Any,
        factory: typing.Any,
        host: typing.Any = None,
        port: typing.Any = None,
        *,
        ssl: typing.Any = None,
        sock: typing.Any = None,
        **kwargs: typing.Any,
    ) -> typing.Any:
        where = _reconnect.fresh(sock) if ssl and sock is not None else None
        try:
            return await original(self, factory, host, port, ssl=ssl, sock=sock, **kwargs)
        except ECHRejectedError as rejected:
            if not rejected.retry_configs or (sock is not None and where is None):
                raise
        if where is not None:
            sock = _reconnect.opened(where)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, where.peer)
            except BaseException:
                sock.close()
                raise
        return await original(self, factory, host, port, ssl=ssl, sock=sock, **kwargs)

    return create_connection
