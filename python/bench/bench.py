"""Compares ``echkit.ssl`` with the standard module, and prints a table.

Both modules do the same against the same independent peer: a server of the standard module in
another process, over TCP on loopback. They take turns, run by run, and the best run of each counts:
other work on the machine only ever adds time. CPU is what the client's process used.

A handshake with ECH needs a server that knows ECH: it goes to a server of ``echkit.ssl`` in
another process, the plain ones of the standard module to a server of the standard module. All
are full handshakes under the same certificate.
"""

import argparse
import asyncio
import pathlib
import platform
import ssl as standard
import sys
import time

import echkit.ssl

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
from peer import HIDDEN, Peer, client_context, ech_config

MODULES = {"ssl": standard, "echkit.ssl": echkit.ssl}
BLOCK = 65536


class Clock:
    """Seconds on the wall and of this process."""

    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.wall
        self.cpu = time.process_time() - self.cpu


def receive(module, there, size):
    """``recv_into`` of 64 KB."""
    with there.connect(client_context(module)) as tls:
        tls.sendall(f"down {size}\n".encode())
        buffer = bytearray(BLOCK)
        left = size
        with Clock() as clock:
            while left:
                left -= tls.recv_into(buffer)
    return clock


def send(module, there, size):
    """``sendall`` of 1 MB at a time."""
    block = bytes(1 << 20)
    with there.connect(client_context(module)) as tls:
        tls.sendall(f"up {size}\n".encode())
        with Clock() as clock:
            for _ in range(size // len(block)):
                tls.sendall(block)
            assert tls.recv(1) == b"k"
    return clock


async def _open(module, there):
    return await asyncio.open_connection(
        "127.0.0.1",
        there.port,
        ssl=client_context(module),
        server_hostname=HIDDEN,
        limit=1 << 20,
    )


def stream_read(module, there, size):
    """An asyncio stream, read 64 KB at a time."""

    async def main():
        reader, writer = await _open(module, there)
        writer.write(f"down {size}\n".encode())
        left = size
        with Clock() as clock:
            while left:
                left -= len(await reader.read(BLOCK))
        writer.transport.abort()
        return clock

    return asyncio.run(main())


def stream_write(module, there, size):
    """An asyncio stream, written 64 KB at a time."""

    async def main():
        reader, writer = await _open(module, there)
        block = bytes(BLOCK)
        writer.write(f"up {size}\n".encode())
        with Clock() as clock:
            for _ in range(size // BLOCK):
                writer.write(block)
                await writer.drain()
            assert await reader.readexactly(1) == b"k"
        writer.transport.abort()
        return clock

    return asyncio.run(main())


BULK = {
    "`recv_into` 64 KB": receive,
    "`sendall` 1 MB": send,
    "asyncio stream, reading": stream_read,
    "asyncio stream, writing": stream_write,
}


def handshakes(made, there, count, status=None):
    """Connects, shakes hands and closes, one after the other."""
    with Clock() as clock:
        for _ in range(count):
            with there.connect(made) as tls:
                assert not tls.session_reused
                assert status is None or tls.get_ech_status() == status
    return clock


def shakes(plain, hidden):
    """What is compared: label, context, server, and the ECH status there has to be."""
    contexts = [client_context(echkit.ssl) for _ in range(4)]
    for context in contexts[2:]:
        context.set_ech_config(ech_config())
    for context in contexts[1::2]:
        context.set_ecdh_curve("X25519")
    success = echkit.ssl.ECH_STATUS_SUCCESS
    return [
        ("`ssl`, plain", client_context(standard), plain, None),
        ("`echkit.ssl`, plain", contexts[0], plain, None),
        ("`echkit.ssl`, plain, X25519 only", contexts[1], plain, None),
        ("`echkit.ssl`, ECH", contexts[2], hidden, success),
        ("`echkit.ssl`, ECH, X25519 only", contexts[3], hidden, success),
    ]


def best(clocks, what):
    return min(getattr(clock, what) for clock in clocks)


def bulk(options, there):
    size = options.megabytes << 20
    print("| | | MB/s | to `ssl` | CPU s/GB | to `ssl` |")
    print("|---|---|---:|---:|---:|---:|")
    for label, job in BULK.items():
        clocks = {name: [] for name in MODULES}
        for _ in range(options.runs):
            for name, module in MODULES.items():
                clocks[name].append(job(module, there, size))
        wall = {name: best(each, "wall") for name, each in clocks.items()}
        cpu = {name: best(each, "cpu") * 1e9 / size for name, each in clocks.items()}
        for name in MODULES:
            print(
                f"| {label} | `{name}` | {size / wall[name] / 1e6:.0f} "
                f"| {wall['ssl'] / wall[name]:.2f}x | {cpu[name]:.3f} "
                f"| {cpu[name] / cpu['ssl']:.2f}x |",
                flush=True,
            )


def handshake(options, plain, hidden):
    chosen = shakes(plain, hidden)
    clocks = {label: [] for label, *_ in chosen}
    for _ in range(options.runs):
        for label, made, there, status in chosen:
            clocks[label].append(handshakes(made, there, options.handshakes, status))
    wall = {label: best(each, "wall") / options.handshakes for label, each in clocks.items()}
    cpu = {label: best(each, "cpu") / options.handshakes for label, each in clocks.items()}
    first = chosen[0][0]
    print("| handshakes | per second | to `ssl` | CPU µs each | to `ssl` |")
    print("|---|---:|---:|---:|---:|")
    for label in clocks:
        print(
            f"| {label} | {1 / wall[label]:.0f} | {wall[first] / wall[label]:.2f}x "
            f"| {cpu[label] * 1e6:.0f} | {cpu[label] / cpu[first]:.2f}x |"
        )


def importing(options):
    """What a program pays to import each module, in a fresh interpreter."""
    import subprocess

    best_of = {}
    for _ in range(3 * options.runs):
        for name in ("ssl", "echkit"):
            code = f"import time; t = time.process_time(); import {name}; print(time.process_time() - t)"
            ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
            best_of[name] = min(best_of.get(name, 1e9), float(ran.stdout))
    print("| import | CPU ms | to `ssl` |")
    print("|---|---:|---:|")
    for name, took in best_of.items():
        print(f"| `{name}` | {took * 1e3:.1f} | {took / best_of['ssl']:.2f}x |")


def main():
    parser = argparse.ArgumentParser(description="echkit.ssl beside the standard module")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, taking turns")
    parser.add_argument("--megabytes", type=int, default=256, help="for each run")
    parser.add_argument("--handshakes", type=int, default=300, help="for each run")
    parser.add_argument("--skip", choices=["bulk", "handshake", "import"], action="append", default=[])
    options = parser.parse_args()
    print(
        f"CPython {platform.python_version()}, {standard.OPENSSL_VERSION}; "
        f"the best of {options.runs} runs that take turns\n"
    )
    with Peer() as plain:
        if "bulk" not in options.skip:
            bulk(options, plain)
            print()
        if "handshake" not in options.skip:
            with Peer("ech") as hidden:
                handshake(options, plain, hidden)
            print()
    if "import" not in options.skip:
        importing(options)


if __name__ == "__main__":
    main()
