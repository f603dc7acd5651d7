"""ECH for websockets: ``connect`` of its asyncio client.

::

    async with echkit.websockets.connect("wss://example.com/") as connection:
        print(echkit.report_of(connection).status)
"""

from __future__ import annotations

import os
import typing

import websockets.asyncio.client

try:
    from websockets.proxy import get_proxy, parse_proxy
except ImportError:  # websockets 15
    from websockets.uri import get_proxy, parse_proxy  # type: ignore[attr-defined,no-redef]
from websockets.uri import WebSocketURI, parse_uri

from . import asyncio as _streams
from ._asyncio import connect as connect_streams
from ._context import create_default_context
from ._dialing import Dialer, checked
from ._proxy_dialogue import Through, refuse_lookups

__all__ = ["connect"]

_client: typing.Any = websockets.asyncio.client.connect
if not any(hasattr(_client, name) for name in ("open_tcp_connection", "create_connection")):
    # Neither of the methods below would be called, and the names would show.
    raise ImportError("echkit.websockets needs websockets 15 or later")

_Path = str | os.PathLike[str]


class connect(websockets.asyncio.client.connect):
    """``websockets.connect`` with ECH for ``wss`` URIs. Other arguments are the library's."""

    def __init__(
        self,
        uri: str,
        *args: typing.Any,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
        **kwargs: typing.Any,
    ) -> None:
        self._ech: dict[str, typing.Any] = {"ech": ech, "dns": dns, "dns_cafile": dns_cafile}
        self._ech["proxy_resolves"] = proxy_resolves
        super().__init__(uri, *args, **kwargs)

    async def open_tcp_connection(self) -> websockets.asyncio.client.ClientConnection:
        """Connect to an endpoint of the host, and make TLS with ECH."""
        if not _encrypts(self.ws_uri, self.create_connection_kwargs):
            return await super().open_tcp_connection()
        return await self._opened(self.ws_uri, self.create_connection_kwargs, self.factory)

    async def _opened(
        self,
        uri: WebSocketURI,
        given: dict[str, typing.Any],
        factory: typing.Callable[[WebSocketURI], websockets.asyncio.client.ClientConnection],
    ) -> websockets.asyncio.client.ClientConnection:
        kwargs = {"ssl": None, **given}
        context = kwargs.pop("ssl")
        context = checked(None if context is True else context) or create_default_context()
        dialer = _streams.dialer_of(context, **self._ech)
        _, connection, _ = await connect_streams(
            dialer,
            lambda: factory(uri),
            kwargs.pop("host", None) or uri.host,
            kwargs.pop("port", None) or uri.port,
            context,
            server_name=kwargs.pop("server_hostname", None),
            through=self._through(dialer, uri),
            source_address=kwargs.pop("local_addr", None),
            **kwargs,
        )
        return connection

    def _through(self, dialer: Dialer, uri: WebSocketURI) -> Through | None:
        proxy = get_proxy(uri) if self.proxy is True else self.proxy
        if proxy is None:
            return None
        found = parse_proxy(proxy)
        refuse_lookups(found.scheme, found.host, found.port, dialer.proxy_resolves)
        auth = None
        if found.username is not None:
            auth = found.username.encode(), (found.password or "").encode()
        return Through(found.scheme, found.host, found.port, auth, (), None)


def _encrypts(uri: WebSocketURI, kwargs: dict[str, typing.Any]) -> bool:
    return uri.secure and not kwargs.get("unix", False)


async def _create_connection(self: typing.Any) -> websockets.asyncio.client.ClientConnection:
    """What ``open_tcp_connection`` does, as websockets 15 and 16 call it."""
    uri, kwargs = parse_uri(self.uri), self.connection_kwargs
    made: websockets.asyncio.client.ClientConnection
    if _encrypts(uri, kwargs):
        made = await self._opened(uri, kwargs, self.protocol_factory)
    else:
        made = await _client.create_connection(self)
    return made


if not hasattr(_client, "open_tcp_connection"):
    connect.create_connection = _create_connection  # type: ignore[attr-defined]
