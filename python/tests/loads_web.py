"""What web libraries must carry: ``python loads_web.py LIBRARY SIDE LOOP MEGABYTES CONNECTIONS``.

As ``loads.py`` does for streams. The client of the ASGI servers is aiohttp, so that for them SIDE is
``server`` alone.
"""

import asyncio
import contextlib
import hashlib
import sys
import time

import aiohttp
import aiohttp.web

from loads import BLOCK, MEGABYTE, MOST, SIDES, resident
from peer import HIDDEN, client_context, server_context


def contexts(side):
    client, server = SIDES[side]
    return client_context(client), server_context(server)


class Flood:
    """How much a server has sent to a client that does not read, and how many it still serves."""

    sent = 0
    open = 0

    @contextlib.contextmanager
    def conversation(self):
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


flood = Flood()


# Servers. Each gives a port.


@contextlib.asynccontextmanager
async def aiohttp_server(context):
    async def digest(request):
        found = hashlib.sha256()
        async for data in request.content.iter_chunked(1 << 16):
            found.update(data)
        return aiohttp.web.Response(text=found.hexdigest())

    async def endless(request):
        with flood.conversation():
            response = aiohttp.web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(BLOCK)
                flood.sent += len(BLOCK)
                # Under uvloop a write to a client that has left neither fails nor waits.
                await asyncio.sleep(0)

    async def down(request):
        response = aiohttp.web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query_string)):
            await response.write(BLOCK)
        return response

    app = aiohttp.web.Application()
    app.router.add_post("/digest", digest)
    app.router.add_get("/endless", endless)
    app.router.add_get("/down", down)
    runner = aiohttp.web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context, backlog=1024).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def asgi(scope, receive, send):
    """The same for ASGI."""
    assert scope["type"] == "http"
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] == "/digest":
        found, more = hashlib.sha256(), True
        while more:
            event = await receive()
            found.update(event.get("body", b""))
            more = event.get("more_body", False)
        await send(start)
        await send({"type": "http.response.body", "body": found.hexdigest().encode()})
        return
    await send(start)
    if scope["path"] == "/down":
        for _ in range(int(scope["query_string"])):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        await send({"type": "http.response.body"})
        return
    left = asyncio.ensure_future(receive_until_left(receive))
    with flood.conversation():
        while not left.done():
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
            flood.sent += len(BLOCK)
            # hypercorn's send neither fails nor waits once the client has left.
            await asyncio.sleep(0)


async def receive_until_left(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.asynccontextmanager
async def uvicorn_server(context):
    import uvicorn

    config = uvicorn.Config(
        asgi, port=0, lifespan="off", log_level="critical",
        ssl_context_factory=lambda config, default: context,
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


@contextlib.asynccontextmanager
async def hypercorn_server(context):
    import socket

    import hypercorn.asyncio
    import hypercorn.config

    class Config(hypercorn.config.Config):
        ssl_enabled = True

        def create_ssl_context(self):
            return context

    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.graceful_timeout = 0
    config.errorlog = None
    stop = asyncio.Event()
    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(asgi, config, shutdown_trigger=stop.wait)
    )
    yield listening.getsockname()[1]
    stop.set()
    await serving
    listening.detach()


class Loopback(aiohttp.abc.AbstractResolver):
    """Every name is 127.0.0.1."""

    async def resolve(self, host, port=0, family=0):
        return [
            {"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}
        ]

    async def close(self):
        pass


async def http(serving, side, megabytes, connections):
    client, server = contexts(side)
    async with serving(server) as port:
        connector = aiohttp.TCPConnector(ssl=client, resolver=Loopback(), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            at = f"https://{HIDDEN}:{port}"
            blocks = megabytes * MEGABYTE // len(BLOCK)
            expected = hashlib.sha256(BLOCK * blocks).hexdigest()

            async def body():
                for _ in range(blocks):
                    yield BLOCK

            async def up():
                async with session.post(f"{at}/digest", data=body()) as response:
                    assert await response.text() == expected

            async def down():
                found = hashlib.sha256()
                async with session.get(f"{at}/down?{blocks}") as response:
                    async for data in response.content.iter_chunked(1 << 16):
                        found.update(data)
                assert found.hexdigest() == expected

            async def small():
                async with session.post(f"{at}/digest", data=b"x") as response:
                    assert await response.text() == hashlib.sha256(b"x").hexdigest()

            await asyncio.gather(up(), down())
            await asyncio.gather(*(small() for _ in range(connections)))
            for _ in range(max(connections // 10, 3)):
                async with session.get(f"{at}/endless") as response:
                    assert await response.content.readany()
                    leave(response)
            while flood.open:
                await asyncio.sleep(0.01)
            response = await session.get(f"{at}/endless")
            most = await paused()
            leave(response)
            while flood.open:
                await asyncio.sleep(0.01)
    return most


def leave(response):
    """Breaks the connection off: to close it would wait for what the server has not been rid of."""
    response.connection.transport.abort()
    response.close()


async def paused():
    """Waits until nothing more is sent to a client that does not read."""
    before, still, sent, most = resident(), 0, flood.sent, 0
    while still < 2000:
        await asyncio.sleep(0)
        still, sent = (still + 1, sent) if flood.sent == sent else (0, flood.sent)
        if still % 100 == 0:
            most = max(most, resident() - before)
            assert most < MOST, f"{most} bytes were taken in while nobody read"
    return most


async def websocket(side, megabytes, connections):
    """Echo, and a flood, over websockets."""
    import websockets.asyncio.client
    import websockets.asyncio.server

    client, server = contexts(side)

    async def serve(connection):
        with contextlib.suppress(websockets.ConnectionClosed), flood.conversation():
            if connection.request.path == "/endless":
                while True:
                    await connection.send(BLOCK)
                    flood.sent += len(BLOCK)
            async for message in connection:
                await connection.send(message)

    async with websockets.asyncio.server.serve(
        serve, "127.0.0.1", 0, ssl=server, compression=None, backlog=1024
    ) as listening:
        port = listening.sockets[0].getsockname()[1]

        def connect(path="/"):
            return websockets.asyncio.client.connect(
                f"wss://{HIDDEN}:{port}{path}", host="127.0.0.1", port=port, ssl=client,
                compression=None, proxy=None, open_timeout=None,
            )

        blocks = megabytes * MEGABYTE // len(BLOCK)
        expected = hashlib.sha256(BLOCK * blocks).digest()
        async with connect() as connection:

            async def pour():
                for _ in range(blocks):
                    await connection.send(BLOCK)

            async def drink():
                found = hashlib.sha256()
                for _ in range(blocks):
                    found.update(await connection.recv())
                assert found.digest() == expected

            await asyncio.gather(pour(), drink())

        async def small(number):
            async with connect() as connection:
                await connection.send(str(number))
                assert await connection.recv() == str(number)

        await asyncio.gather(*map(small, range(connections)))
        for _ in range(max(connections // 10, 3)):
            connection = await connect("/endless")
            await connection.recv()
            connection.transport.abort()
        while flood.open:
            await asyncio.sleep(0.01)
        connection = await connect("/endless")
        most = await paused()
        connection.transport.abort()
        while flood.open:
            await asyncio.sleep(0.01)
    return most


LIBRARIES = {
    "aiohttp": lambda *more: http(aiohttp_server, *more),
    "uvicorn": lambda *more: http(uvicorn_server, *more),
    "hypercorn": lambda *more: http(hypercorn_server, *more),
    "websockets": websocket,
}


def main(library, side, loop, megabytes, connections):
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    started = time.monotonic()
    with asyncio.Runner(loop_factory=factory) as runner:
        most = runner.run(LIBRARIES[library](side, int(megabytes), int(connections)))
    print(
        f"{library}, {side}, {loop}: {megabytes} MB each way, {connections} connections, closes in flight, "
        f"a flood ({most / MEGABYTE:.1f} MB more memory), {time.monotonic() - started:.1f} s"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
