"""Encrypted Client Hello (RFC 9849) for Python, on rustls.

- :func:`create_default_context`: an ``ssl`` context that finds out about ECH on its own.
- :mod:`echkit.ssl`: the standard ``ssl`` module with ECH, configs given by hand.
- :func:`lookup`: what HTTPS records say about a host.
- ``echkit.urllib3``, ``echkit.requests``, ``echkit.http``: adapters, imported by their users.
- :func:`report_of`: how an adapter made a connection.
- :mod:`echkit.testing`: an ECH internet on loopback, for tests.
"""

from __future__ import annotations

from . import ssl
from .ssl import ECHRejectedError

# As in `typing`, whose import takes longer than that of the extension.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing

    from ._context import (
        DiscoveringSSLContext,
        ECHDiscoveryError,
        ECHWarning,
        create_default_context,
    )
    from ._connection_report import ConnectionReport, report_of
    from ._discovery import Config, Discovery, Endpoint, Record, lookup

__all__ = [
    "Config",
    "ConnectionReport",
    "DiscoveringSSLContext",
    "Discovery",
    "ECHDiscoveryError",
    "ECHRejectedError",
    "ECHWarning",
    "Endpoint",
    "Record",
    "create_default_context",
    "lookup",
    "report_of",
    "ssl",
]
__version__ = "0.1.0"

# Imported when they are first used: with what they need in turn they take as long as `ssl`.
_LATER = {
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
