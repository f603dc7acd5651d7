"""ECH for ``http.client`` and ``urllib.request`` of the standard library.

::

    connection = echkit.http.HTTPSConnection("example.com")
    opener = urllib.request.build_opener(echkit.http.HTTPSHandler())
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
import typing
import urllib.request

from ._attempts import Attempt
from ._connecting import Place
from ._connection_report import ConnectionReport
from ._context import create_default_context
from ._dialing import Dialer, checked, deadline_of, dial
from ._race import left, race
from ._tunnels import TunnelsByAddress

if typing.TYPE_CHECKING:
    import ssl as _std

__all__ = ["HTTPSConnection", "HTTPSHandler"]

_Path = str | os.PathLike[str]


class HTTPSConnection(TunnelsByAddress, http.client.HTTPSConnection):
    """``http.client.HTTPSConnection`` with ECH. ``ech`` to ``proxy_resolves`` are those of
    ``echkit.requests.Session``; ``ech_report`` says how the connection was made."""

    ech_report: ConnectionReport | None = None

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        context: _std.SSLContext | None = None,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
        dialer: Dialer | None = None,
        **kwargs: typing.Any,
    ) -> None:
        if context is None:
            context = create_default_context()
            context.set_alpn_protocols(["http/1.1"])
        self._dialer = dialer or Dialer(ech, dns, dns_cafile, proxy_resolves=proxy_resolves)
        self._ech_context = checked(context)
        super().__init__(host, port, context=context, **kwargs)

    def connect(self) -> None:
        """Connect to an endpoint of the host, and make TLS with ECH."""
        timeout = self.timeout
        if timeout is socket._GLOBAL_DEFAULT_TIMEOUT:  # type: ignore[attr-defined]
            timeout = socket.getdefaulttimeout()
        deadline = deadline_of(timeout)
        tunnelled = self._tunnel_host is not None
        host = self._tunnel_host or self.host
        port = (self._tunnel_port if tunnelled else self.port) or self.default_port
        connecting = self._dialer.connecting(
            host.strip("[]"), port, self._ech_context, deadline, proxied=tunnelled
        )

        def reach(places: list[Place]) -> tuple[Place, socket.socket | None]:
            if tunnelled:
                return places[0], None
            options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
            return race(
                places,
                connecting.unreachable,
                deadline,
                source_address=self.source_address,  # type: ignore[attr-defined]
                options=options,
            )

        def secure(attempt: Attempt, sock: socket.socket | None) -> None:
            place = attempt.place
            self.echkit_destination = self._dialer.destination(connecting, place), place.port
            if sock is None:
                http.client.HTTPConnection.connect(self)
            else:
                sys.audit("http.client.connect", self, self.host, self.port)
                self.sock = sock
            self.sock.settimeout(left(deadline, host))
            self.sock = self._ech_context.wrap_socket(  # type: ignore[union-attr]
                self.sock, server_hostname=host
            )

        def close(sock: socket.socket | None) -> None:
            for each in (sock, self.sock):
                if each is not None:
                    each.close()
            self.sock = typing.cast(socket.socket, None)

        _, self.ech_report = dial(connecting, reach, secure, close, deadline)
        self.sock.settimeout(timeout)

    def getresponse(self) -> http.client.HTTPResponse:
        """The response, with the report of its connection as ``ech``."""
        response = super().getresponse()
        response.ech = self.ech_report  # type: ignore[attr-defined]
        return response


class HTTPSHandler(urllib.request.HTTPSHandler):
    """A handler for ``urllib.request.build_opener``."""

    def __init__(
        self,
        debuglevel: int = 0,
        context: _std.SSLContext | None = None,
        *,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
    ) -> None:
        if context is None:
            context = create_default_context()
            context.set_alpn_protocols(["http/1.1"])
        checked(context)
        super().__init__(debuglevel, context)
        self._ech_context = context
        # One for all connections: retry configs of one serve the next.
        self._dialer = Dialer(ech, dns, dns_cafile, proxy_resolves=proxy_resolves)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a URL with ECH."""

        def connection(host: str, **kwargs: typing.Any) -> HTTPSConnection:
            kwargs.pop("check_hostname", None)
            kwargs["context"] = self._ech_context
            return HTTPSConnection(host, dialer=self._dialer, **kwargs)

        return self.do_open(connection, req)
