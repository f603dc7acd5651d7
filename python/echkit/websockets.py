"""ECH for websockets: ``connect`` of its asyncio client.

::

    async with echkit.websockets.connect("wss://example.com/") as connection:
        print(echkit.report_of(connection).status)
"""

from __future__ import annotations

import os
import typing

import websockets.asyncio.client

if not hasattr(websockets.asyncio.client.connect, "open_tcp_connection"):
    # It would not call the method below, and show the names.
    raise ImportError("echkit.websockets needs websockets 17 or later")

from websockets.proxy import get_proxy, parse_proxy

from . import asyncio as _streams
from ._asyncio import connect as connect_streams
from ._context import create_default_context
from ._dialing import Dialer, checked
from ._proxy_dialogue import Through, refuse_lookups

__all__ = ["connect"]

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
        if not self.ws_uri.secure or self.create_connection_kwargs.get("unix", False):
            return await super().open_tcp_connection()
        kwargs = {"ssl": None, **self.create_connection_kwargs}
        context = kwargs.pop("ssl")
        context = checked(None if context is True else context) or create_default_context()
        dialer = _streams.dialer_of(context, **self._ech)
        _, connection, _ = await connect_streams(
            dialer,
            lambda: self.factory(self.ws_uri),
            kwargs.pop("host", None) or self.ws_uri.host,
            kwargs.pop("port", None) or self.ws_uri.port,
            context,
            server_name=kwargs.pop("server_hostname", None),
            through=self._through(dialer),
            source_address=kwargs.pop("local_addr", None),
            **kwargs,
        )
        return connection

    def _through(self, dialer: Dialer) -> Through | None:
        proxy = get_proxy(self.ws_uri) if self.proxy is True else self.proxy
        if proxy is None:
            return None
        found = parse_proxy(proxy)
        refuse_lookups(found.scheme, found.host, found.port, dialer.proxy_resolves)
        auth = None
        if found.username is not None:
            auth = found.username.encode(), (found.password or "").encode()
        return Through(found.scheme, found.host, found.port, auth, (), None)
