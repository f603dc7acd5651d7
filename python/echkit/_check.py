"""Checks of deployments: what is wrong with a host's ECH, and what to do, as Python objects."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import typing

from . import _echkit, _fork as _fork, _log
from ._discovery import origin_of
from ._options import proxy_variables

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Place:
    """An endpoint of the records, at one of its addresses."""

    target: str
    """The host whose address it is."""
    address: str
    """Address and port."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something to know about a deployment."""

    id: str
    """The stable id, such as ``ECH-KEY-REJECTED``."""
    severity: typing.Literal["error", "warning", "advice", "note"]
    rfc: str
    """The section that says how it ought to be."""
    title: str
    """What is wrong, in a few words."""
    seen: str
    """What was seen."""
    places: tuple[Place, ...]
    """Where it was seen; empty where it is about the records."""
    mend: str
    """What to do."""


@dataclasses.dataclass(frozen=True)
class Skipped:
    """What was not checked."""

    probe: str
    """The family of probes, or the place."""
    why: str


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What came of checking one host; an entry of ``hosts`` in ``ech check --json``."""

    origin: str
    verdict: typing.Literal[
        "works", "improvable", "faulty", "broken", "undecided", "not_checked"
    ]
    """``improvable``: there is advice; ``faulty``: a warning; ``broken``: an error. ``undecided``: no
    connection with the published key was made. ``not_checked``: see ``error``."""
    worst: typing.Literal["error", "warning", "advice", "note"] | None
    """The severity of the worst finding."""
    accepted: bool
    """Whether the published key was accepted at some address. Without that, no finding does not mean
    that ECH works."""
    findings: tuple[Finding, ...]
    """The worst first."""
    passed: tuple[str, ...]
    """What is in order."""
    skipped: tuple[Skipped, ...]
    """What was not checked."""
    error: str | None
    """Why the host could not be checked, or not to the end; ``findings`` has what was found by then."""
    error_kind: str | None
    """The kind of ``error``, as in ``ech get --json``: ``name``, ``timeout``, ``usage`` and others."""
    public_names: tuple[str, ...]
    """The public_names of the usable configs."""
    shown_by: tuple[str, ...]
    """The probes that showed the host's name in the clear."""
    elapsed: float
    """How many seconds it took."""
    document: dict[str, typing.Any] = dataclasses.field(repr=False)
    """All of it, DNS included, as ``ech check --json`` has it."""

    def to_json(self, indent: int | None = None) -> str:
        """The document as text."""
        return json.dumps(self.document, indent=indent)


class CheckOptions(typing.TypedDict, total=False):
    """What every check takes."""

    dns: str | None
    dns_cafile: Path | None
    cafile: Path | None
    private: bool
    only: collections.abc.Iterable[str]
    skip: collections.abc.Iterable[str]
    timeout: float
    connect_timeout: float
    ns_port: int
    trust_env: bool


def check(
    host: str, port: int | None = None, **options: typing.Unpack[CheckOptions]
) -> CheckReport:
    """Check how a host deploys ECH: its HTTPS records, its keys, and every address that they lead to.

    ``host`` may be a host, ``host:port`` or an ``https`` URL.

    Some probes show the host's name in the clear, as every client without ECH does; ``private=True``
    leaves them out, and ``shown_by`` names those that ran. DNS queries show the name unless ``dns`` is an
    encrypted resolver (``dns`` and ``dns_cafile`` as for :func:`echkit.lookup`).

    ``cafile`` is a PEM file of certificates to trust in place of the system's. ``only`` and ``skip`` name
    families of probes or ids of findings, as in ``ech check``. A host is given up after ``timeout``
    seconds (60), with what was found by then, and a connection after ``connect_timeout`` (10).
    ``ns_port`` is the port of authoritative DNS servers.

    Connections are direct. Where the environment names a proxy for the host, nothing is sent and
    ``ValueError`` is raised, unless the host is in ``NO_PROXY`` or ``trust_env`` is false.

    What went wrong with the host is told by the report. Raises ``ValueError`` for an invalid host or
    setting.
    """
    (report,) = _run([origin_of(host, port, None)], 1, None, **options)
    return report


def check_many(
    hosts: collections.abc.Iterable[str],
    *,
    jobs: int = 4,
    finished: collections.abc.Callable[[CheckReport], object] | None = None,
    **options: typing.Unpack[CheckOptions],
) -> list[CheckReport]:
    """Check several hosts, ``jobs`` of them at the same time; the reports are in the hosts' order.

    The hosts are compared: a public_name that only one of them has is a finding. ``finished`` is called
    with each report when its host is finished, before that comparison; what it raises ends the checks.
    Other arguments as for :func:`check`. A host that is named twice is checked once.
    """
    if isinstance(hosts, str):
        raise TypeError("hosts is a list of hosts; check() takes one")
    origins = list(dict.fromkeys(origin_of(host, None, None) for host in hosts))
    return _run(origins, jobs, finished, **options)


def _run(
    origins: list[tuple[str, str, int]],
    jobs: int,
    finished: collections.abc.Callable[[CheckReport], object] | None,
    *,
    dns: str | None = None,
    dns_cafile: Path | None = None,
    cafile: Path | None = None,
    private: bool = False,
    only: collections.abc.Iterable[str] = (),
    skip: collections.abc.Iterable[str] = (),
    timeout: float = 60.0,
    connect_timeout: float = 10.0,
    ns_port: int = 53,
    trust_env: bool = True,
) -> list[CheckReport]:
    checks = _echkit.Checks(
        origins,
        dns=dns or os.environ.get("ECHKIT_DNS") or "system",
        dns_cafile=None if dns_cafile is None else os.fsdecode(dns_cafile),
        cafile=None if cafile is None else os.fsdecode(cafile),
        environment=proxy_variables() if trust_env else [],
        private=private,
        only=_names("only", only),
        skip=_names("skip", skip),
        limits=(timeout, connect_timeout),
        ns_port=ns_port,
        jobs=jobs,
    )
    _log.follow()
    try:
        while (arrived := checks.step()) is not None:
            _log.deliver()
            if finished is not None:
                finished(_report(arrived[1]))
        return [_report(text) for text in checks.reports()]
    finally:
        checks.cancel()
        _log.deliver()


def _names(setting: str, names: collections.abc.Iterable[str]) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f'{setting} is a list of names: {setting}=["{names}"]')
    return list(names)


def _report(text: str) -> CheckReport:
    document = json.loads(text)
    error = document["error"]
    return CheckReport(
        origin=document["origin"],
        verdict=document["verdict"],
        worst=document["worst"],
        accepted=document["accepted"],
        findings=tuple(map(_finding, document["findings"])),
        passed=tuple(document["passed"]),
        skipped=tuple(Skipped(**skipped) for skipped in document["skipped"]),
        error=None if error is None else error["message"],
        error_kind=None if error is None else error["kind"],
        public_names=tuple(document["public_names"]),
        shown_by=tuple(document["shown_by"]),
        elapsed=document["elapsed_ms"] / 1000,
        document=document,
    )


def _finding(found: dict[str, typing.Any]) -> Finding:
    return Finding(
        id=found["id"],
        severity=found["severity"],
        rfc=found["rfc"],
        title=found["title"],
        seen=found["seen"],
        places=tuple(Place(p["target"], p["address"]) for p in found["places"]),
        mend=found["mend"],
    )
