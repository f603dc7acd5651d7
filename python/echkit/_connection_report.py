"""What an adapter did to make a connection, and what came of Encrypted Client Hello on it."""

from __future__ import annotations

import dataclasses
import typing

from ._discovery import Discovery, json_of


@dataclasses.dataclass(frozen=True)
class ConnectionAttempt:
    """One address that was tried."""

    address: str
    port: int
    source: str
    """Where the ECHConfigList came from: ``dns``, ``cache``, ``retry``, ``manual`` or ``none``."""
    error: str | None
    """Why no connection came of it; ``None`` for the one that is used."""


@dataclasses.dataclass(frozen=True)
class ConnectionReport:
    """What one connection offered, showed and got."""

    origin: str
    """Scheme, host and port of the question in DNS."""
    mode: typing.Literal["prefer", "require"]
    """What was asked for."""
    status: typing.Literal["accepted", "grease", "disabled", "not_offered"]
    """What became of Encrypted Client Hello. ``disabled``: the server proved that it has switched
    ECH off, and the connection goes on without."""
    source: str
    """Where the ECHConfigList came from: ``dns``, ``cache`` (retry configs of an earlier connection),
    ``retry``, ``manual`` or ``none``."""
    inner_sni: str | None
    """The name in the encrypted hello."""
    outer_sni: str | None
    """The name that the network saw, read back from the bytes that were sent."""
    retries: int
    """Connections made again after an authenticated rejection."""
    address: str
    """The address of the server; through a proxy, what the proxy was asked for."""
    port: int
    proxied: bool
    """Whether the connection goes through a proxy."""
    warnings: tuple[str, ...]
    attempts: tuple[ConnectionAttempt, ...]
    """What was tried, the connection itself last."""
    discovery: Discovery = dataclasses.field(repr=False)
    """What DNS said."""

    @property
    def accepted(self) -> bool:
        """Whether the server accepted the offer, so that its name stayed hidden."""
        return self.status == "accepted"

    def to_json(self, indent: int | None = None) -> str:
        """All of it as a JSON document; what is binary is base64."""
        return json_of(self, indent)


def report_of(thing: object) -> ConnectionReport | None:
    """How the connection of a response, a TLS socket, a transport or a stream writer was made.

    ``None`` for a connection that no adapter of this package made.
    """
    for _ in range(4):
        # aiohttp's responses keep the protocol, and only that, when the body has been read.
        kept = getattr(thing, "_protocol", None)
        found = getattr(thing, "ech", None) or getattr(thing, "ech_report", None)
        found = found or getattr(kept, "ech_report", None)
        if isinstance(found, ConnectionReport):
            return found
        extensions = getattr(thing, "extensions", None)
        extra = getattr(thing, "get_extra_info", None)
        if isinstance(extensions, dict) and "ech" in extensions:
            thing = extensions["ech"]
            if isinstance(thing, ConnectionReport):
                return thing
        elif extra is not None:
            try:
                thing = extra("ssl_object")
            except AttributeError:
                return None  # asyncio's transports forget it when they are closed
        else:
            thing = getattr(thing, "transport", None)  # websockets
    return None
