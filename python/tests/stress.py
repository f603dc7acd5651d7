"""What must neither leak, hang nor crash; each a program of its own, started by its name.

``python stress.py soak 100000`` is a long one: it prints how much memory the process holds after each
tenth of the handshakes, and fails when that grows. ``python stress.py failures 10000`` has so many
handshakes fail in each of ten ways, and counts descriptors too.
"""

import base64
import contextlib
import gc
import itertools
import os
import pathlib
import queue
import random
import socket
import sys
import threading

import echkit.ssl as ssl
from peer import (
    CERTS,
    HIDDEN,
    PUBLIC,
    Peer,
    client_context,
    ech_config,
    ech_server_context,
    server_context,
)

MEGABYTE = 1 << 20


# Memory.


def resident():
    """Bytes of memory that the process holds."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Pair:
    """A client and a server of ``echkit.ssl`` in memory."""

    def __init__(self, client, server, name=HIDDEN):
        self.to_client, self.to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self.to_client, self.to_server, server_hostname=name)
        self.server = server.wrap_bio(self.to_server, self.to_client, server_side=True)

    def step(self, side):
        """Lets a side go on; whether it has finished."""
        try:
            side.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False

    def shake(self):
        while not (self.step(self.client) & self.step(self.server)):
            pass


def complete(pair, noise):
    """A whole connection: handshake, data both ways, goodbye."""
    pair.shake()
    data = noise.randbytes(noise.randrange(1, 40_000))
    for one, other in ((pair.client, pair.server), (pair.server, pair.client)):
        one.write(data)
        got = b""
        while len(got) < len(data):
            got += other.read(len(data))
        assert got == data
    for side in (pair.client, pair.server):
        try:
            side.unwrap()
        except ssl.SSLWantReadError:
            pass


def abandoned(pair, noise):
    """A handshake that stops after some steps."""
    for _ in range(noise.randrange(3)):
        pair.step(pair.client)
        pair.step(pair.server)


def truncated(pair, noise):
    """The stream ends during the handshake, or after it without a goodbye."""
    if noise.randrange(2):
        pair.shake()
    else:
        pair.step(pair.client)
    pair.to_client.write_eof()
    try:
        pair.client.read(1)
    except ssl.SSLEOFError:
        return
    raise AssertionError("an end of the stream was taken for a goodbye")


def damaged(pair, noise):
    """Bytes that are no TLS, after a step or after the handshake."""
    if noise.randrange(2):
        pair.shake()
    else:
        pair.step(pair.client)
    pair.to_client.write(b"\xff" + noise.randbytes(200))
    try:
        pair.client.read(1)
    except ssl.SSLError:
        return
    raise AssertionError("noise was taken for a record")


def refused(pair, noise):
    """The client refuses the certificate, or the server's answer to its offer."""
    try:
        pair.shake()
    except ssl.SSLError:
        return
    raise AssertionError("a connection that had to be refused was made")


def contexts():
    """What happens, and between which contexts."""
    plain = client_context(ssl)
    hidden = client_context(ssl)
    hidden.set_ech_config(ech_config())
    grease = client_context(ssl)
    grease.options |= ssl.OP_ECH_GREASE
    tls12 = client_context(ssl)
    tls12.maximum_version = ssl.TLSVersion.TLSv1_2
    trusts_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server, outside = server_context(ssl), server_context(ssl, PUBLIC)
    opens_ech = ech_server_context(ssl)
    return [
        (complete, hidden, opens_ech),
        (complete, plain, server),
        (complete, grease, server),
        (complete, tls12, server),
        (abandoned, hidden, opens_ech),
        (truncated, plain, server),
        (truncated, hidden, opens_ech),
        (damaged, grease, opens_ech),
        (refused, trusts_nobody, server),
        # Securely disabled: the public name's certificate, and no ECH.
        (refused, hidden, outside),
    ]


def soak(count="2000"):
    """Handshakes and aborted connections: the memory held does not grow."""
    count = int(count)
    noise = random.Random(9849)
    kinds = itertools.cycle(contexts())
    held = []
    for tenth in range(11):
        for _ in range(count // 10):
            happens, client, server = next(kinds)
            happens(Pair(client, server), noise)
        held.append(resident())
        print(f"{(tenth + 1) * (count // 10):>8} connections: {held[-1] / MEGABYTE:.1f} MB")
    # The first tenth fills caches and the allocator's own; a leak of one connection's state in
    # ten would be many times this.
    grown = held[-1] - held[0]
    print(f"grown by {grown / MEGABYTE:.2f} MB since the first tenth")
    assert grown < max(3 * MEGABYTE, count * 40), held


def soak_sockets(count="500"):
    """As above over loopback, with connections that are closed at any point."""
    count = int(count)
    noise = random.Random(9849)
    made = client_context(ssl)
    held = []
    with Peer() as peer:
        for number in range(count + count // 10):
            sock = made.wrap_socket(
                peer.plain(), server_hostname=HIDDEN, do_handshake_on_connect=False
            )
            if noise.randrange(3):
                sock.do_handshake()
                if noise.randrange(2):
                    sock.sendall(b"down 100000\n")
                    sock.recv(noise.randrange(1, 65536))
            sock.close()
            if number == count // 10:
                held.append(resident())
        held.append(resident())
    files = len(os.listdir("/proc/self/fd"))
    print(f"{held[0] / MEGABYTE:.1f} MB, then {held[1] / MEGABYTE:.1f} MB, {files} descriptors")
    assert held[1] - held[0] < max(3 * MEGABYTE, count * 40), held
    assert files < 20, files


# Handshakes that fail.


def stale_config():
    """A config whose key the server does not have."""
    fresh = bytearray(base64.b64decode(ech_config()))
    # ECHConfigList, ECHConfig, id, KEM and the key's length (RFC 9849 §4) precede the key.
    start = 2 + 4 + 1 + 2 + 2
    fresh[start : start + 32] = bytes(range(1, 33))
    return base64.b64encode(fresh).decode()


def shaking(context):
    """A server that shakes hands; most of them cannot."""

    def serve(sock):
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1)

    return serve


def resetting(sock):
    # What has not been read when it is closed makes of the end a reset.
    assert sock.recv(1)


def babbling(sock):
    sock.sendall(b"\xffno TLS at all" * 10)
    sock.recv(1)


def silent(sock):
    while sock.recv(4096):
        pass


def failing():
    """Ways in which a handshake fails: what the client has, what the server does, and what the client
    is told."""
    trusting = client_context(ssl)
    trusts_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusts_another = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusts_another.load_verify_locations(str(CERTS / f"{HIDDEN}.pem"))
    only_13 = client_context(ssl)
    only_13.minimum_version = ssl.TLSVersion.TLSv1_3
    hidden, stale = client_context(ssl), client_context(ssl)
    hidden.set_ech_config(ech_config())
    stale.set_ech_config(stale_config())
    server, opens_ech = server_context(ssl), ech_server_context(ssl)
    only_12 = server_context(ssl)
    only_12.maximum_version = ssl.TLSVersion.TLSv1_2
    demands = server_context(ssl)
    demands.load_verify_locations(str(CERTS / "ca.pem"))
    demands.verify_mode = ssl.CERT_REQUIRED
    untrusted = ssl.SSLCertVerificationError
    return {
        "unknown authority": (trusts_nobody, HIDDEN, shaking(server), untrusted),
        "wrong certificate": (trusts_another, HIDDEN, shaking(server_context(ssl, PUBLIC)), untrusted),
        "wrong name": (trusting, "other.example", shaking(server), untrusted),
        "no common protocol": (only_13, HIDDEN, shaking(only_12), ssl.SSLError),
        "stale ECH, retry configs": (stale, HIDDEN, shaking(opens_ech), ssl.ECHRejectedError),
        "ECH rejected, not authenticated": (hidden, HIDDEN, shaking(server), untrusted),
        "reset": (trusting, HIDDEN, resetting, ConnectionResetError),
        "time-out": (trusting, HIDDEN, silent, TimeoutError),
        "garbage": (trusting, HIDDEN, babbling, ssl.SSLError),
        "client certificate missing": (trusting, HIDDEN, shaking(demands), ssl.SSLError),
    }


def fail(kind, give):
    """One handshake that fails, and the server's end of it."""
    context, name, serve, expected = kind
    near, far = socket.socketpair()
    ended = threading.Event()
    give((serve, far, ended))
    # Nothing else has to happen meanwhile.
    near.settimeout(0.002 if expected is TimeoutError else 60)
    try:
        with near, context.wrap_socket(near, server_hostname=name) as tls:
            # A server of TLS 1.3 asks for a certificate when the client has done its part.
            tls.recv(1)
    except expected as error:
        if expected is ssl.ECHRejectedError:
            assert error.retry_configs == base64.b64decode(ech_config())
    else:
        raise AssertionError("a handshake that had to fail did not")
    assert ended.wait(60)


def failures(count="200"):
    """Handshakes that fail, so many of each kind: neither memory nor a descriptor stays behind."""
    count = int(count)
    work = queue.SimpleQueue()

    def servers():
        while job := work.get():
            serve, sock, ended = job
            with contextlib.suppress(OSError), sock:
                serve(sock)
            ended.set()

    def open_files():
        return len(os.listdir("/proc/self/fd"))

    worker = threading.Thread(target=servers)
    worker.start()
    try:
        for name, kind in failing().items():
            # The first of each kind fill caches and the allocator's own.
            for _ in range(max(count // 10, 20)):
                fail(kind, work.put)
            held, files = resident(), open_files()
            for _ in range(count):
                fail(kind, work.put)
            grown, left = resident() - held, open_files() - files
            print(
                f"{name:>32}: {count} more failed, {grown / MEGABYTE:+.2f} MB, "
                f"{left:+} descriptors of {files}",
                flush=True,
            )
            assert grown < max(2 * MEGABYTE, count * 40), name
            assert left == 0, name
    finally:
        work.put(None)
        worker.join()


# Threads.


def threads(count="16", each="12"):
    """Many threads shake hands with one context, and talk."""
    made = client_context(ssl)
    failures = []

    def work(peer):
        try:
            for _ in range(int(each)):
                with peer.connect(made) as tls:
                    tls.sendall(b"down 200000\n")
                    got = b""
                    while len(got) < 200_000:
                        got += tls.recv(65536)
                    assert got == (bytes(range(256)) * 782)[:200_000]
        except BaseException as error:
            failures.append(error)

    with Peer() as peer:
        workers = [threading.Thread(target=work, args=(peer,)) for _ in range(int(count))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not failures, failures


def both_ways(megabytes="24"):
    """One connection, read in one thread while another one sends."""
    size = int(megabytes) * MEGABYTE
    block = bytes(range(256)) * 300
    made = client_context(ssl)
    with Peer() as peer, peer.connect(made) as tls:
        tls.sendall(b"echo\n")

        def send():
            left = size
            while left:
                piece = block[:left]
                tls.sendall(piece)
                left -= len(piece)

        sender = threading.Thread(target=send)
        sender.start()
        position, buffer = 0, bytearray(50_000)
        endless = block * 2
        while position < size:
            got = tls.recv_into(buffer)
            assert got
            start = position % len(block)
            assert buffer[:got] == endless[start : start + got], position
            position += got
        sender.join()


# Fork.


def fork(times="20"):
    """Children of a process whose threads are busy make connections of their own."""
    # The standard class makes a context without the interpreter's lock, and OpenSSL does not give
    # back what another thread had locked then: all contexts are made before the first fork.
    made, unused = client_context(ssl), client_context(ssl)
    stop = threading.Event()

    def busy(peer, changing):
        while not stop.is_set():
            changing.set_ecdh_curve(random.choice(["X25519", "prime256v1"]))
            peer.connect(changing).close()

    with Peer() as peer:
        # The interpreter does not give the lock of a module back that a thread was importing when
        # the process was forked: here `encodings.idna`, which the first connection needs.
        peer.connect(made).close()
        workers = [
            threading.Thread(target=busy, args=(peer, client_context(ssl))) for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        try:
            for _ in range(int(times)):
                child = os.fork()
                if child == 0:
                    # Nothing of the parent's is cleaned up here, whatever happens.
                    status = 1
                    try:
                        for context in (made, unused):
                            with peer.connect(context) as tls:
                                tls.sendall(b"down 70000\n")
                                got = 0
                                while got < 70_000:
                                    got += len(tls.recv(65536))
                        status = 0
                    finally:
                        os._exit(status)
                _, status = os.waitpid(child, 0)
                assert status == 0, status
                with peer.connect(made) as tls:
                    tls.sendall(b"up 0\n")
                    assert tls.recv(1) == b"k"
        finally:
            stop.set()
            for worker in workers:
                worker.join()


# Exit and interruption.


def blocked(what, port):
    """Blocks for ever in the middle of I/O with a peer."""
    made = client_context(ssl)
    if what == "handshake":
        # A listener that never answers.
        silent = socket.create_server(("127.0.0.1", 0))
        plain = socket.create_connection(silent.getsockname())
        with made.wrap_socket(plain, server_hostname=HIDDEN) as tls:
            raise AssertionError("a handshake with nobody")
    plain = socket.create_connection(("127.0.0.1", int(port)))
    with made.wrap_socket(plain, server_hostname=HIDDEN) as tls:
        if what == "timed":
            tls.settimeout(3600)
        if what == "write":
            tls.sendall(b"silent\n")
            tls.sendall(bytes(256 * MEGABYTE))
        elif what == "busy":
            tls.sendall(b"down 100000000000\n")
            buffer = bytearray(65536)
            while True:
                tls.recv_into(buffer)
        else:
            tls.sendall(b"silent\n")
            tls.recv(1)
    raise AssertionError("an end to what has no end")


def leave(what, port):
    """The interpreter ends while a daemon thread is in the middle of I/O."""
    for _ in range(3):
        threading.Thread(target=blocked, args=(what, port), daemon=True).start()
    threading.Event().wait(1.0)


def interrupted(what, port):
    """Blocks in the main thread, for Ctrl-C."""
    threading.Timer(0.5, lambda: print("blocked", flush=True)).start()
    blocked(what, port)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
