"""The race of ``_race``, under asyncio and trio alike, for streams of any kind."""

from __future__ import annotations

import errno
import typing

import anyio

from ._connecting import Place
from ._race import DELAY, Failed

S = typing.TypeVar("S")


async def race(
    places: typing.Sequence[Place],
    failed: Failed,
    connect: typing.Callable[[Place], typing.Awaitable[S]],
    close: typing.Callable[[S], typing.Awaitable[object]],
) -> tuple[Place, S]:
    """The first stream that ``connect`` gives. Raises the last error where all fail."""
    won: list[tuple[Place, S]] = []
    errors: list[Exception] = [OSError(errno.EHOSTUNREACH, "no address to connect to")]

    async with anyio.create_task_group() as group:

        async def run(place: Place, ended: anyio.Event) -> None:
            try:
                stream = await connect(place)
            except OSError as error:
                errors.append(error)
                failed(place, error)
                ended.set()
                return
            if won:
                await close(stream)
            else:
                won.append((place, stream))
                group.cancel_scope.cancel()

        for place in places:
            ended = anyio.Event()
            group.start_soon(run, place, ended)
            with anyio.move_on_after(DELAY):
                await ended.wait()
    if not won:
        raise errors[-1]
    return won[0]
