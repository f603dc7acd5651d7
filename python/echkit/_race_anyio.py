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
    under_way: set[Place] = set()

    async with anyio.create_task_group() as group:

        async def run(place: Place, ended: anyio.Event) -> None:
            try:
                stream = await connect(place)
            except OSError as error:
                errors.append(error)
                failed(place, error)
                return
            finally:
                under_way.discard(place)
                ended.set()
            if won:
                await close(stream)
                return
            won.append((place, stream))
            if under_way:
                # Not without need: it costs as much as the connection.
                group.cancel_scope.cancel()

        for place in places:
            ended = anyio.Event()
            under_way.add(place)
            group.start_soon(run, place, ended)
            with anyio.move_on_after(DELAY):
                await ended.wait()
            if won:
                break
    if not won:
        raise errors[-1]
    return won[0]
