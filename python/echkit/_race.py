"""TCP connections to several addresses, of which the first counts (RFC 8305)."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
import typing

from ._connecting import Place

# How long an attempt has before the next address is tried beside it (RFC 8305 §5).
DELAY = 0.25
# How many addresses are tried at the same time.
AT_ONCE = 6

Failed = typing.Callable[[Place, Exception], None]
SocketOptions = typing.Iterable[tuple[int, int, int | bytes]]

_UNDER_WAY = (0, errno.EINPROGRESS, errno.EAGAIN, errno.EALREADY)


def left(deadline: float | None, what: str = "connection") -> float | None:
    """How many seconds are left; raises ``TimeoutError`` where there are none."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError(f"{what}: timed out")
    return seconds


def race(
    places: typing.Sequence[Place],
    failed: Failed,
    deadline: float | None = None,
    *,
    source_address: tuple[str, int] | None = None,
    options: SocketOptions = (),
) -> tuple[Place, socket.socket]:
    """A blocking socket that is connected to one of the places. What fails is told to ``failed``;
    raises the last error where all do."""
    waiting = list(places)
    error: Exception = OSError(errno.EHOSTUNREACH, "no address to connect to")
    with _Under() as under:
        start_at = 0.0
        while waiting or under.way:
            if waiting and len(under.way) < AT_ONCE and time.monotonic() >= start_at:
                place = waiting.pop(0)
                try:
                    if not waiting and not under.way:
                        # Nothing is beside it.
                        return place, _connected(place, source_address, options, deadline)
                    under.start(place, source_address, options)
                    start_at = time.monotonic() + DELAY
                except OSError as refused:
                    if isinstance(refused, TimeoutError) and refused.errno is None:
                        raise  # the deadline, and not a fault of the place
                    error = refused
                    failed(place, refused)
                continue
            pause = left(deadline, _names(places))
            if waiting and len(under.way) < AT_ONCE:
                until = max(start_at - time.monotonic(), 0.0)
                pause = until if pause is None else min(pause, until)
            for sock, place in under.wait(pause):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    under.keep(sock)
                    sock.setblocking(True)
                    return place, sock
                error = _failed(code, place)
                under.close(sock)
                failed(place, error)
                start_at = 0.0  # the next at once
    raise error


def _names(places: typing.Sequence[Place]) -> str:
    return f"connection to {', '.join(map(str, places))}"


def _failed(code: int, place: Place) -> OSError:
    return OSError(code, f"{os.strerror(code)} ({place})")


def _opened(
    place: Place, source: tuple[str, int] | None, options: SocketOptions
) -> socket.socket:
    """A socket that is not yet connected."""
    family = socket.AF_INET6 if place.address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        if source is not None:
            sock.bind(source)
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(
    place: Place,
    source: tuple[str, int] | None,
    options: SocketOptions,
    deadline: float | None,
) -> socket.socket:
    """A socket that is connected to the one place that is left."""
    sock = _opened(place, source, options)
    try:
        sock.settimeout(left(deadline, _names([place])))
        sock.connect(place.peer)
        sock.settimeout(None)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError) and error.errno is None:
            raise TimeoutError(f"{_names([place])}: timed out") from None
        if isinstance(error, OSError):
            raise _failed(error.errno or errno.ECONNREFUSED, place) from None
        raise
    return sock


class _Under:
    """Sockets that are being connected; closed at the end."""

    def __init__(self) -> None:
        self.way: dict[socket.socket, Place] = {}
        self._made: selectors.BaseSelector | None = None

    @property
    def _selector(self) -> selectors.BaseSelector:
        if self._made is None:
            self._made = selectors.DefaultSelector()
        return self._made

    def start(
        self, place: Place, source: tuple[str, int] | None, options: SocketOptions
    ) -> None:
        sock = _opened(place, source, options)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(place.peer)
            if code not in _UNDER_WAY:
                raise _failed(code, place)
            self._selector.register(sock, selectors.EVENT_WRITE)
        except BaseException:
            sock.close()
            raise
        self.way[sock] = place

    def wait(self, seconds: float | None) -> list[tuple[socket.socket, Place]]:
        ready = self._selector.select(seconds)
        return [(key.fileobj, self.way[key.fileobj]) for key, _ in ready]  # type: ignore[index, misc]

    def keep(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        del self.way[sock]

    def close(self, sock: socket.socket) -> None:
        self.keep(sock)
        sock.close()

    def __enter__(self) -> _Under:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in list(self.way):
            self.close(sock)
        if self._made is not None:
            self._made.close()
