"""Encrypted Client Hello (RFC 9849) for Python, on rustls."""

from . import ssl

__all__ = ["ssl"]
__version__ = "0.1.0"
