"""Compares ``echkit.ssl`` with the standard module, and prints a table.

Both modules do the same against the same independent peer: a server of the standard module in
another process, over TCP on loopback. They take turns, run by run, and the medians count. CPU is
what the client's process used.

A handshake with ECH needs a server that knows ECH: it goes to a server of ``echkit.ssl`` in
another process, the plain ones of the standard module to a server of the standard module. All
are full handshakes under the same certificate.
"""

import argparse
import asyncio
import platform
import socket
import ssl as standard
import statistics
import subprocess
import sys
import time

import echkit.ssl
import peer

MODULES = {"ssl": standard, "echkit.ssl": echkit.ssl}
BLOCK = 65536


class Peer:
    """A server in another process."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, peer.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def context(module):
    made = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(str(peer.CERTS / "ca.pem"))
    return made


def connect(made, port):
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made.wrap_socket(plain, server_hostname=peer.NAME)


class Clock:
    """Seconds on the wall and of this process."""

    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.wall
        self.cpu = time.process_time() - self.cpu


def receive(module, port, size):
    """``recv_into`` of 64 KB."""
    with connect(context(module), port) as tls:
        tls.sendall(f"down {size}\n".encode())
        buffer = bytearray(BLOCK)
        left = size
        with Clock() as clock:
            while left:
                left -= tls.recv_into(buffer)
    return clock


def send(module, port, size):
    """``sendall`` of 1 MB at a time."""
    block = bytes(1 << 20)
    with connect(context(module), port) as tls:
        tls.sendall(f"up {size}\n".encode())
        with Clock() as clock:
            for _ in range(size // len(block)):
                tls.sendall(block)
            assert tls.recv(1) == b"k"
    return clock


async def _open(module, port):
    return await asyncio.open_connection(
        "127.0.0.1", port, ssl=context(module), server_hostname=peer.NAME, limit=1 << 20
    )


def stream_read(module, port, size):
    """An asyncio stream, read 64 KB at a time."""

    async def main():
        reader, writer = await _open(module, port)
        writer.write(f"down {size}\n".encode())
        left = size
        with Clock() as clock:
            while left:
                left -= len(await reader.read(BLOCK))
        writer.transport.abort()
        return clock

    return asyncio.run(main())


def stream_write(module, port, size):
    """An asyncio stream, written 64 KB at a time."""

    async def main():
        reader, writer = await _open(module, port)
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


def handshakes(made, port, count, status=None):
    """Connects, shakes hands and closes, one after the other."""
    with Clock() as clock:
        for _ in range(count):
            with connect(made, port) as tls:
                assert not tls.session_reused
                assert status is None or tls.get_ech_status() == status
    return clock


def shakes():
    """What is compared: label, context, whether it needs the server of ``echkit.ssl``, status."""
    with_ech = context(echkit.ssl)
    with_ech.set_ech_config(peer.ech_config())
    x25519 = context(echkit.ssl)
    x25519.set_ech_config(peer.ech_config())
    x25519.set_ecdh_curve("X25519")
    success = echkit.ssl.ECH_STATUS_SUCCESS
    return [
        ("`ssl`, plain", context(standard), False, None),
        ("`echkit.ssl`, plain", context(echkit.ssl), False, None),
        ("`echkit.ssl`, ECH", with_ech, True, success),
        ("`echkit.ssl`, ECH, X25519 as `ssl` has it", x25519, True, success),
    ]


def median(clocks, what):
    return statistics.median(getattr(clock, what) for clock in clocks)


def bulk(options, port):
    size = options.megabytes << 20
    print("| | | MB/s | to `ssl` | CPU s/GB | to `ssl` |")
    print("|---|---|---:|---:|---:|---:|")
    for label, job in BULK.items():
        if options.only and options.only not in job.__name__:
            continue
        clocks = {name: [] for name in MODULES}
        for _ in range(options.runs):
            for name, module in MODULES.items():
                clocks[name].append(job(module, port, size))
        wall = {name: median(each, "wall") for name, each in clocks.items()}
        cpu = {name: median(each, "cpu") * 1e9 / size for name, each in clocks.items()}
        for name in MODULES:
            print(
                f"| {label} | `{name}` | {size / wall[name] / 1e6:.0f} "
                f"| {wall['ssl'] / wall[name]:.2f}x | {cpu[name]:.3f} "
                f"| {cpu[name] / cpu['ssl']:.2f}x |",
                flush=True,
            )


def handshake(options, port, ech_port):
    chosen = [shake for shake in shakes() if ech_port or not shake[2]]
    clocks = {label: [] for label, *_ in chosen}
    for _ in range(options.runs):
        for label, made, hidden, status in chosen:
            there = ech_port if hidden else port
            clocks[label].append(handshakes(made, there, options.handshakes, status))
    wall = {label: median(each, "wall") / options.handshakes for label, each in clocks.items()}
    cpu = {label: median(each, "cpu") / options.handshakes for label, each in clocks.items()}
    plain = chosen[0][0]
    print("| handshakes | per second | to `ssl` | CPU µs each | to `ssl` |")
    print("|---|---:|---:|---:|---:|")
    for label in clocks:
        print(
            f"| {label} | {1 / wall[label]:.0f} | {wall[plain] / wall[label]:.2f}x "
            f"| {cpu[label] * 1e6:.0f} | {cpu[label] / cpu[plain]:.2f}x |"
        )


def main():
    parser = argparse.ArgumentParser(description="echkit.ssl beside the standard module")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, taking turns")
    parser.add_argument("--megabytes", type=int, default=256, help="for each run")
    parser.add_argument("--handshakes", type=int, default=300, help="for each run")
    parser.add_argument("--only", help="part of a benchmark's name")
    parser.add_argument("--ech-port", type=int, help="an ECH server that runs already")
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {standard.OPENSSL_VERSION}; "
          f"medians of {options.runs} runs that take turns\n")
    plain = Peer()
    try:
        bulk(options, plain.port)
        if not options.only or options.only in "handshake":
            print()
            handshake(options, plain.port, options.ech_port)
    finally:
        plain.stop()


if __name__ == "__main__":
    main()
