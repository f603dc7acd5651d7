"""ECH for urllib3 through SOCKS5 proxies."""

from __future__ import annotations

import socket
import typing
import urllib.parse

import urllib3.connectionpool
import urllib3.contrib.socks
import urllib3.exceptions

from ._connecting import Connecting, Place
from ._dialing import Dialer
from ._proxy_dialogue import refuse_lookups
from .urllib3 import HTTPSConnection, HTTPSConnectionPool, Unreached, _Managed


class SOCKSHTTPSConnection(HTTPSConnection, urllib3.contrib.socks.SOCKSHTTPSConnection):
    """A connection through a SOCKS5 proxy, which is asked for addresses."""

    def _is_proxied(self) -> bool:
        return True

    def _reach(
        self, connecting: Connecting, places: list[Place], deadline: float | None
    ) -> tuple[Place, socket.socket]:
        named = self._dns_host, self.port
        refusal: Exception | None = None
        for place in places:
            self._dns_host = self.ech_dialer.destination(connecting, place)
            self.port = place.port
            try:
                return place, urllib3.contrib.socks.SOCKSHTTPSConnection._new_conn(self)
            except urllib3.exceptions.NewConnectionError as error:
                refusal = error
                connecting.unreachable(place, error)
            finally:
                self._dns_host, self.port = named
        raise Unreached(str(refusal)) from refusal


class SOCKSHTTPSConnectionPool(HTTPSConnectionPool):
    """A pool of connections through a SOCKS5 proxy."""

    ConnectionCls = SOCKSHTTPSConnection


class SOCKSProxyManager(_Managed, urllib3.contrib.socks.SOCKSProxyManager):
    """A manager of such pools."""

    def __init__(
        self, dialer: Dialer, proxy_url: str, *args: typing.Any, **kwargs: typing.Any
    ) -> None:
        parts = urllib.parse.urlsplit(proxy_url)
        refuse_lookups(
            parts.scheme, parts.hostname or "", parts.port or 1080, dialer.proxy_resolves
        )
        self.ech_dialer = dialer
        super().__init__(proxy_url, *args, **kwargs)
        # An address is what it is; a name is the proxy's to look up.
        self.connection_pool_kw["_socks_options"]["rdns"] = dialer.proxy_resolves
        self.pool_classes_by_scheme = {
            "http": urllib3.contrib.socks.SOCKSHTTPConnectionPool,
            "https": SOCKSHTTPSConnectionPool,
        }
