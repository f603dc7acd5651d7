"""What a client sends in one flight leaves in one: Nagle's algorithm would hold the end of it.

The server here acts like Go's: session tickets follow in its first flight, which the client has not
read when it closes. The kernel then resets the connection, and drops what was held.
"""

import socket
import threading

import pytest

import echkit.ssl as ssl
from peer import CERTS, HIDDEN, PUBLIC, client_context, ech_config, server_context
from pki import ech_config as config_of, needs_openssl, openssl

LIMIT = 60
# As a ticket looks from outside.
TICKET = bytes([23, 3, 3, 0, 200]) + bytes(200)


class EarlyTickets(threading.Thread):
    """A server for one connection that sends tickets before it has the client's Finished."""

    def __init__(self, context):
        super().__init__(daemon=True)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.finished, self.end = False, None
        self.answer = b""
        self.start()

    def run(self):
        wire, _ = self.listener.accept()
        wire.settimeout(LIMIT)
        flight = b""
        while not flight:
            self.incoming.write(wire.recv(65536))
            with pytest.raises(ssl.SSLWantReadError):
                self.tls.do_handshake()
            flight = self.outgoing.read()
        wire.sendall(flight + TICKET)
        try:
            while data := wire.recv(65536):
                self.answer += data
        except ConnectionResetError:
            pass
        self.incoming.write(self.answer)
        self.incoming.write_eof()
        try:
            self.tls.do_handshake()
            self.finished = True
            self.tls.read(1)
        except OSError as failure:
            self.end = failure
        wire.close()


def visit(made, server):
    """A connection without further ado: no option is set at the socket."""
    with socket.create_connection(server.address, timeout=LIMIT) as plain:
        with made.wrap_socket(plain, server_hostname=HIDDEN) as sock:
            return sock.get_ech_status()


def heard(server):
    server.join(LIMIT)
    assert not server.is_alive()
    # change_cipher_spec, and what the test is about.
    assert server.answer[:6] == bytes([20, 3, 3, 0, 1, 1]) and len(server.answer) > 6
    return server.end.reason


@needs_openssl
def test_a_server_that_rejects_hears_ech_required(tmp_path):
    openssl("ech", "-public_name", PUBLIC, "-out", "stale.ech", cwd=tmp_path)
    context = server_context(ssl, PUBLIC)
    context.load_ech_keys(CERTS / "ech.pem")
    server = EarlyTickets(context)
    made = client_context(ssl)
    made.set_ech_config(config_of(tmp_path / "stale.ech"))
    with pytest.raises(ssl.ECHRejectedError) as caught:
        visit(made, server)
    assert caught.value.retry_configs
    assert heard(server) == "ECH_REQUIRED"


def test_a_server_that_is_not_trusted_hears_why():
    server = EarlyTickets(server_context(ssl))
    with pytest.raises(ssl.SSLCertVerificationError):
        visit(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), server)
    assert heard(server) == "TLSV1_ALERT_UNKNOWN_CA"


def test_a_client_that_leaves_at_once_has_finished():
    context = server_context(ssl)
    context.load_ech_keys(CERTS / "ech.pem")
    server = EarlyTickets(context)
    made = client_context(ssl)
    made.set_ech_config(ech_config())
    assert visit(made, server) == ssl.ECH_STATUS_SUCCESS
    assert heard(server) == "UNEXPECTED_EOF_WHILE_READING" and server.finished
    assert server.tls.get_ech_status() == ssl.ECH_STATUS_SUCCESS


def test_a_flight_that_comes_in_pieces_is_still_answered_in_one():
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(ssl).wrap_bio(ours, theirs, server_hostname=HIDDEN)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(ssl).wrap_bio(incoming, outgoing, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(theirs.read())
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    flight = outgoing.read()
    for at in range(len(flight) - 1):
        ours.write(flight[at : at + 1])
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        assert theirs.pending == 0
    ours.write(flight[-1:])
    client.do_handshake()
    incoming.write(theirs.read())
    server.do_handshake()
