"""The HTTP client over many requests: memory and descriptors do not grow.

    client_stress.py soak COUNT
"""

import asyncio
import contextlib
import gc
import os
import pathlib
import socket
import ssl
import subprocess
import sys

import echkit
from stress import MEGABYTE, resident

CERTS = pathlib.Path(__file__).resolve().parent / "certs"
ANSWER = b"HTTP/1.1 200 OK\r\nset-cookie: session=17\r\ncontent-length: 4000\r\n\r\n" + bytes(4000)


async def _answer(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"transfer-encoding: chunked" in head:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            elif b"content-length: " in head:
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
            writer.write(ANSWER)
            await writer.drain()
            if b"connection: close" in head:
                break
    writer.close()


def serve():
    """A site over TLS in a process of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / "secret.example.pem")

    async def main():
        server = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())


SETTINGS = {"verify": False, "trust_env": False}


def _twenty(client, url, refused):
    """Twenty requests of every kind that ends in a different way."""
    for _ in range(12):
        assert len(client.get(url).content) == 4000
    assert client.post(url, content=iter([b"a", b"b" * 5000])).is_success
    assert client.post(url, files={"file": b"content"}).is_success
    with client.stream("GET", url) as response:
        assert sum(map(len, response.iter_bytes(1000))) == 4000
    with client.stream("GET", url) as response:
        pass  # the connection is closed
    assert client.get(url, headers={"Connection": "close"}).ech.document["attempts"] is not None
    for failing in (refused, "http://[", f"{url}?{{}}"):
        with contextlib.suppress(echkit.RequestError):
            client.get(failing, timeout=30)


async def _twenty_at_once(client, url):
    await asyncio.gather(*(client.get(url) for _ in range(17)))
    async with client.stream("GET", url) as response:
        await response.aread()
    async with client.stream("GET", url):
        pass
    task = asyncio.create_task(client.get(url))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def soak(count="2000"):
    """In threads and in event loops, with clients that are made anew every 400 requests at most."""
    count = int(count)
    # Of 40 requests each: how many with the same clients, and how often with others.
    rounds = min(max(count // 400, 1), 10)
    clients = max(count // (400 * rounds), 1)
    server = subprocess.Popen(
        [sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = f"https://127.0.0.1:{int(server.stdout.readline())}/"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            refused = f"https://127.0.0.1:{listener.getsockname()[1]}/"

        async def in_a_loop(rounds):
            async with echkit.AsyncClient(**SETTINGS) as client:
                for _ in range(rounds):
                    await _twenty_at_once(client, url)

        def some():
            with echkit.Client(**SETTINGS) as client:
                for _ in range(rounds):
                    _twenty(client, url, refused)
            asyncio.run(in_a_loop(rounds))

        held, files = [], []
        for tenth in range(11):
            for _ in range(clients):
                some()
            held.append(resident())
            files.append(_descriptors())
            done = (tenth + 1) * clients * rounds * 40
            line = f"{done:>8} requests: {held[-1] / MEGABYTE:.1f} MB, {files[-1]} descriptors"
            print(line, flush=True)
    finally:
        server.terminate()
        server.wait()
    # The first tenth fills caches and the allocator's own.
    grown = held[-1] - held[0]
    print(f"grown by {grown / MEGABYTE:.2f} MB since the first tenth")
    assert grown < max(4 * MEGABYTE, count * 40), held
    assert files[-1] <= files[0] + 3, files


if __name__ == "__main__":
    {"soak": soak, "serve": serve}[sys.argv[1]](*sys.argv[2:])
