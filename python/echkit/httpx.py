"""ECH for httpx: transports for clients, with HTTP/2 where httpx has it, under asyncio and trio.

::

    with httpx.Client(transport=echkit.httpx.HTTPTransport()) as client:
        response = client.get("https://example.com/")
        print(response.extensions["ech"].status)
"""

from __future__ import annotations

import os
import ssl as _std
import typing

import httpx

from ._context import DiscoveringSSLContext, create_default_context
from ._dialing import Dialer, checked
from ._httpcore import AsyncBackend, AsyncPool, Backend, Pool
from ._proxy_dialogue import Through, refuse_lookups

__all__ = ["AsyncHTTPTransport", "HTTPTransport", "create_ssl_context"]

_Path = str | os.PathLike[str]
_Cert = str | tuple[str, str] | tuple[str, str, str]
_Verify = _std.SSLContext | str | bool


def create_ssl_context(
    verify: _Verify = True, cert: _Cert | None = None, trust_env: bool = True
) -> _std.SSLContext:
    """A context as ``httpx.create_ssl_context`` makes it, for connections with ECH."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    context: _std.SSLContext
    if isinstance(verify, _std.SSLContext):
        checked(verify)
        context = verify
    elif isinstance(verify, str):
        where = {"capath" if os.path.isdir(verify) else "cafile": verify}
        context = create_default_context(**where)  # type: ignore[arg-type]
    elif not verify:
        context = DiscoveringSSLContext(_std.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = _std.CERT_NONE
    elif trust_env and file:
        context = create_default_context(cafile=file)
    elif trust_env and folder:
        context = create_default_context(capath=folder)
    else:
        import certifi

        context = create_default_context(cafile=certifi.where())
    if cert is not None:
        context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    return context


def _parts(
    arguments: dict[str, typing.Any],
    ech: typing.Literal["prefer", "require"],
    dns: str | None,
    dns_cafile: _Path | None,
    proxy_resolves: bool,
) -> tuple[Dialer, Through | None, dict[str, typing.Any]]:
    """The dialer, the way through a proxy, and the arguments of an httpcore pool."""
    alpn = tuple(
        name
        for name, wanted in ((b"h2", arguments.get("http2")), (b"http/1.1", arguments.get("http1", True)))
        if wanted
    )
    dialer = Dialer(ech, dns, dns_cafile, proxy_resolves=proxy_resolves, alpn=alpn)
    proxy = arguments.get("proxy")
    if isinstance(proxy, (str, httpx.URL)):
        proxy = httpx.Proxy(proxy)
        arguments["proxy"] = proxy
    through = None
    if proxy is not None:
        port = proxy.url.port or {"http": 80, "https": 443}.get(proxy.url.scheme, 1080)
        refuse_lookups(proxy.url.scheme, proxy.url.host, port, proxy_resolves)
        through = Through(
            proxy.url.scheme,
            proxy.url.host,
            port,
            proxy.raw_auth,
            tuple(proxy.headers.raw),
            proxy.ssl_context,
        )
    context = create_ssl_context(
        arguments.get("verify", True), arguments.pop("cert", None), arguments.get("trust_env", True)
    )
    arguments["verify"] = context
    limits = arguments.get("limits", httpx.Limits(max_connections=100, max_keepalive_connections=20))
    pool = {
        "ssl_context": context,
        "max_connections": limits.max_connections,
        "max_keepalive_connections": limits.max_keepalive_connections,
        "keepalive_expiry": limits.keepalive_expiry,
        "http1": arguments.get("http1", True),
        "http2": arguments.get("http2", False),
        "local_address": arguments.get("local_address"),
        "retries": arguments.get("retries", 0),
        "socket_options": arguments.get("socket_options"),
    }
    return dialer, through, pool


class HTTPTransport(httpx.HTTPTransport):
    """``httpx.HTTPTransport`` with ECH. Other arguments are httpx's."""

    def __init__(
        self,
        *,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
        **arguments: typing.Any,
    ) -> None:
        dialer, through, pool = _parts(arguments, ech, dns, dns_cafile, proxy_resolves)
        super().__init__(**arguments)
        if arguments.get("uds") is None:
            self._pool = Pool(self._pool, Backend(dialer, through), pool)  # type: ignore[assignment]


class AsyncHTTPTransport(httpx.AsyncHTTPTransport):
    """``httpx.AsyncHTTPTransport`` with ECH, under asyncio and trio. Other arguments are httpx's."""

    def __init__(
        self,
        *,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
        **arguments: typing.Any,
    ) -> None:
        dialer, through, pool = _parts(arguments, ech, dns, dns_cafile, proxy_resolves)
        super().__init__(**arguments)
        if arguments.get("uds") is None:
            backend = AsyncBackend(dialer, through)
            self._pool = AsyncPool(self._pool, backend, pool)  # type: ignore[assignment]
