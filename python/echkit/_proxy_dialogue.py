"""What a client says to an HTTP or SOCKS5 proxy, for streams of any kind.

Each dialogue is a generator: it yields what to send and is given what was received. It ends when bytes pass
through to the server, and raises ``ProxyRefusal`` otherwise.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl as _std
import typing

from ._context import discovery_error

Dialogue = typing.Generator[bytes, bytes, None]

# As much of a proxy's answer as is read.
_MAX_HEAD = 32 * 1024


class ProxyRefusal(OSError):
    """A proxy did not connect."""


def _target(host: str, port: int) -> bytes:
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode("ascii")


def http_connect(
    host: str,
    port: int,
    auth: tuple[bytes, bytes] | None = None,
    headers: typing.Iterable[tuple[bytes, bytes]] = (),
) -> Dialogue:
    """CONNECT (RFC 9110 §9.3.6). A ``Host`` among the headers is left out: it may be the hidden one."""
    import h11

    target = _target(host, port)
    sent = [(b"Host", target), *((k, v) for k, v in headers if k.lower() != b"host")]
    if auth is not None:
        sent.append((b"Proxy-Authorization", b"Basic " + base64.b64encode(b":".join(auth))))
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    try:
        data = connection.send(h11.Request(method="CONNECT", target=target, headers=sent))
        data += connection.send(h11.EndOfMessage())
        received = yield data
        while True:
            connection.receive_data(received)
            event = connection.next_event()
            if event is h11.NEED_DATA:
                received = yield b""
            elif isinstance(event, h11.InformationalResponse):
                received = b""
            elif isinstance(event, h11.Response) and 200 <= event.status_code < 300:
                break
            elif isinstance(event, h11.Response):
                reason = bytes(event.reason).decode("latin-1")
                raise ProxyRefusal(f"the proxy answered {event.status_code} {reason}".rstrip())
            else:
                raise ProxyRefusal("the proxy closed the connection")
    except h11.ProtocolError as error:
        raise ProxyRefusal(f"the proxy's answer is not HTTP: {error}") from error
    if connection.trailing_data[0]:
        raise ProxyRefusal("the proxy sent bytes before the server could")


def socks5(host: str, port: int, auth: tuple[bytes, bytes] | None = None) -> Dialogue:
    """SOCKS5 (RFC 1928), with a password (RFC 1929) where there is one."""
    from socksio import socks5 as protocol
    from socksio.exceptions import ProtocolError

    connection = protocol.SOCKS5Connection()

    def said(request: typing.Any, what: str) -> typing.Generator[bytes, bytes, typing.Any]:
        connection.send(request)
        received = yield connection.data_to_send()
        if not received:
            raise ProxyRefusal(f"the proxy closed the connection {what}")
        try:
            return connection.receive_data(received)
        except (ProtocolError, ValueError, IndexError) as error:
            raise ProxyRefusal(f"the proxy's answer is not SOCKS5: {error}") from error

    methods = [protocol.SOCKS5AuthMethod.NO_AUTH_REQUIRED]
    if auth is not None:
        methods = [protocol.SOCKS5AuthMethod.USERNAME_PASSWORD]
    chosen = yield from said(protocol.SOCKS5AuthMethodsRequest(methods), "after the greeting")
    if chosen.method not in methods:
        raise ProxyRefusal("the proxy accepts none of the ways to authenticate")
    if auth is not None:
        request = protocol.SOCKS5UsernamePasswordRequest(*auth)
        if not (yield from said(request, "after the password")).success:
            raise ProxyRefusal("the proxy refused user and password")
    command = protocol.SOCKS5CommandRequest.from_address(
        protocol.SOCKS5Command.CONNECT, (_literal(host), port)
    )
    reply = yield from said(command, f"when it was asked for {host}:{port}")
    if reply.reply_code != protocol.SOCKS5ReplyCode.SUCCEEDED:
        raise ProxyRefusal(f"the proxy refused {host}:{port}: {reply.reply_code.name}")


def _literal(host: str) -> str:
    try:
        return ipaddress.ip_address(host).exploded
    except ValueError:
        return host


class Through(typing.NamedTuple):
    """A proxy."""

    scheme: str
    host: str
    port: int
    auth: tuple[bytes, bytes] | None
    headers: tuple[tuple[bytes, bytes], ...]
    ssl_context: _std.SSLContext | None

    def dialogue(self, host: str, port: int) -> Dialogue:
        if self.scheme in ("http", "https"):
            return http_connect(host, port, self.auth, self.headers)
        return socks5(host, port, self.auth)

    def tls(self) -> _std.SSLContext | None:
        """The context for TLS with the proxy itself."""
        if self.scheme != "https":
            return None
        return self.ssl_context or _std.create_default_context()


def refuse_lookups(scheme: str, host: str, port: int, proxy_resolves: bool) -> None:
    """Raise for a proxy that would look names up, unless it may know them."""
    if scheme == "socks5h" and not proxy_resolves:
        raise discovery_error(
            f"{scheme}://{host}:{port}: socks5h leaves look-ups to the proxy, which would learn the names "
            "that ECH hides; use socks5://, or proxy_resolves=True if it may",
            None,
        )
    if scheme in ("socks4", "socks4a"):
        raise ValueError(f"{scheme}://{host}:{port}: SOCKS4 is not supported; use socks5://")
