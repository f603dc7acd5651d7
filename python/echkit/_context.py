"""Contexts that find out about Encrypted Client Hello on their own."""

from __future__ import annotations

import errno
import functools
import ipaddress
import operator
import os
import socket
import ssl as _std
import types
import typing
import warnings

from . import _echkit, _loops, ssl
from ._answers import Answers, Peer, Retries, is_about, key_of
from ._discovery import Answer, Discovery, look_up, resolver

_Path = str | os.PathLike[str]


class ECHDiscoveryError(ssl.SSLError):
    """No ClientHello was sent: it would have shown a name that Encrypted Client Hello can hide.

    ``discovery`` says what DNS had to say.
    """

    discovery: Discovery | None = None


def discovery_error(text: str, discovery: Discovery | None) -> ECHDiscoveryError:
    error = ECHDiscoveryError(_std.SSL_ERROR_SSL, text)
    error.library = "ECHKIT"
    error.reason = "ECH_NOT_POSSIBLE"
    error.discovery = discovery
    return error


# What connect_ex() returns of a connection that is not refused.
_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN, errno.EALREADY)


class DiscoveringSSLSocket(ssl.SSLSocket):
    """An ``SSLSocket`` that was wrapped with what DNS says about its host."""

    ech_discovery: Discovery | None = None
    """What DNS said; ``None`` where no query was sent."""
    _unwrapped = False

    def _real_connect(self, addr: typing.Any, connect_ex: bool) -> int | None:
        # As the standard class does it, in another order: which record applies depends on the
        # peer, which is known only once there is a connection.
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._connected or self._sslobj is not None or self._unwrapped:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        if connect_ex:
            code: int | None = socket.socket.connect_ex(self, addr)
        else:
            code = None
            socket.socket.connect(self, addr)
        # Refused, it may be tried again; what is under way is finished by the handshake.
        self._unwrapped = code in (None, 0, *_UNDER_WAY)
        if not code:
            self._connected = True
            if self.do_handshake_on_connect:
                self.do_handshake()
        return code

    def do_handshake(self, block: bool = False) -> None:
        """Perform or resume the TLS handshake."""
        if self._sslobj is None and self._unwrapped:
            self._sslobj = self.context._wrap_socket(  # type: ignore[attr-defined]
                self, False, self.server_hostname, owner=self, session=self._session
            )
            self._connected = True
            self._unwrapped = False
        # gevent's method has no parameter.
        super().do_handshake(*((block,) if block else ()))


class DiscoveringSSLObject(ssl.SSLObject):
    """An ``SSLObject`` that was made with what DNS says about its host."""

    ech_discovery: Discovery | None = None
    """What DNS said; ``None`` where no query was sent."""


class DiscoveringSSLContext(ssl.SSLContext):
    """An ``SSLContext`` that looks up how to hide the name of each host that it connects to.

    Made by ``echkit.create_default_context``. A list set with ``set_ech_config`` replaces
    what DNS says.
    """

    sslsocket_class = DiscoveringSSLSocket
    sslobject_class = DiscoveringSSLObject

    port: int
    """The port of the origins, which is part of the question in DNS."""
    ech: typing.Literal["prefer", "require"]
    """Whether to continue where there is nothing to offer, or to raise."""
    _dns: str | None
    _dns_cafile: _Path | None
    _answers: Answers
    _retries: Retries

    def __new__(cls, *args: typing.Any, **kwargs: typing.Any) -> typing.Self:
        self = super().__new__(cls, *args, **kwargs)
        self.port = 443
        self.ech = "prefer"
        self._dns = None
        self._dns_cafile = None
        self._answers = Answers()
        self._retries = Retries()
        return self

    async def prepare(
        self, host: str, port: int | None = None, timeout: float | None = None
    ) -> Discovery:
        """Look up what a connection to ``host`` will need, without blocking the event loop.

        Needed before ``asyncio``, ``trio`` or ``anyio`` connect with this context; the answer is
        kept for its TTL, and for a minute at least. Connect to one of the endpoints in the result.
        """
        wanted = self.port if port is None else port
        known = self._known(host, wanted)
        if known is not None:
            return known.discovery
        asked = resolver(self._dns, self._dns_cafile)
        answer = await _loops.look_up_soon(asked, host, wanted, self._alpn or None, timeout)
        return self._answers.keep(key_of(host), answer).discovery

    def discover(
        self, host: str, port: int | None = None, timeout: float | None = None
    ) -> Discovery:
        """What :meth:`prepare` does, for threads and for gevent."""
        return self._look_up(host, self.port if port is None else port, timeout).discovery

    def _known(self, host: str, port: int) -> Answer | None:
        return next(self._answers.of(key_of(host), fresh=True, port=port), None)

    def _look_up(self, host: str, port: int, timeout: float | None = None) -> Answer:
        known = self._known(host, port)
        if known is not None:
            return known
        asked = resolver(self._dns, self._dns_cafile)
        alpn = self._alpn or None
        ask = functools.partial(look_up, asked, host, port, "https", alpn, timeout)
        return self._answers.keep(key_of(host), _loops.call_beside(ask))

    def _ech_for(
        self,
        sock: typing.Any,
        server_side: bool,
        server_hostname: str | None,
        owner: typing.Any,
    ) -> _echkit.EchConfigList | None:
        by_hand = super()._ech_for(sock, server_side, server_hostname, owner)
        if server_side:
            return by_hand
        required = self.ech == "require"
        if by_hand is not None:
            if not required or server_hostname is None:
                return by_hand
            hiding = by_hand.hiding(server_hostname)
            if hiding is None:
                raise discovery_error(
                    f"ECH is required, and the public_name of the ECHConfig is {server_hostname} "
                    "itself",
                    None,
                )
            return hiding
        if server_hostname is None:
            if required:
                raise discovery_error(
                    "ECH is required, and there is no server_hostname to look up", None
                )
            return None
        peer = None if sock is None else _peer(sock)
        if peer is None:
            answer = self._for_memory(server_hostname)
        else:
            wrapping = _loops.wrapping(sock)
            owner = owner if wrapping is sock else wrapping
            answer = self._for_socket(server_hostname, peer, wrapping.gettimeout())
        if owner is not None:
            owner.ech_discovery = answer.discovery
        offer, refusal = answer.found.offer_to(peer, required)
        if refusal is not None:
            text = _with_advice(refusal, server_hostname, peer, answer)
            raise discovery_error(text, answer.discovery)
        if offer is None:
            warn_of_failed(answer.discovery)
            return None
        instead = self._retries.instead_of(answer, offer)
        return (instead.hiding(server_hostname) or offer) if required else instead

    def _ech_failed(self, offered: _echkit.EchConfigList, retry_configs: bytes | None) -> None:
        self._retries.failed(offered, retry_configs)

    def _for_socket(self, host: str, peer: Peer, timeout: float | None) -> Answer:
        """The answer that says what to offer to a peer: one that it is an endpoint of, else that
        for the context's port, else that for the peer's port."""
        key = key_of(host)
        for answer in self._answers.of(key, fresh=True):
            if is_about(answer, peer):
                return answer
        earlier = [a for a in self._answers.of(key, fresh=False) if is_about(a, peer)]
        if timeout == 0:
            # A resolver cannot be waited for: what was found before counts.
            found = [*earlier, *self._answers.of(key, fresh=False)]
            if not found:
                raise RuntimeError(
                    f"{host}: a non-blocking socket cannot wait for DNS; call "
                    f"discover({host!r}) or await prepare({host!r}) before it is wrapped"
                )
            return _one_with_ech(found) if not earlier else earlier[0]
        answer = self._look_up(host, self.port, timeout)
        if peer[1] in (0, self.port) or is_about(answer, peer):
            return answer
        other = self._look_up(host, peer[1], timeout)
        if other.discovery.ech is not None or answer.discovery.ech is None:
            answer = other
        # Addresses of an earlier answer may still be in use.
        return answer if is_about(answer, peer) or not earlier else earlier[0]

    def _for_memory(self, host: str) -> Answer:
        """The answer for a connection whose peer nobody knows."""
        found = list(self._answers.of(key_of(host), fresh=False))
        if found:
            return _one_with_ech(found)
        if _loops.current() is not None:
            raise RuntimeError(
                f"{host}: an event loop must not wait for DNS; `await context.prepare({host!r})` "
                "before connecting with this context"
            )
        return self._look_up(host, self.port)


def _one_with_ech(answers: typing.Sequence[Answer]) -> Answer:
    """Of answers for several ports the newest with ECH: nothing shows a name that one of them can
    hide. Of one port the newest alone counts."""
    newest: dict[int, Answer] = {}
    for answer in answers:
        newest.setdefault(answer.discovery.port, answer)
    with_ech = (answer for answer in newest.values() if answer.discovery.ech is not None)
    return next(with_ech, answers[0])


def _with_advice(refusal: str, host: str, peer: Peer | None, answer: Answer) -> str:
    """Why nothing was sent, and what to do about it."""
    text = f"{host}: {refusal}"
    if peer is None or answer.discovery.ech is None or is_about(answer, peer):
        return text
    return (
        f"{text}. Connect to one of these, or to the port that the context was made for "
        f"({answer.discovery.port}; create_default_context(port=...)). Through a proxy use a context "
        "of echkit.ssl.create_default_context() after "
        f"set_ech_config(echkit.lookup({host!r}, {answer.discovery.port}).ech)"
    )


def warn_of_failed(found: Discovery, stacklevel: int = 7) -> None:
    """Say that a connection goes on without ECH because nobody could tell whether there is any."""
    if found.https in ("failed", "malformed"):
        why = "; ".join(found.warnings) or f"the HTTPS records are {found.https}"
        warnings.warn(
            f"{found.host}: the connection goes on without ECH and shows the name: {why}. "
            "ech='require' refuses instead",
            ECHWarning,
            stacklevel=stacklevel,
        )


class ECHWarning(RuntimeWarning):
    """A connection shows a name that Encrypted Client Hello might have hidden."""


def _peer(sock: typing.Any) -> Peer:
    """The other end of a socket."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None, 0
    name = sock.getpeername()
    return ipaddress.ip_address(name[0].partition("%")[0]), name[1]


# The interpreter's own function, so that what it sets follows the interpreter's version.
_create: typing.Callable[..., DiscoveringSSLContext] = types.FunctionType(
    _std.create_default_context.__code__,
    {**vars(ssl), "SSLContext": DiscoveringSSLContext},
    "create_default_context",
    _std.create_default_context.__defaults__,
)
_create.__kwdefaults__ = _std.create_default_context.__kwdefaults__


def create_default_context(
    purpose: _std.Purpose = _std.Purpose.SERVER_AUTH,
    *,
    cafile: _Path | None = None,
    capath: _Path | None = None,
    cadata: str | bytes | None = None,
    port: int = 443,
    ech: typing.Literal["prefer", "require"] = "prefer",
    dns: str | None = None,
    dns_cafile: _Path | None = None,
) -> DiscoveringSSLContext:
    """A context for clients that hides the name of each host whose DNS records say how.

    The arguments of ``ssl.create_default_context`` are taken as there, with ``SERVER_AUTH`` for the
    only purpose: ECH on a server needs keys, which ``echkit.ssl`` contexts load.

    For each connection the HTTPS records of ``https://server_hostname:port`` are looked up, within
    the socket's timeout, and where the socket is connected to another port those for that port as
    well. A record applies only if the connected peer is one of its endpoints; where
    records offer ECH and none applies, ``ECHDiscoveryError`` is raised and nothing is sent. Where
    there is nothing to offer, the connection goes on without ECH, or not at all with
    ``ech="require"``.

    A rejection raises ``ECHRejectedError`` with the server's ``retry_configs``; nothing here
    connects again on its own, but the next connection of this context offers them.

    Inside an event loop, ``await context.prepare(host)`` first. ``dns`` and ``dns_cafile`` choose
    the resolver as in ``echkit.lookup``.
    """
    if not isinstance(purpose, _std.Purpose):
        raise TypeError(
            f"purpose is ssl.Purpose.SERVER_AUTH, not {purpose!r}; a port is given as port={purpose!r}"
            if isinstance(purpose, int)
            else f"purpose is ssl.Purpose.SERVER_AUTH, not {purpose!r}"
        )
    if purpose != _std.Purpose.SERVER_AUTH:
        raise ValueError(
            "this makes contexts for clients; a server's is echkit.ssl.create_default_context("
            "ssl.Purpose.CLIENT_AUTH), with load_ech_keys()"
        )
    if not 0 < operator.index(port) < 65536:
        raise ValueError(f"port is a number from 1 to 65535, not {port!r}")
    if ech not in ("prefer", "require"):
        raise ValueError(f"ech must be 'prefer' or 'require', not {ech!r}")
    resolver(dns, dns_cafile)
    context = _create(cafile=cafile, capath=capath, cadata=cadata)
    context.port = port
    context.ech = ech
    context._dns = dns
    context._dns_cafile = dns_cafile
    return context
