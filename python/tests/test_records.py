"""Records and reads: nothing is taken from the socket that is not TLS, nothing is lost, and an
error waits until the data before it was read."""

import random
import select
import socket
import ssl as standard
import threading

import pytest

import echkit.ssl as ssl
from peer import HIDDEN, client_context, server_context

RECORD = 16_384


class Talk:
    """A client of ``echkit.ssl``, and a function that has the standard module's server."""

    def __init__(self, serve, version=standard.TLSVersion.TLSv1_3):
        here, there = socket.socketpair()
        made = server_context(standard)
        made.maximum_version = version
        self.errors = []

        def run():
            try:
                with made.wrap_socket(there, server_side=True) as tls:
                    serve(tls)
            except Exception as error:
                self.errors.append(error)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        self.tls = client_context(ssl).wrap_socket(here, server_hostname=HIDDEN)
        self.tls.settimeout(120)

    def __enter__(self):
        return self.tls

    def __exit__(self, *_):
        self.tls.close()
        self.thread.join(120)
        assert not self.errors, self.errors


@pytest.mark.parametrize("before", [1, 100, RECORD, 3 * RECORD])
def test_what_follows_close_notify_stays_in_the_socket(before):
    def serve(tls):
        tls.sendall(b"x" * before)
        # The client's goodbye is waited for; what is said then is not TLS.
        plain = tls.unwrap()
        plain.sendall(b"plain")
        assert plain.recv(5) == b"again"

    with Talk(serve) as tls:
        got = 0
        while got < before:
            got += len(tls.recv(65536))
        plain = tls.unwrap()
        assert plain.recv(5) == b"plain"
        plain.sendall(b"again")
        plain.close()


@pytest.mark.parametrize("version", [standard.TLSVersion.TLSv1_2, standard.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 1000, RECORD, RECORD + 1, 65536, 300_000])
def test_reads_of_any_size_give_every_byte_in_order(size, version):
    noise = random.Random(size)
    data = noise.randbytes(400_000 if size > 1 else 40_000)
    pieces = [noise.choice([1, 20, 4_090, 4_200, RECORD, 50_000]) for _ in range(4000)]

    def serve(tls):
        position = 0
        for piece in pieces:
            tls.sendall(data[position : position + piece])
            position += piece
            if position >= len(data):
                break

    with Talk(serve, version) as tls:
        got, buffer = bytearray(), bytearray(size)
        while len(got) < len(data):
            if len(got) % 2:
                got += tls.recv(size)
            else:
                count = tls.recv_into(buffer)
                assert 0 < count <= size
                got += buffer[:count]
        assert got == data


def test_select_sees_what_pending_does_not():
    data = random.Random(1).randbytes(20 * RECORD)
    more = threading.Event()

    def serve(tls):
        tls.sendall(data)
        assert more.wait(120)
        tls.sendall(data)

    with Talk(serve) as tls:
        got = b""
        while len(got) < 2 * len(data):
            if len(got) == len(data):
                more.set()
            if not tls.pending():
                assert select.select([tls], [], [], 120)[0], "what is left can be seen nowhere"
            got += tls.recv(RECORD // 2 if len(got) % 3 else 5 * RECORD)
        assert got == data + data


def test_recv_does_not_wait_for_more_than_there_is():
    answered = threading.Event()

    def serve(tls):
        tls.sendall(b"y" * RECORD)
        assert answered.wait(120)

    with Talk(serve) as tls:
        got = 0
        while got < RECORD:
            got += len(tls.recv(1 << 20))
        answered.set()


def memory():
    """A client and a server in memory, after the handshake."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(ssl).wrap_bio(to_client, to_server, server_hostname=HIDDEN)
    server = server_context(standard).wrap_bio(to_server, to_client, server_side=True)
    finished = set()
    while len(finished) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                finished.add(side)
            except ssl.SSLWantReadError:
                pass
    return client, server, to_client


@pytest.mark.parametrize("length", [10, RECORD, 5 * RECORD])
def test_an_error_waits_for_the_data_before_it(length):
    client, server, to_client = memory()
    server.write(b"z" * length)
    to_client.write(b"\xff" * 100)
    got = b""
    while len(got) < length:
        got += client.read(1 << 20)
    assert got == b"z" * length
    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            client.read(1)


def test_ciphertext_in_any_pieces_is_put_together():
    client, server, to_client = memory()
    noise = random.Random(2)
    data = noise.randbytes(200_000)
    server.write(data)
    wire, got = to_client.read(), b""
    while wire:
        piece = noise.choice([1, 5, 300, 17_000, 40_000])
        to_client.write(wire[:piece])
        wire = wire[piece:]
        try:
            got += client.read(noise.choice([1, 100, 300_000]))
        except ssl.SSLWantReadError:
            pass
    while len(got) < len(data):
        got += client.read(1 << 20)
    assert got == data
    with pytest.raises(ssl.SSLWantReadError):
        client.read(1)
    to_client.write_eof()
    with pytest.raises(ssl.SSLEOFError):
        client.read(1)
