"""Encrypted Client Hello (RFC 9849) for Python, on rustls.

- :func:`create_default_context`: an ``ssl`` context that finds out about ECH on its own.
- :mod:`echkit.ssl`: the standard ``ssl`` module with ECH, configs given by hand.
- :func:`lookup`: what HTTPS records say about a host.
- :mod:`echkit.testing`: an ECH internet on loopback, for tests.
"""

from . import ssl
from ._context import (
    DiscoveringSSLContext,
    ECHDiscoveryError,
    ECHWarning,
    create_default_context,
)
from ._discovery import Config, Discovery, Endpoint, Record, lookup
from .ssl import ECHRejectedError

__all__ = [
    "Config",
    "DiscoveringSSLContext",
    "Discovery",
    "ECHDiscoveryError",
    "ECHRejectedError",
    "ECHWarning",
    "Endpoint",
    "Record",
    "create_default_context",
    "lookup",
    "ssl",
]
__version__ = "0.1.0"
