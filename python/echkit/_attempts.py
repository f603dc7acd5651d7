"""One handshake of an adapter: where it leads, and what its ClientHello offers.

An adapter chooses the endpoint, so that the context need not find out whom it is connected to. Libraries
wrap a connection somewhere inside; a context variable takes the choice there, through threads and event
loops alike.
"""

from __future__ import annotations

import contextvars
import types
import typing

from . import ssl

if typing.TYPE_CHECKING:
    from . import _echkit
    from ._connecting import Place

_under_way: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar(
    "echkit_attempt", default=None
)


class Attempt:
    """A connection under way; within ``with``, contexts offer what it says."""

    def __init__(
        self,
        place: Place,
        server_name: str,
        offer: _echkit.EchConfigList | None,
        source: str,
        *,
        grease: bool = False,
        retries: int = 0,
    ) -> None:
        self.place = place
        self.server_name = server_name
        self.offer = offer
        self.source = source
        """Where the offer comes from: ``dns``, ``cache``, ``retry``, ``manual`` or ``none``."""
        self.grease = grease
        self.retries = retries
        """How many rejections came before."""
        self.made: _echkit.SslObject | None = None
        """The TLS connection, once a context has made it."""

    def __enter__(self) -> Attempt:
        self._token = _under_way.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        _under_way.reset(self._token)


def under_way(server_hostname: str | None) -> Attempt | None:
    """The attempt that a connection to this server belongs to. A proxy's is not part of one."""
    attempt = _under_way.get()
    if attempt is None or server_hostname is None:
        return None
    return attempt if attempt.server_name == server_hostname.rstrip(".").lower() else None


ssl._under_way = under_way
