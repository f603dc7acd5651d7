"""Contexts under the event loops and streams that people use, as client and as server."""

import asyncio
import hashlib
import ssl as standard

import pytest

import echkit.ssl as ssl
from peer import HIDDEN, client_context, server_context

aiohttp = pytest.importorskip("aiohttp")
anyio = pytest.importorskip("anyio")
trio = pytest.importorskip("trio")
pytest.importorskip("trio.testing")
pytest.importorskip("aiohttp.web")
pytest.importorskip("anyio.streams.tls")
uvloop = pytest.importorskip("uvloop")

from loads_web import Loopback  # noqa: E402 - imports aiohttp

BLOCK = bytes(range(256)) * 256
WAIT = 120

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
# Each side by this module, the other one by the standard module or by this one.
SIDES = {"client": (ssl, standard), "server": (standard, ssl), "both": (ssl, ssl)}

both_loops = pytest.mark.parametrize("loop", LOOPS)
all_sides = pytest.mark.parametrize("sides", SIDES)


def run(loop, main):
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(main, WAIT))


class Server:
    """A server of asyncio streams, and how to connect to it."""

    def __init__(self, sides, serve):
        client, server = SIDES[sides]
        self.client, self.server = client_context(client), server_context(server)
        self.serve = serve

    async def __aenter__(self):
        self.listening = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.server)
        self.port = self.listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.listening.close()

    async def connect(self, **more):
        return await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.client, server_hostname=HIDDEN, **more
        )


@both_loops
@all_sides
def test_data_whose_end_arrives_with_it_is_read_to_the_end(loop, sides):
    async def serve(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def main():
        async with Server(sides, serve) as server:
            for size in (1, 100, 20_000) * 7:
                reader, writer = await server.connect()
                sent = b"x" * size + b"\n"
                writer.write(sent)
                assert await reader.read() == sent
                writer.close()

    run(loop, main())


@both_loops
@all_sides
def test_much_data_both_ways_at_once(loop, sides):
    count = 256

    async def pour(writer):
        for _ in range(count):
            writer.write(BLOCK)
            await writer.drain()

    async def drink(reader):
        digest = hashlib.sha256()
        left = count * len(BLOCK)
        while left:
            data = await reader.read(1 << 17)
            assert data
            digest.update(data)
            left -= len(data)
        return digest.digest()

    expected = hashlib.sha256(BLOCK * count).digest()
    served = []

    async def serve(reader, writer):
        _, digest = await asyncio.gather(pour(writer), drink(reader))
        served.append(digest)
        writer.close()

    async def main():
        async with Server(sides, serve) as server:
            reader, writer = await server.connect()
            _, digest = await asyncio.gather(pour(writer), drink(reader))
            assert await reader.read() == b""
            writer.close()
            assert [digest, *served] == [expected, expected]

    run(loop, main())


@both_loops
@all_sides
def test_many_connections_at_once(loop, sides):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def visit(server, number):
        reader, writer = await server.connect()
        for turn in range(3):
            line = b"%d %d\n" % (number, turn)
            writer.write(line)
            assert await reader.readline() == line
        writer.close()
        assert await reader.read() == b""

    async def main():
        async with Server(sides, serve) as server:
            await asyncio.gather(*(visit(server, number) for number in range(100)))

    run(loop, main())


@both_loops
@all_sides
def test_a_reader_that_pauses_stops_the_flow_whatever_it_writes(loop, sides):
    flood = 1024 * len(BLOCK)  # 64 MiB: more than all buffers of both systems

    async def main():
        paused, go_on, counted = asyncio.Event(), asyncio.Event(), []

        async def serve(reader, writer):
            # Reads nothing for now: the stream's buffer fills up and pauses the transport.
            for _ in range(2000):
                writer.write(b".")
                await asyncio.sleep(0)
            paused.set()
            await go_on.wait()
            total = 0
            while data := await reader.read(1 << 18):
                total += len(data)
            counted.append(total)
            writer.close()

        async with Server(sides, serve) as server:
            reader, writer = await server.connect()
            sent = 0

            async def pour():
                nonlocal sent
                while sent < flood:
                    writer.write(BLOCK)
                    sent += len(BLOCK)
                    await writer.drain()
                writer.close()

            pouring = asyncio.ensure_future(pour())
            await paused.wait()
            assert sent < flood / 2 and not pouring.done()
            go_on.set()
            await pouring
            await writer.wait_closed()
            while not counted:
                await asyncio.sleep(0.01)
            assert counted == [flood]

    run(loop, main())


@both_loops
@all_sides
def test_start_tls(loop, sides):
    async def main():
        client, server = (f(m) for f, m in zip((client_context, server_context), SIDES[sides]))

        async def serve(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.drain()
            await writer.start_tls(server)
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(client, server_hostname=HIDDEN)
            writer.write(b"inside\n")
            assert await reader.read() == b"INSIDE\n"
            writer.close()
        listening.close()

    run(loop, main())


@both_loops
@all_sides
def test_tls_in_tls(loop, sides):
    """As through a proxy that is spoken to in TLS."""

    async def main():
        client, server = (f(m) for f, m in zip((client_context, server_context), SIDES[sides]))

        async def serve(reader, writer):
            assert await reader.readline() == b"CONNECT\n"
            writer.write(b"go\n")
            await writer.drain()
            await writer.start_tls(server)
            data = await reader.readexactly(len(BLOCK) * 4)
            writer.write(data)
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
        port = listening.sockets[0].getsockname()[1]
        for _ in range(5):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client, server_hostname=HIDDEN
            )
            writer.write(b"CONNECT\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(client, server_hostname=HIDDEN)
            writer.write(BLOCK * 4)
            assert await reader.readexactly(len(BLOCK) * 4) == BLOCK * 4
            writer.close()
        listening.close()

    run(loop, main())


@both_loops
@all_sides
def test_aiohttp(loop, sides):
    async def main():
        client, server = (f(m) for f, m in zip((client_context, server_context), SIDES[sides]))

        async def whole(request):
            return aiohttp.web.Response(body=await request.read())

        async def open_ended(request):
            response = aiohttp.web.StreamResponse()
            response.force_close()
            await response.prepare(request)
            await response.write(await request.read())
            return response

        app = aiohttp.web.Application(client_max_size=1 << 24)
        app.router.add_post("/whole", whole)
        app.router.add_post("/open", open_ended)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server)
        await site.start()
        port = runner.addresses[0][1]
        resolver = aiohttp.TCPConnector(ssl=client, resolver=Loopback())
        async with aiohttp.ClientSession(connector=resolver) as session:
            for path in ("whole", "open") * 5:
                url = f"https://{HIDDEN}:{port}/{path}"
                async with session.post(url, data=BLOCK * 16) as response:
                    assert await response.read() == BLOCK * 16
        await runner.cleanup()

    run(loop, main())


@all_sides
def test_trio_and_what_comes_after_unwrap(sides):
    client, server = (f(m) for f, m in zip((client_context, server_context), SIDES[sides]))

    async def main():
        left, right = trio.testing.memory_stream_pair()
        ours = trio.SSLStream(left, client, server_hostname=HIDDEN)
        theirs = trio.SSLStream(right, server, server_side=True)
        received = bytearray()

        async def serve():
            while len(received) < 64 * len(BLOCK):
                received.extend(await theirs.receive_some(1 << 17))
            stream, trailing = await theirs.unwrap()
            await stream.send_all(b"in the clear")
            assert trailing == b""

        with trio.fail_after(WAIT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                for _ in range(64):
                    await ours.send_all(BLOCK)
                stream, trailing = await ours.unwrap()
                while trailing != b"in the clear":
                    trailing += await stream.receive_some()
        assert bytes(received) == BLOCK * 64

    trio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@all_sides
def test_anyio(backend, sides):
    client, server = (f(m) for f, m in zip((client_context, server_context), SIDES[sides]))

    async def main():
        async def serve(stream):
            async with stream:
                received = bytearray()
                while len(received) < 16 * len(BLOCK):
                    received += await stream.receive()
                await stream.send(received)

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        listener = anyio.streams.tls.TLSListener(listener, server)
        with anyio.fail_after(WAIT):
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, serve)
                async with await anyio.connect_tcp(
                    "127.0.0.1", port, ssl_context=client, tls_hostname=HIDDEN
                ) as stream:
                    await stream.send(BLOCK * 16)
                    received = bytearray()
                    try:
                        while True:
                            received += await stream.receive()
                    except anyio.EndOfStream:
                        pass
                assert received == BLOCK * 16
                group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
