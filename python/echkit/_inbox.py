"""Results of the extension in asyncio's event loops."""

from __future__ import annotations

import asyncio
import collections.abc
import typing
import weakref

from . import _echkit, _log
from ._response import as_bytes

if typing.TYPE_CHECKING:
    from ._content import Parts

Event = tuple[str, typing.Any]
Begin = collections.abc.Callable[[_echkit.Mailbox, int], _echkit.Pending]


class Inbox:
    """Where one event loop gets what has come of its requests and look-ups."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The loop has this, which must not have the loop: both end with it.
        self._mailbox = _echkit.Mailbox()
        self._waiting: dict[int, asyncio.Future[Event]] = {}
        self._last = 0
        loop.add_reader(self._mailbox.fileno(), self._collect)

    async def run(self, begin: Begin) -> Event:
        """What comes of something that ``begin`` begins. Cancelled, it ends."""
        number = self._last = self._last + 1
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        _log.follow()
        pending = begin(self._mailbox, number)
        try:
            return await future
        finally:
            if self._waiting.pop(number, None) is not None:
                pending.cancel()

    def _collect(self) -> None:
        for number, well, value in self._mailbox.collect():
            future = self._waiting.pop(number, None)
            if future is None or future.done():
                continue
            if well:
                future.set_result(typing.cast(Event, value))
            else:
                future.set_exception(typing.cast(BaseException, value))
        _log.deliver()


_inboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = (
    weakref.WeakKeyDictionary()
)


def inbox() -> Inbox:
    """That of the event loop that runs."""
    loop = asyncio.get_running_loop()
    known = _inboxes.get(loop)
    if known is None:
        known = _inboxes[loop] = Inbox(loop)
    return known


async def afeed(exchange: _echkit.Exchange, parts: Parts | None) -> None:
    """Give the next part of a request's body."""
    try:
        exchange.feed(await _next(parts))
    except BaseException:
        exchange.close()
        raise


async def _next(parts: Parts | None) -> bytes | None:
    if isinstance(parts, collections.abc.AsyncIterator):
        async for part in parts:
            if part:
                return as_bytes(part)
        return None
    assert isinstance(parts, collections.abc.Iterator)
    # It may read from a file.
    return await asyncio.to_thread(lambda: as_bytes(next((part for part in parts if part), None)))
