"""The stacks that carry a stream of bytes, behind one face: event loops, green threads, plain threads' sockets.

Each has ``run(main)``, ``serve(context, handle)`` which gives a port, ``connect(context, port)`` and
``together(*coroutines)``. A stream has ``send``, ``receive`` (``b""`` at the end), ``close``, and
``waiting``: how many bytes the kernel holds for it, which nobody has received.

gevent and eventlet do not use coroutines. Theirs never wait: the functions within do, and switch.
"""

import array
import asyncio
import contextlib
import fcntl
import socket
import termios

from peer import HIDDEN

AT_ONCE = 1 << 16


def waiting(number):
    """How many bytes the kernel holds for a socket."""
    held = array.array("i", [0])
    fcntl.ioctl(number, termios.FIONREAD, held)
    return held[0]


# asyncio, and uvloop.


class _AsyncioStream:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.number = writer.get_extra_info("socket").fileno()

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self):
        return await self.reader.read(AT_ONCE)

    async def close(self):
        self.writer.close()
        # Under uvloop and asyncio alike an error of the connection is told again here.
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Asyncio:
    """Streams of asyncio."""

    new_event_loop = staticmethod(asyncio.new_event_loop)

    def run(self, main):
        with asyncio.Runner(loop_factory=self.new_event_loop) as runner:
            return runner.run(main())

    async def serve(self, context, handle):
        async def serve(reader, writer):
            await handle(_AsyncioStream(reader, writer))

        self.listening = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=context, backlog=1024
        )
        return self.listening.sockets[0].getsockname()[1]

    async def connect(self, context, port):
        return _AsyncioStream(
            *await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=HIDDEN
            )
        )

    async def together(self, *coroutines):
        return await asyncio.gather(*coroutines)

    async def pause(self):
        await asyncio.sleep(0)


class Uvloop(Asyncio):
    """Streams of asyncio on uvloop."""

    @staticmethod
    def new_event_loop():
        import uvloop

        return uvloop.new_event_loop()


# trio.


class _TrioStream:
    def __init__(self, stream):
        self.stream = stream
        self.number = stream.transport_stream.socket.fileno()

    async def send(self, data):
        import trio

        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise OSError("broken") from error

    async def receive(self):
        import trio

        try:
            return await self.stream.receive_some(AT_ONCE)
        except trio.BrokenResourceError as error:
            raise OSError("broken") from error

    async def close(self):
        await self.stream.aclose()


class Trio:
    """Streams of trio."""

    def run(self, main):
        import trio

        async def run():
            async with trio.open_nursery() as self.nursery:
                result = await main()
                self.nursery.cancel_scope.cancel()
            return result

        return trio.run(run)

    async def serve(self, context, handle):
        import trio

        async def serve(plain):
            with contextlib.suppress(OSError, trio.BrokenResourceError):
                await handle(_TrioStream(trio.SSLStream(plain, context, server_side=True)))

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
        self.nursery.start_soon(trio.serve_listeners, serve, [listener])
        return listener.socket.getsockname()[1]

    async def connect(self, context, port):
        import trio

        plain = await trio.open_tcp_stream("127.0.0.1", port)
        stream = trio.SSLStream(plain, context, server_hostname=HIDDEN)
        await stream.do_handshake()
        return _TrioStream(stream)

    async def together(self, *coroutines):
        import trio

        return await _together(trio.open_nursery(), coroutines)

    async def pause(self):
        import trio

        await trio.lowlevel.checkpoint()


async def _together(group, coroutines):
    """Runs them in a nursery of trio's or a task group of anyio's, until all end or one fails."""
    results, failures = [None] * len(coroutines), []
    async with group as running:

        async def keep(number, coroutine):
            try:
                results[number] = await coroutine
            except Exception as error:
                failures.append(error)
                running.cancel_scope.cancel()

        for number, coroutine in enumerate(coroutines):
            running.start_soon(keep, number, coroutine)
    for error in failures:
        raise error
    return results


# anyio, on asyncio and on trio.


class _AnyioStream:
    def __init__(self, stream):
        import anyio

        self.stream = stream
        self.number = stream.extra(anyio.abc.SocketAttribute.raw_socket).fileno()

    async def send(self, data):
        import anyio

        try:
            await self.stream.send(data)
        except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise OSError("broken") from error

    async def receive(self):
        import anyio

        try:
            return await self.stream.receive(AT_ONCE)
        except anyio.EndOfStream:
            return b""
        except anyio.BrokenResourceError as error:
            raise OSError("broken") from error

    async def close(self):
        import anyio

        with contextlib.suppress(anyio.BrokenResourceError, OSError):
            await self.stream.aclose()


class Anyio:
    """Streams of anyio."""

    backend = "asyncio"

    def run(self, main):
        import anyio

        async def run():
            async with anyio.create_task_group() as self.group:
                result = await main()
                self.group.cancel_scope.cancel()
            return result

        return anyio.run(run, backend=self.backend)

    async def serve(self, context, handle):
        import anyio
        from anyio.streams.tls import TLSListener

        async def serve(stream):
            with contextlib.suppress(OSError, anyio.BrokenResourceError):
                await handle(_AnyioStream(stream))

        listener = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=0, backlog=1024
        )
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self.group.start_soon(TLSListener(listener, context).serve, serve)
        return port

    async def connect(self, context, port):
        import anyio

        return _AnyioStream(
            await anyio.connect_tcp("127.0.0.1", port, ssl_context=context, tls_hostname=HIDDEN)
        )

    async def together(self, *coroutines):
        import anyio

        return await _together(anyio.create_task_group(), coroutines)

    async def pause(self):
        import anyio

        await anyio.sleep(0)


class AnyioOnTrio(Anyio):
    """Streams of anyio on trio."""

    backend = "trio"


# gevent and eventlet: sockets as they are, patched.


def _finished(coroutine):
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class _SocketStream:
    def __init__(self, tls):
        self.tls = tls
        self.number = tls.fileno()

    async def send(self, data):
        self.tls.sendall(data)

    async def receive(self):
        return self.tls.recv(AT_ONCE)

    async def close(self):
        try:
            # Says goodbye; closing alone does not.
            self.tls.unwrap().close()
        except (OSError, ValueError):
            self.tls.close()


class _Green:
    """Sockets of the standard library, patched before anything else was imported."""

    def run(self, main):
        return _finished(main())

    async def serve(self, context, handle):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

        def serve(plain):
            with contextlib.suppress(OSError):
                tls = context.wrap_socket(plain, server_side=True)
                _finished(handle(_SocketStream(tls)))

        def accept():
            while True:
                plain, _ = listener.accept()
                self.spawn(serve, plain)

        self.spawn(accept)
        return listener.getsockname()[1]

    async def connect(self, context, port):
        plain = socket.create_connection(("127.0.0.1", port))
        return _SocketStream(context.wrap_socket(plain, server_hostname=HIDDEN))

    async def together(self, *coroutines):
        failures = []

        def keep(coroutine):
            try:
                return _finished(coroutine)
            except Exception as error:
                failures.append(error)

        results = [done() for done in [self.spawn(keep, each) for each in coroutines]]
        for error in failures:
            raise error
        return results


class Gevent(_Green):
    """Green threads of gevent."""

    def __init__(self):
        import gevent.monkey

        assert gevent.monkey.is_module_patched("ssl")

    def spawn(self, function, *arguments):
        import gevent

        return gevent.spawn(function, *arguments).get

    async def pause(self):
        import gevent

        gevent.sleep(0)


class Eventlet(_Green):
    """Green threads of eventlet."""

    def spawn(self, function, *arguments):
        import eventlet

        return eventlet.spawn(function, *arguments).wait

    async def pause(self):
        import eventlet

        eventlet.sleep(0)


STACKS = {
    "asyncio": Asyncio,
    "uvloop": Uvloop,
    "trio": Trio,
    "anyio": Anyio,
    "anyio-trio": AnyioOnTrio,
    "gevent": Gevent,
    "eventlet": Eventlet,
}


def patch(stack):
    """Has gevent and eventlet replace what they replace; to be called before other imports."""
    if stack == "gevent":
        import gevent.monkey

        gevent.monkey.patch_all()
    if stack == "eventlet":
        import eventlet

        eventlet.monkey_patch()
