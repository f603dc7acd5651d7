"""Guards of a replaced ``ssl``: no library tells a proxy a name that ECH hides."""

from __future__ import annotations

import asyncio
import types
import typing

from ._context import discovery_error

Put = typing.Callable[[typing.Any, str, typing.Any], None]
Hides = typing.Callable[[str, int], bool]

MODULES = (
    "aiohttp.connector",
    "httpcore._async.http_proxy",
    "httpcore._async.socks_proxy",
    "httpcore._sync.http_proxy",
    "httpcore._sync.socks_proxy",
    "urllib3.connection",
    "urllib3.contrib.socks",
)


def guard(put: Put, module: types.ModuleType, hides: Hides) -> None:
    """Guard the connections of a module through proxies."""
    name = module.__name__
    if name == "aiohttp.connector":
        _guard_aiohttp(put, module.TCPConnector, hides)
    elif name == "urllib3.contrib.socks":
        _guard_urllib3_socks(put, module.SOCKSHTTPSConnection, hides)
    elif name == "urllib3.connection":
        guard_tunnels(put, module.HTTPConnection, hides)
    else:
        kind = "Tunnel" if name.endswith("http_proxy") else "Socks5"
        for found in (f"{kind}HTTPConnection", f"{kind}Connection"):
            _guard_httpcore(put, getattr(module, found, None), hides)
            _guard_httpcore(put, getattr(module, f"Async{found}", None), hides)


def refuse(host: str, port: int, hides: Hides) -> None:
    """Raise where ECH can hide a name."""
    if hides(host, port):
        raise discovery_error(
            f"{host}: a proxy would be told the name, which ECH hides; use an adapter of echkit for the "
            f"library, or NO_PROXY={host}",
            None,
        )


def guard_tunnels(put: Put, connection: type, hides: Hides) -> None:
    """Guard ``http.client``'s CONNECT, in a class and in those derived from it."""
    original = vars(connection).get("_tunnel")
    if original is not None:

        def _tunnel(self: typing.Any) -> None:
            refuse(self._tunnel_host, self._tunnel_port or 443, hides)
            original(self)

        put(connection, "_tunnel", _tunnel)
    derived: list[type] = connection.__subclasses__()
    for each in derived:
        # Our own adapters ask for addresses.
        if not each.__module__.startswith("echkit."):
            guard_tunnels(put, each, hides)


def _guard_urllib3_socks(put: Put, connection: typing.Any, hides: Hides) -> None:
    original = connection._new_conn

    def _new_conn(self: typing.Any) -> typing.Any:
        if self._socks_options["rdns"] and not hasattr(self, "ech_dialer"):
            refuse(self.host, self.port, hides)
        return original(self)

    put(connection, "_new_conn", _new_conn)


def _guard_httpcore(put: Put, connection: typing.Any, hides: Hides) -> None:
    if connection is None:
        return

    def where(self: typing.Any) -> tuple[str, int] | None:
        """The server of a connection that is still to be made."""
        made = getattr(self, "_connected", None) or (
            "_connect_failed" in vars(self) and self._connection is not None
        )
        origin = self._remote_origin
        if made or origin.scheme != b"https":
            return None
        return origin.host.decode("ascii"), origin.port

    if hasattr(connection, "handle_async_request"):
        waiting = connection.handle_async_request

        async def handle_async_request(self: typing.Any, request: typing.Any) -> typing.Any:
            asked = where(self)
            if asked is not None:
                import anyio.to_thread

                await anyio.to_thread.run_sync(refuse, *asked, hides)
            return await waiting(self, request)

        put(connection, "handle_async_request", handle_async_request)
        return
    original = connection.handle_request

    def handle_request(self: typing.Any, request: typing.Any) -> typing.Any:
        asked = where(self)
        if asked is not None:
            refuse(*asked, hides)
        return original(self, request)

    put(connection, "handle_request", handle_request)


def _guard_aiohttp(put: Put, connector: typing.Any, hides: Hides) -> None:
    original = connector._create_proxy_connection

    async def _create_proxy_connection(
        self: typing.Any, req: typing.Any, *rest: typing.Any, **more: typing.Any
    ) -> typing.Any:
        if req.is_ssl():
            await asyncio.to_thread(refuse, req.url.raw_host, req.port, hides)
        return await original(self, req, *rest, **more)

    put(connector, "_create_proxy_connection", _create_proxy_connection)
