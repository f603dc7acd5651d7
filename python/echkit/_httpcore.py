"""Network backends of httpcore that make TLS connections with ECH, and pools that use them."""

from __future__ import annotations

import socket
import ssl as _std
import types
import typing

import anyio
import httpcore

from ._attempts import Attempt
from ._connecting import Connecting, Place
from ._connection_report import ConnectionReport
from ._dialing import Dialer, deadline_of, dial, dial_soon
from ._proxy_dialogue import Through
from ._race import left, race
from ._race_anyio import race as race_soon

Options = typing.Iterable[typing.Any]


class Unopened(typing.NamedTuple):
    """What httpcore has said of a connection when it asks for TCP. All is done when it asks for TLS:
    which address to connect to depends on the records, and there may be more than one connection."""

    host: str
    port: int
    local_address: str | None
    options: tuple[typing.Any, ...]

    def source(self) -> tuple[str, int] | None:
        return None if self.local_address is None else (self.local_address, 0)


def _original(error: Exception) -> Exception:
    """What is within an exception of httpcore's."""
    cause = error.__cause__
    if isinstance(error, (httpcore.NetworkError, httpcore.TimeoutException)):
        if isinstance(cause, OSError):
            return cause
        return ConnectionResetError(str(error) or "the connection was closed")
    return error


def _told(error: Exception) -> Exception:
    """An error as httpcore's users expect it."""
    if isinstance(error, TimeoutError):
        return httpcore.ConnectTimeout(str(error) or "timed out")
    if isinstance(error, _std.SSLError) or not isinstance(error, OSError):
        return httpcore.ConnectError(str(error))
    if isinstance(error, socket.gaierror):
        return httpcore.ConnectError(error.strerror or str(error))
    return httpcore.ConnectError(str(error))


class _Stream(httpcore.NetworkStream):
    """A connection that is made when TLS begins."""

    def __init__(self, backend: Backend, unopened: Unopened) -> None:
        self._backend, self._unopened = backend, unopened

    def start_tls(
        self,
        ssl_context: _std.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return self._backend.secured(self._unopened, ssl_context, server_hostname, timeout)

    def close(self) -> None:
        pass


class Backend(httpcore.SyncBackend):
    """Connections of threads."""

    def __init__(self, dialer: Dialer, through: Through | None) -> None:
        self._dialer, self._through = dialer, through

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self, Unopened(host, port, local_address, tuple(socket_options or ())))

    def secured(
        self,
        unopened: Unopened,
        context: _std.SSLContext,
        server_name: str | None,
        timeout: float | None,
    ) -> httpcore.NetworkStream:
        deadline = deadline_of(timeout)

        def reach(places: list[Place]) -> tuple[Place, httpcore.NetworkStream]:
            if self._through is not None:
                try:
                    return places[0], self._tunnel(connecting, places[0], deadline)
                except OSError as error:
                    connecting.unreachable(places[0], error)
                    raise
            options = [*unopened.options, (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
            place, sock = race(
                places,
                connecting.unreachable,
                deadline,
                source_address=unopened.source(),
                options=options,
            )
            return place, _sync_stream(sock)

        def secure(attempt: Attempt, stream: httpcore.NetworkStream) -> httpcore.NetworkStream:
            try:
                name = connecting.server_name
                return stream.start_tls(context, name, left(deadline, connecting.host))
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                original = _original(error)
            # Out here: its own wrapping is no context of it.
            raise original

        try:
            connecting = self._dialer.connecting(
                unopened.host,
                unopened.port,
                context,
                deadline,
                server_name=server_name,
                proxied=self._through is not None,
            )
            stream, report = dial(connecting, reach, secure, lambda each: each.close(), deadline)
        except OSError as error:
            raise _told(error) from error
        stream.ech_report = report  # type: ignore[attr-defined]
        return stream

    def _tunnel(
        self, connecting: Connecting, place: Place, deadline: float | None
    ) -> httpcore.NetworkStream:
        through = self._through
        assert through is not None
        host = self._dialer.destination(connecting, place)
        try:
            stream = super().connect_tcp(through.host, through.port, left(deadline, through.host))
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise httpcore.ProxyError(f"{through.host}:{through.port}: {error}") from error
        try:
            tls = through.tls()
            if tls is not None:
                stream = stream.start_tls(tls, through.host, left(deadline, through.host))
            dialogue = through.dialogue(host, place.port)
            data = next(dialogue)
            while True:
                stream.write(data, left(deadline, through.host))
                data = dialogue.send(stream.read(4096, left(deadline, through.host)))
        except StopIteration:
            return stream
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            stream.close()
            raise httpcore.ProxyError(f"{through.host}:{through.port}: {error}") from error
        except BaseException:
            stream.close()
            raise


def _sync_stream(sock: socket.socket) -> httpcore.NetworkStream:
    from httpcore._backends.sync import SyncStream

    return SyncStream(sock)


class _AsyncStream(httpcore.AsyncNetworkStream):
    """A connection that is made when TLS begins."""

    def __init__(self, backend: AsyncBackend, unopened: Unopened) -> None:
        self._backend, self._unopened = backend, unopened

    async def start_tls(
        self,
        ssl_context: _std.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await self._backend.secured(self._unopened, ssl_context, server_hostname, timeout)

    async def aclose(self) -> None:
        pass


class AsyncBackend(httpcore.AnyIOBackend):
    """Connections under asyncio and trio."""

    def __init__(self, dialer: Dialer, through: Through | None) -> None:
        self._dialer, self._through = dialer, through

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _AsyncStream(self, Unopened(host, port, local_address, tuple(socket_options or ())))

    async def secured(
        self,
        unopened: Unopened,
        context: _std.SSLContext,
        server_name: str | None,
        timeout: float | None,
    ) -> httpcore.AsyncNetworkStream:
        deadline = deadline_of(timeout)

        async def open_one(place: Place) -> httpcore.AsyncNetworkStream:
            try:
                return await super(AsyncBackend, self).connect_tcp(
                    str(place.address),
                    place.port,
                    left(deadline, connecting.host),
                    unopened.local_address,
                    unopened.options,
                )
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                original = _original(error)
            raise original

        async def reach(places: list[Place]) -> tuple[Place, httpcore.AsyncNetworkStream]:
            if self._through is None:
                return await race_soon(places, connecting.unreachable, open_one, _aclose)
            try:
                return places[0], await self._tunnel(connecting, places[0], deadline)
            except OSError as error:
                connecting.unreachable(places[0], error)
                raise

        async def secure(
            attempt: Attempt, stream: httpcore.AsyncNetworkStream
        ) -> httpcore.AsyncNetworkStream:
            try:
                name = connecting.server_name
                return await stream.start_tls(context, name, left(deadline, connecting.host))
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                original = _original(error)
            raise original

        try:
            with anyio.fail_after(timeout):
                connecting = await self._dialer.connecting_soon(
                    unopened.host,
                    unopened.port,
                    context,
                    deadline,
                    server_name=server_name,
                    proxied=self._through is not None,
                )
                stream, report = await dial_soon(connecting, reach, secure, _aclose, deadline)
        except OSError as error:
            raise _told(error) from error
        stream.ech_report = report  # type: ignore[attr-defined]
        return stream

    async def _tunnel(
        self, connecting: Connecting, place: Place, deadline: float | None
    ) -> httpcore.AsyncNetworkStream:
        through = self._through
        assert through is not None
        host = self._dialer.destination(connecting, place)
        try:
            stream = await super().connect_tcp(
                through.host, through.port, left(deadline, through.host)
            )
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise httpcore.ProxyError(f"{through.host}:{through.port}: {error}") from error
        try:
            tls = through.tls()
            if tls is not None:
                stream = await stream.start_tls(tls, through.host, left(deadline, through.host))
            dialogue = through.dialogue(host, place.port)
            data = next(dialogue)
            while True:
                await stream.write(data, left(deadline, through.host))
                data = dialogue.send(await stream.read(4096, left(deadline, through.host)))
        except StopIteration:
            return stream
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            await stream.aclose()
            raise httpcore.ProxyError(f"{through.host}:{through.port}: {error}") from error
        except BaseException:
            await stream.aclose()
            raise


async def _aclose(stream: httpcore.AsyncNetworkStream) -> None:
    await stream.aclose()


def _report(response: httpcore.Response) -> ConnectionReport | None:
    stream = response.extensions.get("network_stream")
    # That of an upgrade wraps the connection's.
    found = getattr(stream, "ech_report", None)
    if found is None:
        found = getattr(getattr(stream, "_stream", None), "ech_report", None)
    return found


def _with_report(response: httpcore.Response) -> httpcore.Response:
    response.extensions["ech"] = _report(response)
    return response


class Pool:
    """A pool for ``https`` with ECH, beside httpx's own for ``http``."""

    def __init__(
        self, plain: typing.Any, backend: Backend, arguments: dict[str, typing.Any]
    ) -> None:
        self._plain = plain
        self._hiding = httpcore.ConnectionPool(network_backend=backend, **arguments)

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        if request.url.scheme in (b"https", b"wss"):
            return _with_report(self._hiding.handle_request(request))
        return typing.cast(httpcore.Response, self._plain.handle_request(request))

    def __enter__(self) -> Pool:
        self._plain.__enter__()
        self._hiding.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: types.TracebackType | None = None,
    ) -> None:
        self._hiding.__exit__(kind, error, trace)
        self._plain.__exit__(kind, error, trace)

    def close(self) -> None:
        self._hiding.close()
        self._plain.close()


class AsyncPool:
    """A pool for ``https`` with ECH, beside httpx's own for ``http``."""

    def __init__(
        self, plain: typing.Any, backend: AsyncBackend, arguments: dict[str, typing.Any]
    ) -> None:
        self._plain = plain
        self._hiding = httpcore.AsyncConnectionPool(network_backend=backend, **arguments)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        if request.url.scheme in (b"https", b"wss"):
            return _with_report(await self._hiding.handle_async_request(request))
        return typing.cast(httpcore.Response, await self._plain.handle_async_request(request))

    async def __aenter__(self) -> AsyncPool:
        await self._plain.__aenter__()
        await self._hiding.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: types.TracebackType | None = None,
    ) -> None:
        await self._hiding.__aexit__(kind, error, trace)
        await self._plain.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        await self._hiding.aclose()
        await self._plain.aclose()
