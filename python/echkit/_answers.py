"""What a context has learned about hosts: answers of DNS, and configs that servers sent instead."""

from __future__ import annotations

import collections
import time
import typing

from . import _echkit
from ._discovery import Answer, IPAddress
from ._files import shorten

# Address and port of the other end; no address where it has none, as on a Unix socket.
Peer = tuple[IPAddress | None, int]

# How long what prepare() found may wait for its connection, whatever the TTL: the connection that
# the question was asked for may still be under way.
GRACE = 60.0
# How long addresses count that are not from DNS: a file of the system has them, or the name itself.
_OWN = 1.0
# No retry config is kept longer, whatever the TTL.
_DAY = 86_400.0
_MAX_HOSTS = 512
# Answers kept for one host: its ports, and what it said before.
_MAX_OF_HOST = 8


class _Kept(typing.NamedTuple):
    until: float
    grace: float
    answer: Answer


class Answers:
    """Answers by host, the newest first.

    Each access is one step of the interpreter. A lock would have to be renewed at a fork.
    """

    def __init__(self) -> None:
        self._table: collections.OrderedDict[str, tuple[_Kept, ...]] = collections.OrderedDict()

    def keep(self, key: str, answer: Answer) -> Answer:
        """Keep an answer under the name that was asked for, and under the host's own."""
        found = answer.discovery
        now = time.monotonic()
        # A failure is no answer that would hold.
        settled = found.https != "failed" and found.error is None
        lasts = _OWN if found.ttl is None else found.ttl
        until = now + (lasts if settled else 0)
        new = _Kept(until, now + GRACE, answer)
        for name in {key, key_of(found.host)}:
            old = [kept for kept in self._table.pop(name, ()) if now < max(kept.until, kept.grace)]
            self._table[name] = (new, *old)[:_MAX_OF_HOST]
        shorten(self._table, _MAX_HOSTS)
        return answer

    def of(self, key: str, *, fresh: bool, port: int | None = None) -> typing.Iterator[Answer]:
        """The answers for a host, the newest first: for another question only those whose TTL
        lasts (``fresh``)."""
        now = time.monotonic()
        for kept in self._table.get(key, ()):
            if now < (kept.until if fresh else max(kept.until, kept.grace)):
                if port in (None, kept.answer.discovery.port):
                    yield kept.answer


def key_of(host: str) -> str:
    """The name under which a host's answers are kept."""
    return host.lower().removesuffix(".")


def is_about(answer: Answer, peer: Peer | None) -> bool:
    """Whether a peer is one of the endpoints in an answer."""
    if peer is None:
        return False
    address, port = peer
    if address is None:
        return False
    canonical: IPAddress = getattr(address, "ipv4_mapped", None) or address
    return any(e.is_at(canonical, port) for e in answer.discovery.endpoints)


class Retries:
    """Retry configs of authenticated rejections, kept for the record that led to them: for one
    origin and the ECHConfigList in its record, as long as the answer holds, and a day at most."""

    def __init__(self) -> None:
        self._table: collections.OrderedDict[
            tuple[str, int, bytes], tuple[float, _echkit.EchConfigList]
        ] = collections.OrderedDict()
        # For each list that was offered: the record's that it stands for.
        self._records: collections.OrderedDict[bytes, tuple[str, int, bytes, float]] = (
            collections.OrderedDict()
        )

    def instead_of(self, answer: Answer, offer: _echkit.EchConfigList) -> _echkit.EchConfigList:
        """What to offer in the place of a record's list."""
        found = answer.discovery
        key = (found.host, found.port, bytes(offer))
        life = min(max(found.ttl or 0, GRACE), _DAY)
        until, kept = self._table.get(key, (0.0, offer))
        offered = kept if time.monotonic() < until else offer
        self._records[bytes(offered)] = (*key, life)
        self._records.move_to_end(bytes(offered))
        shorten(self._records, _MAX_HOSTS)
        return offered

    def failed(self, offered: _echkit.EchConfigList, retry_configs: bytes | None) -> None:
        """Forget what did not serve, and keep what the server sent in its place."""
        record = self._records.get(bytes(offered))
        if record is None:
            return
        *key, life = record
        origin = typing.cast(tuple[str, int, bytes], tuple(key))
        self._table.pop(origin, None)
        if not retry_configs:
            return
        try:
            new = _echkit.EchConfigList(retry_configs)
        except OSError:
            return  # none of them can be used here
        self._table[origin] = (time.monotonic() + life, new)
        shorten(self._table, _MAX_HOSTS)
