"""ECH for requests: an adapter, and a session that has it mounted.

::

    with echkit.requests.Session() as session:
        response = session.get("https://example.com/")
        print(response.ech.status)
"""

from __future__ import annotations

import os
import ssl as _std
import typing

import requests
import requests.adapters
import requests.utils

from . import urllib3
from ._dialing import Dialer

__all__ = ["ECHAdapter", "Session"]

_Path = str | os.PathLike[str]


class ECHAdapter(requests.adapters.HTTPAdapter):
    """Mount it for ``https://``. Other arguments are those of ``requests.adapters.HTTPAdapter``."""

    __attrs__ = [
        *requests.adapters.HTTPAdapter.__attrs__,
        "ech",
        "dns",
        "dns_cafile",
        "proxy_resolves",
    ]

    def __init__(
        self,
        *args: typing.Any,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
        **kwargs: typing.Any,
    ) -> None:
        self.ech, self.dns, self.dns_cafile = ech, dns, dns_cafile
        self.proxy_resolves = proxy_resolves
        self._set_dialer()
        super().__init__(*args, **kwargs)

    def _set_dialer(self) -> None:
        self._dialer = Dialer(
            self.ech, self.dns, self.dns_cafile, proxy_resolves=self.proxy_resolves
        )

    def __setstate__(self, state: dict[str, typing.Any]) -> None:
        self.__dict__.update(state)
        self._set_dialer()
        super().__setstate__(state)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: typing.Any
    ) -> None:
        """As requests does it, with connections that have ECH."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager = urllib3.PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs
        )
        self.poolmanager.ech_dialer = self._dialer

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: typing.Any) -> typing.Any:
        """As requests does it, with connections that have ECH."""
        known = self.proxy_manager.get(proxy)
        if known is not None:
            return known
        shared = {
            "num_pools": self._pool_connections,
            "maxsize": self._pool_maxsize,
            "block": self._pool_block,
            "proxy_resolves": self.proxy_resolves,
            **proxy_kwargs,
        }
        made: typing.Any
        if proxy.lower().startswith("socks"):
            username, password = requests.utils.get_auth_from_url(proxy)
            made = urllib3.SOCKSProxyManager(
                proxy, username=username, password=password, **shared
            )
        else:
            headers = self.proxy_headers(proxy)
            made = urllib3.ProxyManager(proxy, proxy_headers=headers, **shared)
        made.ech_dialer = self._dialer
        self.proxy_manager[proxy] = made
        return made

    def send(
        self, request: requests.PreparedRequest, *args: typing.Any, **kwargs: typing.Any
    ) -> requests.Response:
        """Send a request. What TLS raised is the cause and the text of
        ``requests.exceptions.SSLError``."""
        try:
            return super().send(request, *args, **kwargs)
        except requests.exceptions.SSLError as error:
            cause = _tls_error(error)
            if cause is None:
                raise
            raise requests.exceptions.SSLError(str(cause), request=request) from cause
        except _std.SSLError as error:
            # Before there was a pool, as for a proxy that would learn names.
            raise requests.exceptions.SSLError(str(error), request=request) from error

    def build_response(self, req: requests.PreparedRequest, resp: typing.Any) -> requests.Response:
        """The response, with the report of its connection as ``ech``."""
        response = super().build_response(req, resp)
        response.ech = getattr(resp, "ech", None)  # type: ignore[attr-defined]
        return response


class Session(requests.Session):
    """A ``requests.Session`` whose HTTPS connections are made with ECH."""

    def __init__(
        self,
        *,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
    ) -> None:
        super().__init__()
        self.mount(
            "https://",
            ECHAdapter(ech=ech, dns=dns, dns_cafile=dns_cafile, proxy_resolves=proxy_resolves),
        )


def _tls_error(error: BaseException) -> _std.SSLError | None:
    """The error of ``ssl`` within one of requests', which wraps those of urllib3."""
    for _ in range(8):
        if isinstance(error, _std.SSLError):
            return error
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            return None
        error = inner
    return None
