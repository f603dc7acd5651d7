"""Streams of anyio and trio where ``ssl`` is replaced: they follow a record's port, and make a rejected
handshake once more on another TCP connection."""

from __future__ import annotations

import socket
import types
import typing

from . import _reconnect
from .ssl import ECHRejectedError

Put = typing.Callable[[typing.Any, str, typing.Any], None]

MODULES = ("anyio._core._sockets", "anyio.streams.tls", "trio._ssl")


def patch(put: Put, module: types.ModuleType) -> tuple[object, object] | None:
    """Change a module; a function that others may have imported by name is returned, with its successor."""
    if module.__name__ == "anyio._core._sockets":
        original = module.connect_tcp
        put(module, "connect_tcp", _following(original))
        return original, module.connect_tcp
    if module.__name__ == "anyio.streams.tls":
        _patch_anyio(put, module.TLSStream)
    else:
        _patch_trio(put, module.SSLStream)
    return None


def _rejection(error: BaseException | None) -> ECHRejectedError | None:
    """The authenticated rejection with retry_configs that an error is about."""
    while error is not None:
        if isinstance(error, ECHRejectedError):
            return error if error.retry_configs else None
        error = error.__cause__
    return None


def _following(original: typing.Any) -> typing.Any:
    """``anyio.connect_tcp``, which takes the addresses of ``getaddrinfo`` and leaves its ports out."""

    async def connect_tcp(
        remote_host: typing.Any, remote_port: int, **kwargs: typing.Any
    ) -> typing.Any:
        import anyio

        host = str(remote_host)
        found = await anyio.getaddrinfo(host, remote_port, type=socket.SOCK_STREAM)
        if all(address[1] == remote_port for *_, address in found):
            return await original(remote_host, remote_port, **kwargs)
        if kwargs.get("tls") or kwargs.get("ssl_context"):
            kwargs["tls_hostname"] = kwargs.get("tls_hostname") or host
        error: OSError | None = None
        for *_, address in found:
            try:
                return await original(address[0], address[1], **kwargs)
            except OSError as failed:
                if _rejection(failed) is not None:
                    raise
                error = failed
        raise error or OSError(f"{host}: no address")

    return connect_tcp


def _patch_anyio(put: Put, stream: typing.Any) -> None:
    original = vars(stream)["wrap"].__func__

    async def wrap(
        cls: typing.Any, /, transport_stream: typing.Any, **kwargs: typing.Any
    ) -> typing.Any:
        import anyio
        from anyio.abc import SocketAttribute

        raw = transport_stream.extra(SocketAttribute.raw_socket, None)
        where = None if raw is None or kwargs.get("server_side") else _reconnect.fresh(raw)
        try:
            return await original(cls, transport_stream, **kwargs)
        except Exception as error:
            if where is None or _rejection(error) is None:
                raise
        again = await anyio.connect_tcp(*where.peer[:2], local_host=where.source[0])
        await anyio.aclose_forcefully(transport_stream)
        try:
            return await original(cls, again, **kwargs)
        except BaseException:
            await anyio.aclose_forcefully(again)
            raise

    put(stream, "wrap", classmethod(wrap))


def _patch_trio(put: Put, stream: typing.Any) -> None:
    original = stream._do_handshake

    async def _do_handshake(self: typing.Any) -> None:
        import trio

        carried = self.transport_stream
        made, state = self._ssl_object, self._state
        where = None
        if isinstance(carried, trio.SocketStream) and not made.server_side:
            where = _reconnect.fresh(carried.socket)
        try:
            await original(self)
            return
        except trio.BrokenResourceError as error:
            if where is None or _rejection(error) is None:
                raise
        again = trio.socket.from_stdlib_socket(_reconnect.opened(where))
        try:
            await again.connect(where.peer)
        except BaseException:
            again.close()
            raise
        self.transport_stream = trio.SocketStream(again)
        await trio.aclose_forcefully(carried)
        # What the constructor makes of a context.
        self._incoming, self._outgoing = type(self._incoming)(), type(self._outgoing)()
        self._ssl_object = made.context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=made.server_hostname
        )
        self._state = state
        await original(self)

    put(stream, "_do_handshake", _do_handshake)
