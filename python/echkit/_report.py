"""What a connection offered, showed and got, as Python objects."""

from __future__ import annotations

import base64
import dataclasses
import json
import typing


@dataclasses.dataclass(frozen=True)
class Report:
    """What one connection offered, showed and got; the JSON of ``ech get --json`` with names.

    Outer names and protocols are read back from the bytes that were sent.
    """

    origin: str
    """Scheme, host and, where it is not the default, port."""
    url: str | None
    proxy: str | None
    """The proxy that the connection goes through, without credentials."""
    mode: typing.Literal["prefer", "require", "grease", "off"]
    """What was asked for."""
    status: typing.Literal[
        "not_offered", "grease", "accepted", "rejected", "disabled", "failed"
    ]
    """What became of Encrypted Client Hello."""
    source: str
    """Where the ECHConfig that was last offered came from: ``dns``, ``retry``, ``cache``, ``manual``,
    ``learned``, ``none``."""
    config_id: int | None
    public_name: str | None
    """The public_name of the config that was last offered."""
    suite: str | None
    inner_sni: str | None
    """The name inside the encrypted hello."""
    outer_sni: str | None
    """The name that an eavesdropper read in the last hello."""
    outer_alpn: tuple[str, ...] | None
    retries: int
    """Connections made with retry configs after a rejection."""
    retry_configs: bytes | None
    """The ECHConfigList that an authenticated server sent on rejection."""
    warnings: tuple[str, ...]
    reused: bool
    """Whether an earlier request had made the connection."""
    error: str | None
    """What went wrong, in one line."""
    document: dict[str, typing.Any] = dataclasses.field(repr=False)
    """All of it, attempts, DNS, TLS, times and byte counts included, as ``ech get --json`` has it."""

    @property
    def accepted(self) -> bool:
        """Whether the server accepted the offer, so that its name stayed hidden."""
        return self.status == "accepted"

    def to_json(self, indent: int | None = None) -> str:
        """The document as text."""
        return json.dumps(self.document, indent=indent)


def report(text: str) -> Report:
    """The report of a document in JSON."""
    document = json.loads(text)
    ech = document["ech"]
    alpn = ech["outer_alpn"]
    configs = ech["retry_configs"]
    return Report(
        origin=document["origin"],
        url=document["url"],
        proxy=document["proxy"],
        mode=ech["mode"],
        status=ech["status"],
        source=ech["source"],
        config_id=ech["config_id"],
        public_name=ech["public_name"],
        suite=ech["suite"],
        inner_sni=ech["inner_sni"],
        outer_sni=ech["outer_sni"],
        outer_alpn=None if alpn is None else tuple(alpn),
        retries=ech["retries"],
        retry_configs=None if configs is None else base64.b64decode(configs),
        warnings=tuple(ech["warnings"]),
        reused=document["reused"],
        error=document["error"],
        document=document,
    )
