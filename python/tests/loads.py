"""What every stack must carry without a loss, a hang, or memory that grows.

``python loads.py STACK SIDE MEGABYTES CONNECTIONS``: SIDE (``client``, ``server``) is that of
``echkit.ssl``, the other side is of the standard module. Both are in one process, so that what it
holds is what both hold. Prints a line for each thing done.
"""

import contextlib
import gc
import hashlib
import os
import pathlib
import sys
import time

import streams

if __name__ == "__main__":
    streams.patch(sys.argv[1])

import ssl as standard

import echkit.ssl
from peer import client_context, server_context

SIDES = {"client": (echkit.ssl, standard), "server": (standard, echkit.ssl)}
MEGABYTE = 1 << 20
BLOCK = bytes(range(256)) * 256
# More than the stacks buffer; a stack that reads on while it is paused takes a flood without an end.
MOST = 24 * MEGABYTE


def resident():
    """Bytes of memory that the process holds."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Line:
    """A stream that can be read by lines and by counts."""

    def __init__(self, stream):
        self.stream = stream
        self.rest = b""

    async def line(self):
        while b"\n" not in self.rest:
            data = await self.stream.receive()
            if not data:
                return b""
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    async def some(self, most):
        """Some bytes, at most so many; none at the end."""
        if not self.rest:
            self.rest = await self.stream.receive()
        data, self.rest = self.rest[:most], self.rest[most:]
        return data


async def pour(stream, size):
    digest = hashlib.sha256()
    while size:
        block = BLOCK[: min(size, len(BLOCK))]
        digest.update(block)
        await stream.send(block)
        size -= len(block)
    return digest.digest()


async def drink(line, size):
    digest = hashlib.sha256()
    while size:
        data = await line.some(size)
        assert data, f"an end {size} bytes too early"
        digest.update(data)
        size -= len(data)
    return digest.digest()


class Load:
    """The conversations, each in both roles."""

    def __init__(self, stack, side):
        client, server = SIDES[side]
        self.stack = stack
        self.client, self.server = client_context(client), server_context(server)
        self.open = 0
        self.served = 0
        self.failed = []

    async def start(self):
        self.port = await self.stack.serve(self.server, self.handle)

    async def connect(self):
        return await self.stack.connect(self.client, self.port)

    # The server.

    async def handle(self, stream):
        self.open += 1
        try:
            line = Line(stream)
            what, _, argument = (await line.line()).decode().partition(" ")
            await getattr(self, f"serve_{what}")(stream, line, argument)
        except OSError:
            pass  # the client has left, as the conversation has it
        except BaseException as error:
            self.failed.append(error)
            raise
        finally:
            with contextlib.suppress(OSError):
                await stream.close()
            self.open -= 1
            self.served += 1

    async def serve_bulk(self, stream, line, size):
        size = int(size)
        sent, received = await self.stack.together(pour(stream, size), drink(line, size))
        assert sent == received
        await stream.send(received)

    async def serve_echo(self, stream, line, _):
        while said := await line.line():
            await stream.send(said + b"\n")

    async def serve_flood(self, stream, line, _):
        async def ignore():
            while await line.some(1 << 16):
                pass

        async def flood():
            while True:
                await stream.send(BLOCK)

        await self.stack.together(flood(), ignore())

    async def serve_leave(self, stream, line, _):
        await line.some(1 << 20)

    async def serve_half(self, stream, line, size):
        """Sends what was asked for and says goodbye, while the client has said nothing of an end."""
        await pour(stream, int(size))

    # The client.

    async def bulk(self, megabytes):
        """Checksummed both ways at once."""
        size = megabytes * MEGABYTE
        stream = await self.connect()
        line = Line(stream)
        await stream.send(b"bulk %d\n" % size)
        sent, received = await self.stack.together(pour(stream, size), drink(line, size))
        assert sent == received
        assert await drink(line, 32) == hashlib.sha256(sent).digest()
        assert await line.some(1) == b""
        await stream.close()

    async def many(self, connections):
        """All of them open at once."""
        streams_ = await self.stack.together(*(self.connect() for _ in range(connections)))

        async def talk(number, stream):
            line = Line(stream)
            await stream.send(b"echo\n")
            for turn in range(3):
                said = b"%d %d" % (number, turn)
                await stream.send(said + b"\n")
                assert await line.line() == said

        await self.stack.together(*(talk(*each) for each in enumerate(streams_)))
        assert self.open == connections
        await self.stack.together(*(stream.close() for stream in streams_))

    async def leave(self, times):
        """The client closes in the middle of what comes, and the server in the middle of what goes."""
        for _ in range(times):
            stream = await self.connect()
            await stream.send(b"flood\n")
            assert await stream.receive()
            await stream.close()
            stream = await self.connect()
            await stream.send(b"leave\n")
            with contextlib.suppress(OSError):
                while True:
                    await stream.send(BLOCK)
                    if self.stack_says_nothing_of_an_end(stream):
                        break
            with contextlib.suppress(OSError):
                await stream.close()

    def stack_says_nothing_of_an_end(self, stream):
        """asyncio drops what is written to a transport that has closed."""
        writer = getattr(stream, "writer", None)
        return writer is not None and writer.is_closing()

    async def half(self, times):
        """What comes before a goodbye arrives whole, and the end is one."""
        for size in [1, 100, 20_000, 300_000] * times:
            stream = await self.connect()
            await stream.send(b"half %d\n" % size)
            line = Line(stream)
            await drink(line, size)
            assert await line.some(1) == b""
            await stream.close()

    async def paused(self, seconds=120):
        """A flood for a client that does not read, and writes now and then."""
        stream = await self.connect()
        before = resident()
        await stream.send(b"flood\n")
        written, full, most = 0, 0, 0
        ends = time.monotonic() + seconds
        # Until the kernel's buffer stays full: the stack has left off reading.
        while full < 2000:
            await stream.send(b".\n")
            await self.stack.pause()
            written += 1
            full = full + 1 if streams.waiting(stream.number) > 32_000 else 0
            if written % 100 == 0:
                most = max(most, resident() - before)
                assert most < MOST, f"{most} bytes were taken in while nobody read"
                assert time.monotonic() < ends, "the kernel's buffer does not stay full"
        await stream.close()
        return most

    async def settled(self):
        """All that was served has ended."""
        while self.open:
            await self.stack.pause()
        assert not self.failed, self.failed


def main(stack, side, megabytes, connections):
    megabytes, connections = int(megabytes), int(connections)
    runner = streams.STACKS[stack]()

    async def run():
        load = Load(runner, side)
        await load.start()
        started = time.monotonic()

        def done(text):
            nonlocal started
            now = time.monotonic()
            print(f"{stack}, {side}: {text}, {now - started:.1f} s", flush=True)
            started = now

        await load.bulk(megabytes)
        done(f"{megabytes} MB each way")
        await load.many(connections)
        done(f"{connections} connections at once")
        times = max(connections // 10, 3)
        await load.leave(times)
        done(f"{2 * times} connections closed in flight")
        await load.half(times)
        done(f"{4 * times} ends after data")
        most = await load.paused()
        done(f"a flood for a paused reader, {most / MEGABYTE:.1f} MB more memory")
        await load.settled()
        print(f"{stack}, {side}: all {load.served} connections ended", flush=True)

    runner.run(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
