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
from ._discovery import Discovery, Endpoint, IPAddress, look_up, look_up_soon, resolver

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
    """What DNS said; ``None`` where nobody was asked."""
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
        """Shake hands, or go on with it."""
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
    """What DNS said; ``None`` where nobody was asked."""


class DiscoveringSSLContext(ssl.SSLContext):
    """An ``SSLContext`` that looks up how to hide the name of each host that it connects to.

    Made by ``echkit.create_default_context``. A list set with ``set_ech_config`` stands in for
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
        self._answers: collections.OrderedDict[str, tuple[float, float, Discovery]] = (
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
            return known
        asked = resolver(self._dns, self._dns_cafile)
        wanted = self.port if port is None else port
        return self._keep(
            key, await look_up_soon(asked, host, wanted, self._alpn or None, timeout)
        )

    def discover(
        self, host: str, port: int | None = None, timeout: float | None = None
    ) -> Discovery:
        """What :meth:`prepare` does, for threads."""
        key = _key(host)
        known = self._known(key, fresh=True, port=port)
        if known is not None:
            return known
        asked = resolver(self._dns, self._dns_cafile)
        wanted = self.port if port is None else port
        alpn = self._alpn or None
        return self._keep(key, look_up(asked, host, wanted, "https", alpn, timeout))

    def _keep(self, key: str, found: Discovery) -> Discovery:
        now = time.monotonic()
        # A failure is no answer that would hold.
        settled = found.https != "failed" and found.error is None
        until = now + ((found.ttl or 0) if settled else 0)
        for name in {key, _key(found.host)}:
            self._answers.pop(name, None)
            self._answers[name] = (until, now + _GRACE, found)
        while len(self._answers) > _MAX_ANSWERS:
            try:
                self._answers.popitem(last=False)
            except KeyError:
                break  # other threads made room as well
        return found

    def _known(self, key: str, *, fresh: bool, port: int | None = None) -> Discovery | None:
        """What is known of a host: for another question only while its TTL lasts (``fresh``)."""
        until, grace, found = self._answers.get(key, (0.0, 0.0, None))
        if found is None or (port is not None and port != found.port):
            return None
        if fresh and port is None and found.port != self.port:
            return None
        return found if time.monotonic() < (until if fresh else max(until, grace)) else None

    def _ech_for(
        self,
        sock: typing.Any,
        server_side: bool,
        server_hostname: str | None,
        owner: typing.Any,
    ) -> _echkit.EchConfigList | None:
        by_hand = super()._ech_for(sock, server_side, server_hostname, owner)
        if by_hand is not None or server_side:
            return by_hand
        if server_hostname is None:
            if self.ech == "require":
                raise _error("ECH is required, and without server_hostname nobody to ask for", None)
            return None
        if sock is None:
            found = self._for_memory(server_hostname)
            peer: _Peer | None = None
        else:
            found = self._for_socket(server_hostname, sock.gettimeout())
            peer = _peer(sock)
        if owner is not None:
            owner.ech_discovery = found
        return _offer(found, peer, self.ech)

    def _for_socket(self, host: str, timeout: float | None) -> Discovery:
        if timeout != 0:
            return self.discover(host, None, timeout)
        found = self._known(_key(host), fresh=False)
        if found is None:
            raise RuntimeError(
                f"a non-blocking socket cannot wait for DNS: call prepare({host!r}) or "
                f"discover({host!r}) before it is wrapped"
            )
        return found

    def _for_memory(self, host: str) -> Discovery:
        found = self._known(_key(host), fresh=False)
        if found is not None:
            return found
        if _in_event_loop():
            raise RuntimeError(
                f"an event loop must not wait for DNS: `await context.prepare({host!r})` before "
                "connecting with this context"
            )
        return self.discover(host)


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
    address: IPAddress = ipaddress.ip_address(name[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address, name[1]


def _offer(
    found: Discovery,
    peer: _Peer | None,
    ech: str,
) -> _echkit.EchConfigList | None:
    """What to offer; raises where that is nothing, and nothing must not be offered."""
    usable = [endpoint for endpoint in found.endpoints if endpoint.ech_usable]
    if found.error is not None and (found.https == "failed" or _could_hide(found)):
        raise _error(found.error, found)
    if not usable:
        if ech == "require":
            raise _error(f"ECH is required, and {_why_not(found)}", found)
        return None
    here = usable if peer is None else [e for e in usable if _is_at(e, peer)]
    if not here:
        places = " ".join(f"{a} port {e.port}," for e in usable for a in e.addresses)
        raise _error(
            "the peer is no endpoint of the HTTPS records with ech, so that none of them applies; "
            f"those are at {places.rstrip(',')}",
            found,
        )
    # Endpoints with usable ECH have a list.
    return None if here[0].ech is None else _echkit.EchConfigList(here[0].ech)


def _is_at(endpoint: Endpoint, peer: _Peer) -> bool:
    address, port = peer
    return address is not None and endpoint.is_at(address, port)


def _could_hide(found: Discovery) -> bool:
    """Whether a compatible record has a config that can be used."""
    return any(
        record.usable and any(config.why_not is None for config in record.configs)
        for record in found.records
    )


def _why_not(found: Discovery) -> str:
    reasons = "; ".join(found.warnings)
    match found.https:
        case "none" if found.query_name is None:
            return "a literal address has no HTTPS record"
        case "none":
            return f"{found.query_name} has no HTTPS record"
        case "found":
            return f"no HTTPS record of {found.query_name} offers what can be used. {reasons}"
        case _:
            return reasons or f"the HTTPS records of {found.query_name} are {found.https}"


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
