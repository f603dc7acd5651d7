"""What DNS says about an origin, as Python objects."""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
import json
import operator
import os
import re
import threading
import typing
import urllib.parse

from . import _echkit, _fork as _fork, _log

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def json_of(found: typing.Any, indent: int | None) -> str:
    """A dataclass as a JSON document; what is binary is base64."""

    def plain(value: object) -> str:
        if isinstance(value, bytes):
            return base64.b64encode(value).decode("ascii")
        return str(value)

    return json.dumps(dataclasses.asdict(found), default=plain, indent=indent)


@dataclasses.dataclass(frozen=True)
class Config:
    """An ECHConfig in a record."""

    config_id: int | None
    """Its id, where its version is one that has ids."""
    why_not: str | None
    """Why it cannot be used; ``None`` when it can."""


@dataclasses.dataclass(frozen=True)
class Record:
    """An HTTPS record, and how a client interprets it."""

    priority: int
    """SvcPriority; the lowest is preferred."""
    target: str
    """TargetName, ``.`` included."""
    port: int | None
    alpn: tuple[str, ...]
    no_default_alpn: bool
    ipv4hint: tuple[str, ...]
    ipv6hint: tuple[str, ...]
    ech: bytes | None
    """The ECHConfigList as published."""
    usable: bool
    """Whether an endpoint came of the record."""
    configs: tuple[Config, ...]
    """The configs in ``ech``."""
    why_not: str | None
    """Why the record was passed over."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One place at which an origin can be reached."""

    kind: str
    """``service`` (a record), ``alias_end``, ``authority`` (the origin itself)."""
    target: str
    """The host whose addresses these are; certificates are checked for the origin's name."""
    port: int
    alpn: tuple[str, ...]
    addresses: tuple[IPAddress, ...]
    """In the order in which to try them."""
    from_hints: bool
    """Whether the addresses are the record's hints, for want of answers."""
    ech: bytes | None
    """The ECHConfigList as published."""
    ech_usable: bool
    """Whether some config in ``ech`` can be used."""
    record: int | None
    """The place of its record in ``Discovery.records``."""

    def is_at(self, address: IPAddress, port: int) -> bool:
        """Whether a peer at that address and port is this endpoint."""
        return port == self.port and address in self.addresses


@dataclasses.dataclass(frozen=True)
class Discovery:
    """Everything that DNS had to say about an origin."""

    origin: str
    host: str
    port: int
    resolver: str
    """The resolver's URI."""
    protected: bool
    """Whether the questions were hidden from the network."""
    query_name: str | None
    """The owner name that was asked for HTTPS records; ``None`` for a literal address."""
    aliases: tuple[str, ...]
    """Targets of the AliasMode records that were followed."""
    https: typing.Literal["found", "none", "failed", "malformed"]
    """Whether there are HTTPS records. ``failed`` is never to be taken for ``none``."""
    records: tuple[Record, ...]
    """The records of the last name that was asked, with what became of each."""
    svcb_reliant: bool
    """Whether a client must stay within the records: each of them has ``ech``."""
    https_upgrade: bool
    """Whether an ``http`` URL is to be fetched as ``https``."""
    endpoints: tuple[Endpoint, ...]
    """Where to connect, in the order in which to try."""
    warnings: tuple[str, ...]
    """What one should know, though a connection may still be made."""
    error: str | None
    """Why no connection should be tried."""
    ttl: int | None
    """For how many seconds all of it holds."""
    elapsed: float
    """How many seconds it took."""

    @property
    def ech(self) -> bytes | None:
        """The ECHConfigList of the first endpoint that has a usable one."""
        return next((e.ech for e in self.endpoints if e.ech_usable), None)

    def to_json(self, indent: int | None = None) -> str:
        """All of it as a JSON document; what is binary is base64."""
        return json_of(self, indent)


def _record(found: dict[str, typing.Any]) -> Record:
    ech = found["ech"]
    return Record(
        priority=found["priority"],
        target=found["target"],
        port=found["port"],
        alpn=tuple(found["alpn"]),
        no_default_alpn=found["no_default_alpn"],
        ipv4hint=tuple(found["ipv4hint"]),
        ipv6hint=tuple(found["ipv6hint"]),
        ech=None if ech is None else base64.b64decode(ech),
        usable=found["usable"],
        configs=tuple(Config(c["config_id"], c["why_not"]) for c in found["configs"]),
        why_not=found["why_not"],
    )


def _endpoint(found: dict[str, typing.Any]) -> Endpoint:
    ech = found["ech"]
    return Endpoint(
        kind=found["kind"],
        target=found["target"],
        port=found["port"],
        alpn=tuple(found["alpn"]),
        addresses=tuple(map(ipaddress.ip_address, found["addresses"])),
        from_hints=found["from_hints"],
        ech=None if ech is None else base64.b64decode(ech),
        ech_usable=found["ech_usable"],
        record=found["record"],
    )


class Answer(typing.NamedTuple):
    """What DNS says, in Python and in the extension, which decides what follows from it."""

    discovery: Discovery
    found: _echkit.Found


def answer_of(found: _echkit.Found) -> Answer:
    return Answer(_discovery(found.document()), found)


def _discovery(text: str) -> Discovery:
    found = json.loads(text)
    dns = found["dns"]
    error = found["error"]
    return Discovery(
        origin=found["origin"],
        host=found["host"],
        port=found["port"],
        resolver=dns["resolver"],
        protected=dns["protected"],
        query_name=dns["query_name"],
        aliases=tuple(dns["aliases"]),
        https=dns["https"],
        records=tuple(map(_record, dns["records"])),
        svcb_reliant=dns["svcb_reliant"],
        https_upgrade=dns["https_upgrade"],
        endpoints=tuple(map(_endpoint, found["endpoints"])),
        warnings=tuple(dns["warnings"]),
        error=None if error is None else error["message"],
        ttl=found["ttl_s"],
        elapsed=found["elapsed_ms"] / 1000,
    )


_resolvers: dict[tuple[str, tuple[bytes, ...]], _echkit.Resolver] = {}
_lock = threading.Lock()


def resolver(dns: str | None, cafile: str | os.PathLike[str] | None = None) -> _echkit.Resolver:
    """The resolver of that URI; ``None`` means ``ECHKIT_DNS`` or else ``system``.

    Those of one URI and one set of certificates share their connections.
    """
    uri = dns or os.environ.get("ECHKIT_DNS") or "system"
    roots: tuple[bytes, ...] = ()
    if cafile is not None:
        roots = tuple(_echkit.pem_items_of_file(os.fsdecode(cafile))[0])
    with _lock:
        known = _resolvers.get((uri, roots))
        if known is None:
            known = _echkit.Resolver(uri, list(roots))
            while len(_resolvers) >= 16:
                del _resolvers[next(iter(_resolvers))]
            _resolvers[uri, roots] = known
        return known


def look_up(
    asked: _echkit.Resolver,
    host: str,
    port: int,
    scheme: str = "https",
    alpn: typing.Sequence[bytes] | None = None,
    timeout: float | None = None,
) -> Answer:
    """Ask a resolver that is at hand."""
    protocols = None if alpn is None else list(alpn)
    _log.follow()
    try:
        return answer_of(asked.lookup(host, port, scheme, protocols, timeout))
    finally:
        _log.deliver()


def origin_of(where: str, port: int | None, scheme: str | None) -> tuple[str, str, int]:
    """Scheme, host and port of a host, ``host:port`` or a URL."""
    host, given = where, None
    if "://" in where:
        url = urllib.parse.urlsplit(where)
        if scheme not in (None, url.scheme):
            raise ValueError(f"{where}: the URL has another scheme than {scheme}")
        scheme, host, given = url.scheme, url.hostname or "", url.port
    elif found := re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]+)", where):
        host, given = found[1].strip("[]"), int(found[2])
    if port is not None and given not in (None, port):
        raise ValueError(f"{where}: the port is {given} here, and {port} as an argument; give one")
    scheme = scheme or "https"
    default = 80 if scheme == "http" else 443
    chosen = next((p for p in (port, given) if p is not None), default)
    if not 0 < operator.index(chosen) < 65536:
        raise ValueError(f"{where}: a port is a number from 1 to 65535, not {chosen}")
    return scheme, host, chosen


def lookup(
    host: str,
    port: int | None = None,
    *,
    scheme: str | None = None,
    dns: str | None = None,
    dns_cafile: str | os.PathLike[str] | None = None,
    alpn: typing.Sequence[str] | None = None,
    timeout: float | None = None,
) -> Discovery:
    """Look up the HTTPS records of ``scheme://host:port`` and the endpoints that they lead to.

    ``host`` may be a host, ``host:port`` or a URL, of which the scheme, host and port count. The
    scheme is ``https`` where there is none, the port that of the scheme.

    ``dns`` is the resolver: ``system``, ``udp://ADDRESS:PORT``, ``tcp://ADDRESS:PORT``,
    ``tls://HOST#ADDRESS`` (DNS over TLS), ``quic://HOST#ADDRESS`` (DNS over QUIC),
    ``https://HOST/PATH#ADDRESS`` (DNS over HTTPS) or ``h3://HOST/PATH#ADDRESS`` (the same over
    HTTP/3); without it, the environment's ``ECHKIT_DNS``, else ``system``. ``dns_cafile`` names certificates to trust for the encrypted ones. A resolver keeps its answers for their TTL. ``alpn`` are the
    protocols that the client speaks (``h2`` and ``http/1.1`` by default): records with none
    of them are passed over.

    What went wrong in DNS is told by the result (``https``, ``error``, ``warnings``). Raises
    ``ValueError`` for an invalid host or resolver and ``TimeoutError`` when ``timeout`` seconds
    are over.
    """
    protocols = None if alpn is None else [name.encode("ascii") for name in alpn]
    asked = resolver(dns, dns_cafile)
    scheme, host, port = origin_of(host, port, scheme)
    return look_up(asked, host, port, scheme, protocols, timeout).discovery


def _after_fork() -> None:
    # Another thread may have held it when the process was forked.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
