"""An Encrypted Client Hello internet on loopback, for tests.

DNS, a certificate authority, and a server for each way to publish and serve ECH, well or badly::

    with echkit.testing.Testbed() as testbed:
        case = testbed.case("nominal")
        context = echkit.create_default_context(
            port=case.port, cafile=testbed.ca_file, dns=testbed.dns
        )
        plain = socket.create_connection(("127.0.0.1", case.port))
        with context.wrap_socket(plain, server_hostname=case.host) as sock:
            assert sock.get_ech_status() == echkit.ssl.ECH_STATUS_SUCCESS

With pytest the fixture ``ech_testbed`` is such a testbed, one for the session; nothing needs to be
imported or registered.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import json
import os
import socket
import tempfile
import types
import typing
import unittest.mock

from ._tools import require_tools

require_tools("echkit.testing", "testing")

from echkit_tools import _echkit_tools  # noqa: E402 - after the error that says how to install it

__all__ = ["Capture", "Case", "ProxyCapture", "Testbed"]

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """One deployment of the testbed."""

    name: str
    about: str
    """One sentence on what it is."""
    host: str
    """The host that a client is asked to hide."""
    url: str
    """The URL to fetch; with ``?format=json`` the page is the server's own word in JSON."""
    port: int
    """The port of the case's server on 127.0.0.1."""
    public_name: str
    """The name that the case's ECHConfigs show to the network."""
    zone: tuple[str, ...]
    """What the DNS says, in presentation form."""
    expect: dict[str, dict[str, typing.Any]]
    """The outcome expected of a correct client, by mode (``prefer``, ``require``), in the words of
    ``ech testbed --list --json``."""


@dataclasses.dataclass(frozen=True)
class Capture:
    """What a client sent in one connection, as an eavesdropper would have read it."""

    case: str
    data: bytes

    def __contains__(self, name: str) -> bool:
        return name.lower().encode() in self.data.lower()


@dataclasses.dataclass(frozen=True)
class ProxyCapture:
    """What a client sent to a proxy in one connection, within the tunnel too."""

    asked: str | None
    """Where the proxy was to connect to, as the client wrote it."""
    data: bytes

    def __contains__(self, name: str) -> bool:
        return name.lower().encode() in self.data.lower()


class Testbed:
    """An ECH internet on loopback, from its making until :meth:`stop` or the end of ``with``."""

    __test__ = False  # pytest: a name that starts with Test is no test here

    def __init__(self, only: typing.Iterable[str] | None = None, port: int | None = None) -> None:
        """Serve the cases named by ``only``, or all, from ``port`` on, or on free ports."""
        self._running = _echkit_tools.Testbed(None if only is None else list(only), port)
        self._cases = {
            found["name"]: Case(**{**found, "zone": tuple(found["zone"])})
            for found in json.loads(self._running.cases())
        }
        self.dns: str = self._running.dns()
        """The resolver's URI, for ``echkit.lookup`` and others."""
        self.doh: str = self._running.doh()
        """The URI of the resolver over HTTPS; its certificate is signed by ``ca_file``."""
        self.dot: str = self._running.dot()
        """The URI of the resolver over TLS; its certificate is signed by ``ca_file``."""
        self.doq: str = self._running.doq()
        """The URI of the resolver over QUIC; its certificate is signed by ``ca_file``."""
        self.doh3: str = self._running.doh3()
        """The URI of the resolver over HTTP/3; its certificate is signed by ``ca_file``."""
        self.ca_pem: str = self._running.ca_pem()
        """The root certificate of all servers."""
        file, path = tempfile.mkstemp(prefix="echkit-testbed-", suffix=".pem")
        with open(file, "w", encoding="ascii") as output:
            output.write(self.ca_pem)
        self.ca_file: str = path
        """The root certificate as a file, which goes with the testbed."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that are served."""
        return tuple(self._cases.values())

    def case(self, name: str) -> Case:
        """The case of that name; raises ``KeyError`` where it is not served."""
        return self._cases[name]

    def url(self, name: str) -> str:
        """The URL of a case."""
        return self.case(name).url

    def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Look up as ``socket.getaddrinfo`` does, which knows nothing of the testbed's names."""
        return self._look_up(socket.getaddrinfo, host, port, family, type, proto, flags)

    @contextlib.contextmanager
    def names_resolve(self) -> collections.abc.Iterator[None]:
        """Have ``socket.getaddrinfo`` know the testbed's names, for libraries that look up themselves::

            with testbed.names_resolve():
                requests.get(testbed.url("nominal"), verify=testbed.ca_file)
        """
        ours = functools.partial(self._look_up, socket.getaddrinfo)
        with unittest.mock.patch.object(socket, "getaddrinfo", ours):
            yield

    def _look_up(
        self,
        others: typing.Callable[..., typing.Any],
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        name = name.rstrip(".").lower() if name else ""
        if name != "ech.test" and not name.endswith(".ech.test"):
            return typing.cast(list[AddressInfo], others(host, port, family, type, proto, flags))
        found: list[AddressInfo] = []
        for address in self._addresses(name):
            ours = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family in (0, ours):
                found += others(address, port, ours, type, proto, flags | socket.AI_NUMERICHOST)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"{name}: not an address of the testbed")
        return found

    def _addresses(self, name: str, links: int = 8) -> list[str]:
        """The addresses of a name, over so many CNAMEs, as the testbed's DNS has them."""
        records = {line for case in self.cases for line in case.zone}
        found = []
        for line in sorted(records, reverse=True):  # AAAA first
            owner, _, _, kind, data = line.split(" ", 4)
            if owner.rstrip(".").lower() != name:
                continue
            if kind in ("A", "AAAA"):
                found.append(data)
            elif kind == "CNAME" and links > 0:
                found += self._addresses(data.rstrip(".").lower(), links - 1)
        return found

    def rotate(self, name: str) -> None:
        """Replace the ECH keys of a case's server. Its record stays, and is stale from now on."""
        self._running.rotate(name)

    def demand_hello_retry(self, name: str) -> None:
        """Have a case's server answer with HelloRetryRequest from now on."""
        self._running.demand_hello_retry(name)

    def captures(self) -> list[Capture]:
        """What clients have sent to the cases' servers, oldest first."""
        return [Capture(case, data) for case, data in self._running.captures()]

    def clear_captures(self) -> None:
        """Forget what was captured, at proxies too."""
        self._running.clear_captures()

    def proxy(self, name: str = "open", scheme: str = "http") -> str:
        """The URL of a proxy that ``ech testbed --list`` names; ``scheme`` is ``http``, ``https`` or
        ``socks5``, as far as it has that."""
        return self._running.proxy(name, scheme)

    def proxy_captures(self, name: str = "open") -> list[ProxyCapture]:
        """What clients have sent to a proxy, oldest first."""
        return [ProxyCapture(*found) for found in self._running.proxy_captures(name)]

    def quiet(self, timeout: float = 30.0) -> None:
        """Wait until every connection has ended, so that the captures are complete."""
        self._running.quiet(timeout)

    def stop(self) -> None:
        """End everything."""
        self._running.stop()
        try:
            os.unlink(self.ca_file)
        except FileNotFoundError:
            pass

    def __enter__(self) -> Testbed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.stop()
