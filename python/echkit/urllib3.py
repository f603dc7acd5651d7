"""ECH for urllib3 2.x: pool managers whose connections look up, offer, and connect again.

::

    pool = echkit.urllib3.PoolManager()
    response = pool.request("GET", "https://example.com/")
    print(response.ech.status)
"""

from __future__ import annotations

import os
import socket
import ssl as _std
import sys
import types
import typing

import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
import urllib3.poolmanager
import urllib3.util.ssl_

from . import ssl
from ._attempts import Attempt
from ._connecting import Connecting, Place
from ._connection_report import ConnectionReport
from ._context import DiscoveringSSLContext
from ._dialing import Dialer, checked, deadline_of, dial
from ._race import left, race
from ._tunnels import TunnelsByAddress

__all__ = [
    "HTTPSConnection",
    "HTTPSConnectionPool",
    "PoolManager",
    "ProxyManager",
    "SOCKSProxyManager",
    "create_urllib3_context",
]

_Path = str | os.PathLike[str]

# urllib3's own function, so that what it sets follows its version.
_create: typing.Callable[..., DiscoveringSSLContext] = types.FunctionType(
    urllib3.util.ssl_.create_urllib3_context.__code__,
    {**vars(urllib3.util.ssl_), "SSLContext": DiscoveringSSLContext},
    "create_urllib3_context",
    urllib3.util.ssl_.create_urllib3_context.__defaults__,
)


def create_urllib3_context(*args: typing.Any, **kwargs: typing.Any) -> DiscoveringSSLContext:
    """A context as ``urllib3.util.create_urllib3_context`` makes it, for connections with ECH."""
    return _create(*args, **kwargs)


_MODULE = Dialer()


class HTTPSConnection(TunnelsByAddress, urllib3.connection.HTTPSConnection):
    """A connection of urllib3's that is made with ECH. ``ech_report`` says how."""

    ech_dialer: Dialer = _MODULE
    """What it has in common with others: the resolver, the mode, retry configs."""
    ech_report: ConnectionReport | None = None
    _reached: socket.socket | None = None

    def connect(self) -> None:
        """Connect to an endpoint of the host, and make TLS with ECH."""
        if self.proxy_is_forwarding:
            return super().connect()
        tunnelled = self.proxy_is_tunneling
        host = (self._tunnel_host if tunnelled else self.host) or ""
        port = (self._tunnel_port if tunnelled else self.port) or 443
        timeout = self.timeout if isinstance(self.timeout, (int, float)) else None
        deadline = deadline_of(timeout)
        connecting = self._connecting(host.strip("[]"), port, deadline)

        def reach(places: list[Place]) -> tuple[Place, socket.socket]:
            return self._reach(connecting, places, deadline)

        def secure(attempt: Attempt, sock: socket.socket) -> None:
            self._reached = sock
            self.echkit_destination = (
                self.ech_dialer.destination(connecting, attempt.place),
                attempt.place.port,
            )
            sock.settimeout(left(deadline, host))
            super(HTTPSConnection, self).connect()

        def close(sock: socket.socket) -> None:
            self._reached = None
            sock.close()
            if self.sock is not None:
                self.sock.close()
            self.sock = None

        try:
            _, self.ech_report = dial(connecting, reach, secure, close, deadline)
        except Unreached as error:
            text = f"Failed to establish a new connection: {error}"
            raise urllib3.exceptions.NewConnectionError(self, text) from error
        except TimeoutError as error:
            text = f"Connection to {host} timed out. (connect timeout={timeout})"
            raise urllib3.exceptions.ConnectTimeoutError(self, text) from error
        if self.sock is not None:
            self.sock.settimeout(timeout)

    def getresponse(self) -> typing.Any:
        """The response, with the report of its connection as ``ech``."""
        response = super().getresponse()
        response.ech = self.ech_report  # type: ignore[attr-defined]
        return response

    def _connecting(self, host: str, port: int, deadline: float | None) -> Connecting:
        try:
            context = self._context()
            return self.ech_dialer.connecting(
                host,
                port,
                context,
                deadline,
                server_name=self.server_hostname,
                proxied=self._is_proxied(),
            )
        except socket.gaierror as error:
            self._has_connected_to_proxy = True
            raise urllib3.exceptions.NameResolutionError(host, self, error) from error
        except TimeoutError as error:
            text = f"Connection to {host} timed out: the look-up took too long"
            raise urllib3.exceptions.ConnectTimeoutError(self, text) from error
        except _std.SSLError:
            # Not one of the proxy, as urllib3 would take it to be.
            self._has_connected_to_proxy = True
            raise

    def _is_proxied(self) -> bool:
        return self.proxy is not None

    def _context(self) -> ssl.SSLContext:
        """The context of this connection; urllib3 makes its own where it is given none."""
        if self.ssl_context is None:
            # The same steps as in urllib3.connection.
            self.ssl_context = create_urllib3_context(
                ssl_version=urllib3.util.ssl_.resolve_ssl_version(self.ssl_version),
                ssl_minimum_version=self.ssl_minimum_version,
                ssl_maximum_version=self.ssl_maximum_version,
                cert_reqs=urllib3.util.ssl_.resolve_cert_reqs(self.cert_reqs),
            )
            if not (self.ca_certs or self.ca_cert_dir or self.ca_cert_data):
                self.ssl_context.load_default_certs()
        found = checked(self.ssl_context)
        assert found is not None
        return found

    def _reach(
        self, connecting: Connecting, places: list[Place], deadline: float | None
    ) -> tuple[Place, socket.socket]:
        if self.proxy is not None:
            return places[0], super()._new_conn()
        try:
            return race(
                places,
                connecting.unreachable,
                deadline,
                source_address=self.source_address,
                options=self.socket_options or (),
            )
        except TimeoutError:
            raise
        except OSError as error:
            raise Unreached(*error.args) from error

    def _new_conn(self) -> socket.socket:
        reached, self._reached = self._reached, None
        if reached is None:
            return super()._new_conn()
        sys.audit("http.client.connect", self, self.host, self.port)
        return reached


class Unreached(OSError):
    """No connection to any address."""


class HTTPSConnectionPool(urllib3.connectionpool.HTTPSConnectionPool):
    """A pool of connections with ECH."""

    ConnectionCls: typing.Any = HTTPSConnection
    ech_dialer: Dialer = _MODULE

    def _new_conn(self) -> typing.Any:
        made = super()._new_conn()
        if isinstance(made, HTTPSConnection):
            made.ech_dialer = self.ech_dialer
        return made


class _Managed(urllib3.poolmanager.PoolManager):
    """What the managers here have in common."""

    ech_dialer: Dialer

    def _new_pool(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        made = super()._new_pool(*args, **kwargs)
        if isinstance(made, HTTPSConnectionPool):
            made.ech_dialer = self.ech_dialer
        return made


_POOLS = {**urllib3.poolmanager.pool_classes_by_scheme, "https": HTTPSConnectionPool}


class PoolManager(_Managed):
    """urllib3's ``PoolManager``, with ECH. Other arguments are urllib3's."""

    def __init__(
        self,
        *args: typing.Any,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        **kwargs: typing.Any,
    ) -> None:
        self.ech_dialer = Dialer(ech, dns, dns_cafile)
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = _POOLS


class ProxyManager(_Managed, urllib3.poolmanager.ProxyManager):
    """urllib3's ``ProxyManager``, with ECH: the proxy is asked for addresses, unless
    ``proxy_resolves`` says that it may know the names."""

    def __init__(
        self,
        *args: typing.Any,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
        **kwargs: typing.Any,
    ) -> None:
        self.ech_dialer = Dialer(ech, dns, dns_cafile, proxy_resolves=proxy_resolves)
        super().__init__(*args, **kwargs)
        if self.proxy is not None and self.proxy_config is not None:
            if self.proxy_config.use_forwarding_for_https and self.proxy.scheme == "https":
                raise ValueError("use_forwarding_for_https shows the proxy every name: not with ECH")
        self.pool_classes_by_scheme = _POOLS


def SOCKSProxyManager(
    proxy_url: str,
    *args: typing.Any,
    ech: typing.Literal["prefer", "require"] = "prefer",
    dns: str | None = None,
    dns_cafile: _Path | None = None,
    proxy_resolves: bool = False,
    **kwargs: typing.Any,
) -> typing.Any:
    """urllib3's ``SOCKSProxyManager``, with ECH; needs PySocks."""
    from ._urllib3_socks import SOCKSProxyManager as Manager

    dialer = Dialer(ech, dns, dns_cafile, proxy_resolves=proxy_resolves)
    return Manager(dialer, proxy_url, *args, **kwargs)
