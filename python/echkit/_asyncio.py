"""Connections of asyncio's loops with ECH, directly and through a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import typing

from . import ssl
from ._attempts import Attempt
from ._connecting import Connecting, Place
from ._connection_report import ConnectionReport
from ._dialing import Dialer, deadline_of, dial_soon
from ._proxy_dialogue import Through
from ._race import DELAY, Failed, SocketOptions

P = typing.TypeVar("P", bound=asyncio.BaseProtocol)
Made = tuple[asyncio.Transport, P, ConnectionReport]


class ProxyUnreached(OSError):
    """No connection to the proxy."""


async def race(
    places: typing.Sequence[Place],
    failed: Failed,
    *,
    source_address: tuple[str, int] | None = None,
    options: SocketOptions = (),
) -> tuple[Place, socket.socket]:
    """What ``_race.race`` does, for asyncio's loops. The socket does not block."""
    loop = asyncio.get_running_loop()
    waiting = list(places)
    running: dict[asyncio.Task[socket.socket], Place] = {}
    error: Exception = OSError(errno.EHOSTUNREACH, "no address to connect to")

    async def connect(place: Place) -> socket.socket:
        family = socket.AF_INET6 if place.address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            for option in options:
                sock.setsockopt(*option)
            if source_address is not None:
                sock.bind(source_address)
            await loop.sock_connect(sock, place.peer)
        except BaseException:
            sock.close()
            raise
        return sock

    try:
        while waiting or running:
            if waiting:
                place = waiting.pop(0)
                running[asyncio.ensure_future(connect(place))] = place
            pause = DELAY if waiting else None
            done, _ = await asyncio.wait(
                running, timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if task.exception() is None:
                    place = running.pop(task)
                    return place, task.result()
                found = task.exception()
                place = running.pop(task)
                if not isinstance(found, OSError):
                    assert found is not None
                    raise found
                error = found
                failed(place, found)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)
    raise error


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """Closes a socket that was connected when another already was."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


class _Pipe(asyncio.Protocol):
    """What a proxy says before it connects."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._ended = False
        self._more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._more.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._more.set()

    def eof_received(self) -> None:
        self._ended = True
        self._more.set()

    async def read(self) -> bytes:
        while not self._received and not self._ended:
            self._more.clear()
            await self._more.wait()
        data = bytes(self._received)
        self._received.clear()
        return data


async def _tunnel(through: Through, host: str, port: int) -> asyncio.Transport:
    """A transport to a server, through a proxy."""
    loop = asyncio.get_running_loop()
    where = f"{through.host}:{through.port}"
    try:
        transport, pipe = await loop.create_connection(
            _Pipe, through.host, through.port, ssl=through.tls()
        )
    except OSError as error:
        raise ProxyUnreached(error.errno, f"{where}: {error.strerror or error}") from error
    try:
        dialogue = through.dialogue(host, port)
        data = next(dialogue)
        while True:
            transport.write(data)
            data = dialogue.send(await pipe.read())
    except StopIteration:
        return transport
    except BaseException:
        transport.abort()
        raise


async def connect(
    dialer: Dialer,
    factory: typing.Callable[[], P],
    host: str,
    port: int,
    context: ssl.SSLContext,
    *,
    timeout: float | None = None,
    server_name: str | None = None,
    through: Through | None = None,
    source_address: tuple[str, int] | None = None,
    options: SocketOptions = (),
    **tls: typing.Any,
) -> Made[P]:
    """A TLS connection to an endpoint of ``host``. ``tls`` goes to the loop's methods."""
    loop = asyncio.get_running_loop()
    deadline = deadline_of(timeout)

    async def reach(places: list[Place]) -> tuple[Place, socket.socket | None]:
        if through is not None:
            return places[0], None
        return await race(
            places, connecting.unreachable, source_address=source_address, options=options
        )

    async def secure(attempt: Attempt, sock: socket.socket | None) -> tuple[asyncio.Transport, P]:
        name = attempt.server_name
        if through is None:
            return await loop.create_connection(
                factory, sock=sock, ssl=context, server_hostname=name, **tls
            )
        # Not before the attempt has begun: uvloop runs callbacks in the context that a transport was
        # made in.
        destination = dialer.destination(connecting, attempt.place)
        transport = await _tunnel(through, destination, attempt.place.port)
        try:
            protocol = factory()
            made = await loop.start_tls(transport, protocol, context, server_hostname=name, **tls)
            if made is None:
                raise ConnectionResetError("the proxy closed the connection")
        except BaseException:
            transport.abort()
            raise
        protocol.connection_made(made)
        return made, protocol

    async with asyncio.timeout(timeout):
        connecting: Connecting = await dialer.connecting_soon(
            host, port, context, deadline, server_name=server_name, proxied=through is not None
        )
        made, report = await dial_soon(connecting, reach, secure, _close, deadline)
    return *made, report


async def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()
