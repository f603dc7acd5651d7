"""Encrypted Client Hello (RFC 9849) for Python, on rustls.

- :func:`get`, :func:`post` and the like, :class:`Client` and :class:`AsyncClient`: an HTTP client.
- :func:`create_default_context`: an ``ssl`` context that finds out about ECH on its own.
- :mod:`echkit.ssl`: the standard ``ssl`` module with ECH, configs given by hand.
- :func:`lookup`: what HTTPS records say about a host.
- :func:`check`, :func:`check_many`: what is wrong with a deployment of ECH; :func:`trace`: what the network sees.
- ``echkit.urllib3``, ``requests``, ``http``, ``httpx``, ``aiohttp``, ``asyncio``, ``websockets``: adapters, imported
  by their users.
- :func:`inject_into_ssl`: ECH for programs as they are; ``python -m echkit program.py``.
- :func:`report_of`: how an adapter made a connection.
- :mod:`echkit.testing`: an ECH internet on loopback, for tests.
"""

from __future__ import annotations

from . import ssl
from ._echkit import __version__ as __version__
from .ssl import ECHRejectedError

# As in `typing`, whose import takes longer than that of the extension.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing

    from ._async_client import AsyncClient
    from ._check import CheckReport, Finding, Place, Skipped, check, check_many
    from ._client import (
        Client,
        delete,
        get,
        head,
        options,
        patch,
        post,
        put,
        request,
        stream,
    )
    from ._connection_report import ConnectionReport, report_of
    from ._context import (
        DiscoveringSSLContext,
        ECHDiscoveryError,
        ECHWarning,
        create_default_context,
    )
    from ._cookies import Cookie, Cookies
    from ._discovery import Config, Discovery, Endpoint, Record, lookup
    from ._exceptions import (
        CertificateError,
        ConnectError,
        ConnectTimeout,
        DecodingError,
        ECHNotAcceptedError,
        ECHRequiredError,
        HTTPError,
        HTTPStatusError,
        InvalidSetting,
        InvalidURL,
        NameResolutionError,
        ProxyError,
        ReadTimeout,
        RedirectError,
        RemoteProtocolError,
        RequestError,
        ResponseNotRead,
        ResponseTooLarge,
        StreamClosed,
        StreamConsumed,
        StreamError,
        TimeoutException,
        TLSError,
        TransportError,
    )
    from ._headers import Headers
    from ._inject import extract_from_ssl, inject_into_ssl
    from ._options import Timeout
    from ._report import Report
    from ._response import Request, Response
    from ._trace import (
        ConnectionTrace,
        HelloField,
        HelloFields,
        HelloTrace,
        ServerAnswer,
        Sighting,
        Trace,
        trace,
    )

__all__ = [
    "AsyncClient",
    "CertificateError",
    "CheckReport",
    "Client",
    "Config",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionReport",
    "ConnectionTrace",
    "Cookie",
    "Cookies",
    "DecodingError",
    "DiscoveringSSLContext",
    "Discovery",
    "ECHDiscoveryError",
    "ECHNotAcceptedError",
    "ECHRejectedError",
    "ECHRequiredError",
    "ECHWarning",
    "Endpoint",
    "Finding",
    "HTTPError",
    "HTTPStatusError",
    "Headers",
    "HelloField",
    "HelloFields",
    "HelloTrace",
    "InvalidSetting",
    "InvalidURL",
    "NameResolutionError",
    "Place",
    "ProxyError",
    "ReadTimeout",
    "Record",
    "RedirectError",
    "RemoteProtocolError",
    "Report",
    "Request",
    "RequestError",
    "Response",
    "ResponseNotRead",
    "ResponseTooLarge",
    "ServerAnswer",
    "Sighting",
    "Skipped",
    "StreamClosed",
    "StreamConsumed",
    "StreamError",
    "TLSError",
    "Timeout",
    "TimeoutException",
    "Trace",
    "TransportError",
    "check",
    "check_many",
    "create_default_context",
    "delete",
    "extract_from_ssl",
    "get",
    "head",
    "inject_into_ssl",
    "lookup",
    "options",
    "patch",
    "post",
    "put",
    "report_of",
    "request",
    "ssl",
    "stream",
    "trace",
]

# Imported when they are first used: with what they need in turn they take as long as `ssl`.
_LATER = {
    "AsyncClient": "_async_client",
    "Client": "_client",
    "delete": "_client",
    "get": "_client",
    "head": "_client",
    "options": "_client",
    "patch": "_client",
    "post": "_client",
    "put": "_client",
    "request": "_client",
    "stream": "_client",
    "Cookie": "_cookies",
    "Cookies": "_cookies",
    "CertificateError": "_exceptions",
    "ConnectError": "_exceptions",
    "ConnectTimeout": "_exceptions",
    "DecodingError": "_exceptions",
    "ECHNotAcceptedError": "_exceptions",
    "ECHRequiredError": "_exceptions",
    "HTTPError": "_exceptions",
    "HTTPStatusError": "_exceptions",
    "InvalidSetting": "_exceptions",
    "InvalidURL": "_exceptions",
    "NameResolutionError": "_exceptions",
    "ProxyError": "_exceptions",
    "ReadTimeout": "_exceptions",
    "RedirectError": "_exceptions",
    "RemoteProtocolError": "_exceptions",
    "RequestError": "_exceptions",
    "ResponseNotRead": "_exceptions",
    "ResponseTooLarge": "_exceptions",
    "StreamClosed": "_exceptions",
    "StreamConsumed": "_exceptions",
    "StreamError": "_exceptions",
    "TLSError": "_exceptions",
    "TimeoutException": "_exceptions",
    "TransportError": "_exceptions",
    "Headers": "_headers",
    "Timeout": "_options",
    "Report": "_report",
    "Request": "_response",
    "Response": "_response",
    "DiscoveringSSLContext": "_context",
    "ECHDiscoveryError": "_context",
    "ECHWarning": "_context",
    "create_default_context": "_context",
    "ConnectionReport": "_connection_report",
    "report_of": "_connection_report",
    "Config": "_discovery",
    "Discovery": "_discovery",
    "Endpoint": "_discovery",
    "Record": "_discovery",
    "lookup": "_discovery",
    "CheckReport": "_check",
    "Finding": "_check",
    "Place": "_check",
    "Skipped": "_check",
    "check": "_check",
    "check_many": "_check",
    "ConnectionTrace": "_trace",
    "HelloField": "_trace",
    "HelloFields": "_trace",
    "HelloTrace": "_trace",
    "ServerAnswer": "_trace",
    "Sighting": "_trace",
    "Trace": "_trace",
    "trace": "_trace",
    "extract_from_ssl": "_inject",
    "inject_into_ssl": "_inject",
}


def __getattr__(name: str) -> typing.Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f".{module}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
