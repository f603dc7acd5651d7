"""Contexts that find out about Encrypted Client Hello on their own."""

from __future__ import annotations

import collections
import ipaddress
import os
import socket
import ssl as _std
import sys
import time
import types
import typing

from . import _echkit, ssl
from ._discovery import Answer, Discovery, IPAddress, look_up, look_up_soon, resolver

_Path = str | os.PathLike[str]
# Address and port of the other end; no address where it has none, as on a Unix socket.
_Peer = tuple[IPAddress | None, int]

# How long what prepare() found may wait for its connection, whatever the TTL: the connection that
# the question was asked for may still be under way.
_GRACE = 60.0
_MAX_ANSWERS = 512


class ECHDiscoveryError(ssl.SSLError):
    """No ClientHello was sent: it would have shown a name that Encrypted Client Hello can hide.

    ``discovery`` says what DNS had to say.
    """

    discovery: Discovery | None = None


def _error(text: str, discovery: Discovery | None) -> ECHDiscoveryError:
    error = ECHDiscoveryError(_std.SSL_ERROR_SSL, text)
    error.library = "ECHKIT"
    error.reason = "ECH_NOT_POSSIBLE"
    error.discovery = discovery
    return error


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
        self._unwrapped = True
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
        super().do_handshake(block)


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

    def __init__(self, *args: typing.Any, **kwargs: typing.Any) -> None:
        super().__init__(*args, **kwargs)
        self.port = 443
        """The port of the origins, which is part of the question in DNS."""
        self.ech: typing.Literal["prefer", "require"] = "prefer"
        """Whether to go on where there is nothing to offer, or to raise."""
        self._dns: str | None = None
        self._dns_cafile: _Path | None = None
        # Each access is one step of the interpreter. A lock would have to be renewed at a fork.
        self._answers: collections.OrderedDict[str, tuple[float, float, Answer]] = (
            collections.OrderedDict()
        )

    async def prepare(
        self, host: str, port: int | None = None, timeout: float | None = None
    ) -> Discovery:
        """Look up what a connection to ``host`` will need, without blocking the event loop.

        Needed before ``asyncio`` connects with this context; the answer is kept for its TTL, and
        for a minute at least. Connect to one of the endpoints in the result.
        """
        key = _key(host)
        known = self._known(key, fresh=True, port=port)
        if known is not None:
            return known.discovery
        asked = resolver(self._dns, self._dns_cafile)
        wanted = self.port if port is None else port
        answer = await look_up_soon(asked, host, wanted, self._alpn or None, timeout)
        return self._keep(key, answer).discovery

    def discover(
        self, host: str, port: int | None = None, timeout: float | None = None
    ) -> Discovery:
        """What :meth:`prepare` does, for threads."""
        return self._look_up(host, port, timeout).discovery

    def _look_up(
        self, host: str, port: int | None = None, timeout: float | None = None
    ) -> Answer:
        key = _key(host)
        known = self._known(key, fresh=True, port=port)
        if known is not None:
            return known
        asked = resolver(self._dns, self._dns_cafile)
        wanted = self.port if port is None else port
        alpn = self._alpn or None
        return self._keep(key, look_up(asked, host, wanted, "https", alpn, timeout))

    def _keep(self, key: str, answer: Answer) -> Answer:
        found = answer.discovery
        now = time.monotonic()
        # A failure is not an answer to keep.
        settled = found.https != "failed" and found.error is None
        until = now + ((found.ttl or 0) if settled else 0)
        for name in {key, _key(found.host)}:
            self._answers.pop(name, None)
            self._answers[name] = (until, now + _GRACE, answer)
        while len(self._answers) > _MAX_ANSWERS:
            try:
                self._answers.popitem(last=False)
            except KeyError:
                break  # other threads made room as well
        return answer

    def _known(self, key: str, *, fresh: bool, port: int | None = None) -> Answer | None:
        """What is known of a host: for another question only while its TTL lasts (``fresh``)."""
        until, grace, answer = self._answers.get(key, (0.0, 0.0, None))
        if answer is None or (port is not None and port != answer.discovery.port):
            return None
        if fresh and port is None and answer.discovery.port != self.port:
            return None
        return answer if time.monotonic() < (until if fresh else max(until, grace)) else None

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
                raise _error(
                    f"ECH is required, and the public_name of the ECHConfig is {server_hostname} "
                    "itself",
                    None,
                )
            return hiding
        if server_hostname is None:
            if required:
                raise _error("ECH is required, and there is no server_hostname to look up", None)
            return None
        if sock is None:
            answer = self._for_memory(server_hostname)
            peer: _Peer | None = None
        else:
            answer = self._for_socket(server_hostname, sock.gettimeout())
            peer = _peer(sock)
        if owner is not None:
            owner.ech_discovery = answer.discovery
        offer, refusal = answer.found.offer_to(peer, required)
        if refusal is not None:
            raise _error(refusal, answer.discovery)
        return offer

    def _for_socket(self, host: str, timeout: float | None) -> Answer:
        if timeout != 0:
            return self._look_up(host, None, timeout)
        found = self._known(_key(host), fresh=False)
        if found is None:
            raise RuntimeError(
                f"a non-blocking socket cannot wait for DNS: call prepare({host!r}) or "
                f"discover({host!r}) before it is wrapped"
            )
        return found

    def _for_memory(self, host: str) -> Answer:
        found = self._known(_key(host), fresh=False)
        if found is not None:
            return found
        if _in_event_loop():
            raise RuntimeError(
                f"an event loop must not wait for DNS: `await context.prepare({host!r})` before "
                "connecting with this context"
            )
        return self._look_up(host)


def _key(host: str) -> str:
    return host.lower().removesuffix(".")


def _in_event_loop() -> bool:
    """Whether this thread runs asyncio, or what sniffio knows of."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return True
    sniffio = sys.modules.get("sniffio")
    if sniffio is None:
        return False
    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return False
    return True


def _peer(sock: typing.Any) -> _Peer:
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
    port: int = 443,
    *,
    cafile: _Path | None = None,
    capath: _Path | None = None,
    cadata: str | bytes | None = None,
    ech: typing.Literal["prefer", "require"] = "prefer",
    dns: str | None = None,
    dns_cafile: _Path | None = None,
) -> DiscoveringSSLContext:
    """A context for clients that hides the name of each host whose DNS records say how.

    For each connection the HTTPS records of ``https://server_hostname:port`` are looked up, within
    the socket's timeout. A record applies only if the connected peer is one of its endpoints; where
    records offer ECH and none applies, ``ECHDiscoveryError`` is raised and nothing is sent. Where
    there is nothing to offer, the connection goes on without ECH, or not at all with
    ``ech="require"``.

    A rejection raises ``ECHRejectedError`` with the server's ``retry_configs``; nothing here
    connects again on its own.

    Inside an event loop, ``await context.prepare(host)`` first. ``dns`` and ``dns_cafile`` choose
    the resolver as in ``echkit.lookup``; the other arguments are those of
    ``ssl.create_default_context``.
    """
    if ech not in ("prefer", "require"):
        raise ValueError(f"ech must be 'prefer' or 'require', not {ech!r}")
    resolver(dns, dns_cafile)
    context = _create(cafile=cafile, capath=capath, cadata=cadata)
    context.port = port
    context.ech = ech
    context._dns = dns
    context._dns_cafile = dns_cafile
    return context
