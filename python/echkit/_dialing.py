"""Connections of adapters: looked up, raced, made with ECH, and made once more after a rejection."""

from __future__ import annotations

import collections
import os
import ssl as _std
import time
import typing

from . import _loops, ssl
from ._answers import Answers, Retries, key_of
from ._attempts import Attempt
from ._connecting import Connecting, Place
from ._connection_report import ConnectionReport
from ._context import DiscoveringSSLContext
from ._discovery import Answer, look_up, resolver
from ._files import shorten
from ._race import left

S = typing.TypeVar("S")
T = typing.TypeVar("T")


class Dialer:
    """What the connections of one pool, session or connector have in common.

    ``ech``, ``dns`` and ``dns_cafile`` are those of ``echkit.create_default_context``. With
    ``proxy_resolves`` a proxy is told the host's name in place of an address.
    """

    def __init__(
        self,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: str | os.PathLike[str] | None = None,
        *,
        proxy_resolves: bool = False,
        alpn: tuple[bytes, ...] = (b"http/1.1",),
    ) -> None:
        if ech not in ("prefer", "require"):
            raise ValueError(f"ech must be 'prefer' or 'require', not {ech!r}")
        if dns is not None or dns_cafile is not None:
            resolver(dns, dns_cafile)  # raises for what is no resolver
        self.ech = ech
        self.dns = dns
        self.dns_cafile = dns_cafile
        self.proxy_resolves = proxy_resolves
        self.alpn = alpn
        self._retries = Retries()
        # By resolver, which the context may bring.
        self._answers: collections.OrderedDict[typing.Any, Answers] = collections.OrderedDict()

    def connecting(
        self,
        host: str,
        port: int,
        context: _std.SSLContext | None,
        deadline: float | None,
        *,
        server_name: str | None = None,
        proxied: bool = False,
    ) -> Connecting:
        """Looks a host up, and says what a connection to it needs."""
        context = checked(context)
        asked = self._resolver(context)
        kept, key = self._kept(asked), key_of(host)
        answer = next(kept.of(key, fresh=True, port=port), None)
        if answer is None:
            found = _loops.call_beside(
                lambda: look_up(asked, host, port, "https", self.alpn, left(deadline, host))
            )
            answer = kept.keep(key, found)
        return self._connecting(answer, context, server_name, proxied)

    async def connecting_soon(
        self,
        host: str,
        port: int,
        context: _std.SSLContext | None,
        deadline: float | None,
        *,
        server_name: str | None = None,
        proxied: bool = False,
    ) -> Connecting:
        """What :meth:`connecting` does, in an event loop."""
        context = checked(context)
        asked = self._resolver(context)
        kept, key = self._kept(asked), key_of(host)
        answer = next(kept.of(key, fresh=True, port=port), None)
        if answer is None:
            found = await _loops.look_up_soon(asked, host, port, self.alpn, left(deadline, host))
            answer = kept.keep(key, found)
        return self._connecting(answer, context, server_name, proxied)

    def _kept(self, asked: typing.Any) -> Answers:
        """What a resolver has said, for as long as the TTL lasts."""
        kept = self._answers.get(asked)
        if kept is None:
            kept = self._answers[asked] = Answers()
            shorten(self._answers, 16)
        return kept

    def _resolver(self, context: ssl.SSLContext | None) -> typing.Any:
        if self.dns is None and isinstance(context, DiscoveringSSLContext):
            return resolver(context._dns, context._dns_cafile)
        return resolver(self.dns, self.dns_cafile)

    def _connecting(
        self,
        answer: Answer,
        context: ssl.SSLContext | None,
        server_name: str | None,
        proxied: bool,
    ) -> Connecting:
        required = "require" in (self.ech, getattr(context, "ech", None))
        return Connecting(
            answer,
            "require" if required else "prefer",
            self._retries,
            server_name=server_name,
            by_hand=getattr(context, "_ech_config", None),
            proxied=proxied,
        )

    def destination(self, connecting: Connecting, place: Place) -> str:
        """What a proxy is asked to connect to: an address, so that it does not learn the name."""
        if self.proxy_resolves and place.endpoint.target == connecting.host:
            return connecting.host
        return str(place.address)


def checked(context: _std.SSLContext | None) -> ssl.SSLContext | None:
    """A context with which ECH can be offered."""
    if context is None or isinstance(context, ssl.SSLContext):
        return context
    raise TypeError(
        f"{type(context).__module__}.{type(context).__qualname__} cannot offer ECH; give a context of "
        "echkit.create_default_context() or echkit.ssl.create_default_context()"
    )


def deadline_of(timeout: float | None) -> float | None:
    """The moment at which a time-out ends."""
    return None if timeout is None else time.monotonic() + timeout


def dial(
    connecting: Connecting,
    reach: typing.Callable[[list[Place]], tuple[Place, S]],
    secure: typing.Callable[[Attempt, S], T],
    close: typing.Callable[[S], object],
    deadline: float | None,
) -> tuple[T, ConnectionReport]:
    """Makes a connection. ``reach`` gives a stream to one of some places, ``secure`` makes TLS of it."""
    while True:
        try:
            place, stream = reach(connecting.places())
        except OSError as error:
            left(deadline, connecting.host)
            connecting.go_on(error)
            continue
        attempt = connecting.attempt(place)
        try:
            with attempt:
                made = secure(attempt, stream)
        except BaseException as error:
            close(stream)
            if not isinstance(error, Exception):
                raise
            connecting.failed(attempt, error)
            left(deadline, connecting.host)
            continue
        return made, connecting.succeeded(attempt)


async def dial_soon(
    connecting: Connecting,
    reach: typing.Callable[[list[Place]], typing.Awaitable[tuple[Place, S]]],
    secure: typing.Callable[[Attempt, S], typing.Awaitable[T]],
    close: typing.Callable[[S], typing.Awaitable[object]],
    deadline: float | None,
) -> tuple[T, ConnectionReport]:
    """What :func:`dial` does, in an event loop."""
    while True:
        try:
            place, stream = await reach(connecting.places())
        except OSError as error:
            left(deadline, connecting.host)
            connecting.go_on(error)
            continue
        attempt = connecting.attempt(place)
        try:
            with attempt:
                made = await secure(attempt, stream)
        except BaseException as error:
            await close(stream)
            if not isinstance(error, Exception):
                raise
            connecting.failed(attempt, error)
            left(deadline, connecting.host)
            continue
        return made, connecting.succeeded(attempt)
