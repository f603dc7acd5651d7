"""What each stack makes of a peer that has said goodbye and still reads (RFC 8446 §6.1).

``python half_close.py STACK SIDE``: SIDE (``client``, ``server``) is that of the stack. Prints a line for
the standard module and one for ``echkit.ssl``: what the stack has read, and what the peer was sent
after its goodbye. The peer is a process of its own, of the standard module over memory, which does not
wait for an answer to its goodbye.
"""

import contextlib
import json
import socket
import subprocess
import sys

import streams

STACK = sys.argv[1]
if __name__ == "__main__" and STACK != "peer":
    streams.patch(STACK)

import ssl as standard  # noqa: E402

import echkit.ssl  # noqa: E402
from peer import HIDDEN, client_context, server_context  # noqa: E402

VERSIONS = {"1.2": standard.TLSVersion.TLSv1_2, "1.3": standard.TLSVersion.TLSv1_3}


# The peer.


class Peer:
    """TLS over memory, and the socket below."""

    def __init__(self, sock, role, version):
        self.sock = sock
        self.incoming, self.outgoing = standard.MemoryBIO(), standard.MemoryBIO()
        context = client_context() if role == "client" else server_context()
        context.maximum_version = VERSIONS[version]
        name = {"server_hostname": HIDDEN} if role == "client" else {"server_side": True}
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **name)

    def run(self, step, *arguments):
        while True:
            try:
                return step(*arguments)
            except standard.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                self.incoming.write(data) if data else self.incoming.write_eof()
            finally:
                self.flush()

    def flush(self):
        if data := self.outgoing.read():
            with contextlib.suppress(OSError):
                self.sock.sendall(data)

    def say_goodbye(self):
        with contextlib.suppress(standard.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def rest(self):
        """What comes after the goodbye, and how it ends."""
        got = b""
        try:
            while data := self.run(self.tls.read, 65536):
                got += data
            return got, "goodbye"
        except standard.SSLZeroReturnError:
            return got, "goodbye"
        except OSError:
            return got, "cut"


def peer(role, version, port):
    if role == "client":
        sock = socket.create_connection(("127.0.0.1", int(port)))
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            sock, _ = listener.accept()
    with sock:
        there = Peer(sock, role, version)
        there.run(there.tls.do_handshake)
        there.run(there.tls.write, b"all of it")
        there.say_goodbye()
        got, end = there.rest()
    print(json.dumps([got.decode(), end]), flush=True)


# The stack.


def start(role, version, port="0"):
    command = [sys.executable, "-W", "ignore", __file__, "peer", role, version, str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def converse(stream):
    """Reads to the end, and answers."""
    got = b""
    while data := await stream.receive():
        got += data
    with contextlib.suppress(OSError):
        await stream.send(b"and ")
        await stream.send(b"this")
    with contextlib.suppress(OSError):
        await stream.close()
    return got


async def visit(stack, module, version):
    with start("server", version) as there:
        port = int(there.stdout.readline())
        got = await converse(await stack.connect(client_context(module), port))
        return got, there.communicate()[0]


async def be_visited(stack, module, version):
    read = []

    async def handle(stream):
        read.append(await converse(stream))

    port = await stack.serve(server_context(module), handle)
    with start("client", version, port) as there:
        while not read:
            await stack.pause()
        return read[0], there.communicate()[0]


def main(stack, side):
    runner = streams.STACKS[stack]()
    how = visit if side == "client" else be_visited

    async def run():
        for version in VERSIONS:
            for module in (standard, echkit.ssl):
                got, sent = await how(runner, module, version)
                print(module.__name__, version, json.dumps([got.decode(), *json.loads(sent)]), flush=True)

    runner.run(run)


if __name__ == "__main__":
    peer(*sys.argv[2:]) if STACK == "peer" else main(*sys.argv[1:])
