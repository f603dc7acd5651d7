"""The exceptions of the HTTP client: one tree, with the names of httpx.

What is about TLS is an ``ssl.SSLError`` too, what is about the network an ``OSError``, what took too
long a ``TimeoutError``, and what makes no sense a ``ValueError``.
"""

from __future__ import annotations

import ssl
import typing

from .ssl import ECHRejectedError

if typing.TYPE_CHECKING:
    from ._report import Report
    from ._response import Request, Response


class HTTPError(Exception):
    """A request failed, or its response was not wanted."""

    request: Request | None = None
    """The request, where one was made."""
    ech: Report | None = None
    """What was offered, shown and got until then; ``None`` where nothing was tried."""
    kind: str = ""
    """The stable kind, as ``ech get --json`` names it."""

    def __str__(self) -> str:
        # That of ssl.SSLError shows one argument as a tuple.
        return str(self.args[0]) if self.args else ""


class RequestError(HTTPError):
    """There is no response, or not all of it."""


class InvalidURL(RequestError, ValueError):
    """The URL is not one that can be fetched."""


class InvalidSetting(RequestError, ValueError):
    """A setting of the client or of the request makes no sense."""


class TransportError(RequestError, OSError):
    """The connection could not be made, or broke."""


class TimeoutException(TransportError, TimeoutError):
    """Out of time."""


class ConnectTimeout(TimeoutException):
    """No connection in time: DNS, TCP, TLS and every attempt together."""


class ReadTimeout(TimeoutException):
    """The server was idle for too long."""


class ConnectError(TransportError):
    """No address could be connected to."""


class NameResolutionError(ConnectError):
    """DNS gave no address, or did not answer where going on would be unsafe."""


class ProxyError(ConnectError):
    """A proxy did not connect to the host, or would learn a name that ECH may hide."""


class TLSError(TransportError, ssl.SSLError):
    """TLS failed."""

    library = "ECHKIT"
    reason = "TLS_ERROR"


class CertificateError(TLSError, ssl.SSLCertVerificationError):
    """The server's certificate is not trusted for the name that it has to prove."""

    reason = "CERTIFICATE_VERIFY_FAILED"
    verify_code = 1
    verify_message = "unspecified certificate verification error"


class ECHRequiredError(TLSError):
    """``ech="require"`` and there is no ECH. Nothing that names the host was sent."""

    reason = "ECH_NOT_POSSIBLE"


class ECHNotAcceptedError(TLSError, ECHRejectedError):
    """An authenticated server rejected ECH, and another try was not allowed or did not help."""

    reason = "ECH_REQUIRED"


class RemoteProtocolError(TransportError):
    """The server does not speak HTTP as it should, or ended the connection too early."""


class RedirectError(RequestError):
    """A redirect was not followed: too many, or to where it must not lead."""


class DecodingError(RequestError, ValueError):
    """The body is not coded as the server says."""


class ResponseTooLarge(RequestError):
    """The body is longer than ``max_body`` allows."""


class HTTPStatusError(HTTPError):
    """``raise_for_status()``: the status is an error."""

    response: Response
    kind = "status"


class StreamError(HTTPError, RuntimeError):
    """A body was read in a way that does not fit."""


class StreamConsumed(StreamError):
    """The body was read already and not kept."""


class ResponseNotRead(StreamError):
    """The body of a streamed response was not read yet."""


class StreamClosed(StreamError):
    """The response was closed before its body was read."""


_CLASSES: dict[str, type[RequestError]] = {
    "usage": InvalidSetting,
    "trust_anchors": TLSError,
    "url": InvalidURL,
    "name": NameResolutionError,
    "proxy_name": NameResolutionError,
    "connect": ConnectError,
    "timeout": TimeoutException,
    "tls": TLSError,
    "certificate": CertificateError,
    "ech_required": ECHRequiredError,
    "ech_rejected": ECHNotAcceptedError,
    "http": RemoteProtocolError,
    "redirect": RedirectError,
    "body_too_large": ResponseTooLarge,
    "decode": DecodingError,
    "proxy": ProxyError,
    "proxy_tunnel": ProxyError,
}

_TIMEOUTS: dict[str | None, type[RequestError]] = {"connect": ConnectTimeout, "read": ReadTimeout}


def exception(kind: str, step: str | None, text: str, document: str | None) -> RequestError:
    """The exception for what the extension met; it calls this."""
    chosen = _CLASSES.get(kind, RequestError)
    if kind == "timeout":
        chosen = _TIMEOUTS.get(step, chosen)
    error = chosen(text)
    error.kind = kind
    if document is not None:
        from ._report import report

        error.ech = report(document)
    if isinstance(error, ECHNotAcceptedError):
        error.retry_configs = (error.ech and error.ech.retry_configs) or b""
    if isinstance(error, CertificateError):
        error.verify_message = text
    return error
