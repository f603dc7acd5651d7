"""Traces: what the network saw of a connection, and what the client kept to itself."""

from __future__ import annotations

import dataclasses
import json
import os
import typing

from . import _echkit, _log
from ._options import ClientBase, ClientOptions, Timeout, TimeoutTypes, timeout_of


@dataclasses.dataclass(frozen=True)
class HelloField:
    """A field of a ClientHello: one of its fixed ones, or an extension."""

    name: str
    """Its name, or ``extension 0x1234``."""
    extension: int | None
    """The extension's number."""
    len: int
    """How many bytes its value has."""
    value: str
    """The value, for people."""


@dataclasses.dataclass(frozen=True)
class HelloFields:
    """One ClientHello, as its fields in the order in which they were sent."""

    server_name: str | None
    """The name in ``server_name``."""
    fields: tuple[HelloField, ...]
    message: bytes = dataclasses.field(repr=False)
    """The whole handshake message."""

    def field(self, name: str) -> HelloField | None:
        """The field of that name."""
        return next((field for field in self.fields if field.name == name), None)


@dataclasses.dataclass(frozen=True)
class HelloTrace:
    """What was on the wire, beside what was sealed in it."""

    outer: HelloFields
    """The ClientHelloOuter where ECH is offered."""
    inner: HelloFields | None
    """The ClientHelloInner; ``None`` without a real offer."""
    from_outer: tuple[int, ...]
    """The extensions that the inner hello takes from the outer one (``ech_outer_extensions``)."""
    padding: int | None
    """How many zeros pad the sealed hello."""
    not_opened: str | None
    """Why an offer could not be opened."""


@dataclasses.dataclass(frozen=True)
class ServerAnswer:
    """What a server sent that everyone can read. What a kind does not have is ``None``."""

    kind: typing.Literal["hello_retry_request", "server_hello", "alert", "encrypted", "not_tls"]
    group: str | None = None
    """The group that a HelloRetryRequest asks for, or that of a ServerHello's key share."""
    ech: bool | None = None
    """Whether a HelloRetryRequest has an ECH extension."""
    version: str | None = None
    cipher_suite: str | None = None
    description: str | None = None
    """That of an alert."""
    records: int | None = None
    """How many records are encrypted."""
    bytes: int | None = None
    """How many bytes are encrypted, or are not TLS."""


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A place where the host's name can be read."""

    sent: bool
    """Whether the client sent it, else the server."""
    place: str


@dataclasses.dataclass(frozen=True)
class ConnectionTrace:
    """One connection."""

    peer: str
    """The server's address and port."""
    local: str | None
    """The client's."""
    ech: typing.Literal[
        "no_hello", "not_offered", "grease", "accepted", "rejected", "undecided"
    ]
    """What became of ECH. ``undecided``: it ended before the server had shown which hello it answers."""
    hellos: tuple[HelloTrace, ...]
    """Two after a HelloRetryRequest."""
    answers: tuple[ServerAnswer, ...]
    """What the server answered, in order."""
    name_seen: tuple[Sighting, ...]
    """Where the host's name could be read."""
    sent: int
    """Bytes."""
    received: int
    """Bytes."""
    truncated: bool
    """Whether there was more than is recorded."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """What the network saw of one request. It holds the secrets of the connections."""

    origin: str
    name: str
    """The host's name, which ECH hides."""
    name_in_tls: bool
    """Whether the name could be read in the bytes of a connection."""
    name_in_dns: bool | None
    """Whether it could be read in queries; ``None`` where none was sent."""
    connections: tuple[ConnectionTrace, ...]
    """In the order in which they were made."""
    error: str | None
    """Why there was no response."""
    error_kind: str | None
    """The kind of ``error``, as in ``ech get --json``."""
    document: dict[str, typing.Any] = dataclasses.field(repr=False)
    """All of it, ECH and DNS included, as ``ech trace --json`` has it."""
    _traced: _echkit.TracedRequest = dataclasses.field(repr=False, compare=False)

    def to_json(self, indent: int | None = None) -> str:
        """The document as text."""
        return json.dumps(self.document, indent=indent)

    def text(self, columns: int = 80) -> str:
        """For a terminal of that many columns, 80 at least, as ``ech trace`` prints it."""
        return self._traced.text(columns)

    def html(self) -> str:
        """A page of HTML that needs nothing else, as ``ech trace --html`` writes it."""
        return self._traced.html()

    def pcapng(self) -> bytes:
        """The connections as a capture file, with the secrets that open them."""
        return self._traced.pcapng()

    def write_pcapng(self, path: str | os.PathLike[str]) -> None:
        """Write the capture file, which its owner alone can read."""
        content = self.pcapng()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
        with open(os.open(path, flags, 0o600), "wb") as file:
            # It may have been there before.
            os.fchmod(file.fileno(), 0o600)
            file.write(content)


class TraceOptions(ClientOptions, total=False):
    """What a trace takes."""

    timeout: TimeoutTypes


def trace(url: str, **options: typing.Unpack[TraceOptions]) -> Trace:
    """Ask for the head of a page, and lay out what the network saw of it.

    ``url`` may be a bare host. The arguments are those of :class:`Client` that are about connections:
    ``ech``, ``dns``, ``verify``, ``proxy``, ``timeout`` and so on. Redirects are not followed. The bytes
    are those that were sent; the inner hello is what the connection's own secrets open.

    A request that fails has a trace too, whose ``error`` says why. Where nothing was tried the
    exception of :func:`echkit.head` is raised.
    """
    limits = timeout_of(options.pop("timeout", Timeout()))
    client = ClientBase(**options)
    _log.follow()
    try:
        traced = client._client.trace(url, (limits.connect, limits.read, limits.total))
    finally:
        _log.deliver()
    return _trace(traced)


def _trace(traced: _echkit.TracedRequest) -> Trace:
    document = json.loads(traced.document())
    error = document["error"]
    return Trace(
        origin=document["origin"],
        name=document["name"],
        name_in_tls=document["name_in_tls"],
        name_in_dns=document["name_in_dns"],
        connections=tuple(map(_connection, document["connections"])),
        error=None if error is None else error["message"],
        error_kind=None if error is None else error["kind"],
        document=document,
        _traced=traced,
    )


def _connection(found: dict[str, typing.Any]) -> ConnectionTrace:
    return ConnectionTrace(
        peer=found["peer"],
        local=found["local"],
        ech=found["ech"],
        hellos=tuple(map(_hello, found["hellos"])),
        answers=tuple(ServerAnswer(**answer) for answer in found["answers"]),
        name_seen=tuple(Sighting(**seen) for seen in found["name_seen"]),
        sent=found["sent"],
        received=found["received"],
        truncated=found["truncated"],
    )


def _hello(found: dict[str, typing.Any]) -> HelloTrace:
    inner = found["inner"]
    return HelloTrace(
        outer=_fields(found["outer"]),
        inner=None if inner is None else _fields(inner),
        from_outer=tuple(found["from_outer"]),
        padding=found["padding"],
        not_opened=found["not_opened"],
    )


def _fields(found: dict[str, typing.Any]) -> HelloFields:
    return HelloFields(
        server_name=found["server_name"],
        fields=tuple(HelloField(**field) for field in found["fields"]),
        message=bytes.fromhex(found["message"]),
    )
