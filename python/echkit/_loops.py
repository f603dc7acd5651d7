"""Look-ups inside of event loops, none of which may wait for DNS themselves."""

from __future__ import annotations

import functools
import sys
import typing

from . import _echkit
from ._discovery import Answer, answer_of, look_up

T = typing.TypeVar("T")


def current() -> str | None:
    """The event loop that runs in this thread, by its name: ``asyncio``, ``trio`` or another that
    sniffio knows of."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return "asyncio"
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return "trio"
    sniffio = sys.modules.get("sniffio")
    if sniffio is None:
        return None
    try:
        return typing.cast(str, sniffio.current_async_library())
    except sniffio.AsyncLibraryNotFoundError:
        return None


async def look_up_soon(
    asked: _echkit.Resolver,
    host: str,
    port: int,
    alpn: typing.Sequence[bytes] | None = None,
    timeout: float | None = None,
) -> Answer:
    """Ask a resolver that is at hand, from inside of an event loop."""
    library = current()
    if library == "asyncio":
        return await _in_asyncio(asked, host, port, alpn, timeout)
    if library == "trio":
        trio = sys.modules["trio"]
        ask = functools.partial(look_up, asked, host, port, "https", alpn, timeout)
        return typing.cast(Answer, await trio.to_thread.run_sync(ask, abandon_on_cancel=True))
    raise RuntimeError(
        f"prepare() works under asyncio and trio, not under {library or 'no event loop'}; call "
        "discover() in a thread"
    )


async def _in_asyncio(
    asked: _echkit.Resolver,
    host: str,
    port: int,
    alpn: typing.Sequence[bytes] | None,
    timeout: float | None,
) -> Answer:
    # It imports asyncio, which programs under trio do without.
    from ._inbox import inbox

    protocols = None if alpn is None else list(alpn)

    def begin(mailbox: _echkit.Mailbox, number: int) -> _echkit.Pending:
        return asked.begin(host, port, "https", protocols, timeout, mailbox, number)

    _, found = await inbox().run(begin)
    if found is None:
        raise TimeoutError(f"{host}: the look-up of HTTPS records timed out")
    return answer_of(typing.cast(_echkit.Found, found))


def wrapping(sock: typing.Any) -> typing.Any:
    """The socket that a program has in its hands and whose time-out counts: under gevent another one
    than the socket that is wrapped, which never blocks."""
    found = getattr(sock, "_sslsock", None)
    return sock if found is None else found()


def call_beside(work: typing.Callable[[], T]) -> T:
    """Call what waits for DNS, in another thread where gevent or eventlet run this one's program."""
    gevent = sys.modules.get("gevent")
    if gevent is not None:
        hub = sys.modules["gevent.hub"]._get_hub()
        # A hub without a greenlet that runs it is one that nobody has waited in.
        if hub is not None and _is_patched(gevent):
            return typing.cast(T, hub.threadpool.apply(work))
    return work()


def _is_patched(gevent: typing.Any) -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))
