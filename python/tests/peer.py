"""The peer of benchmarks and stress tests: a server in a process of its own.

It prints its port, serves each connection in a thread, and ends with its standard input. The
standard module is what it serves with; the argument ``ech`` makes it a server of ``echkit.ssl``
that opens Encrypted Client Hello.

A client's first line says what it wants: ``down N`` sends N bytes, ``up N`` takes N bytes and
answers with one, ``echo`` sends back what comes, ``silent`` says and reads nothing any more.
"""

import pathlib
import socket
import ssl
import subprocess
import sys
import threading

CERTS = pathlib.Path(__file__).resolve().parent / "certs"
HIDDEN, PUBLIC = "secret.example", "public.example"
_BLOCK = bytes(range(256)) * 1024


def ech_config():
    """The ECHConfigList of the server's key, as base64."""
    text = (CERTS / "ech.pem").read_text()
    body = text.split("-----BEGIN ECHCONFIG-----")[1].split("-----END ECHCONFIG-----")[0]
    return "".join(body.split())


def server_context(module=ssl, name=HIDDEN):
    """A server's context of a module."""
    made = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(str(CERTS / f"{name}.pem"))
    # No tickets: a client that leaves without having read them would cause a reset.
    made.num_tickets = 0
    return made


def ech_server_context(module):
    """A server's context that opens ECH, with a certificate for each name."""
    hidden, outside = server_context(module), server_context(module, PUBLIC)
    hidden.load_ech_keys(str(CERTS / "ech.pem"))

    def choose(sock, name, _):
        if name == PUBLIC:
            sock.context = outside

    hidden.sni_callback = choose
    return hidden


def client_context(module=ssl):
    """A client's context of a module."""
    made = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(str(CERTS / "ca.pem"))
    return made


def shake_hands_in_memory(module, client, server):
    """A handshake between two contexts of a module; gives the client's end."""
    to_client, to_server = module.MemoryBIO(), module.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=HIDDEN)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    finish_handshakes(ours, theirs)
    return ours


def finish_handshakes(*sides):
    """Lets sides that are connected over memory take turns until each has done its handshake."""
    left = set(sides)
    while left:
        for side in tuple(left):
            try:
                side.do_handshake()
                left.discard(side)
            except ssl.SSLWantReadError:
                pass


class Peer:
    """A server in another process."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def plain(self):
        """A connection without TLS."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect(self, made):
        """A connection with TLS by a client's context."""
        return made.wrap_socket(self.plain(), server_hostname=HIDDEN)


def _converse(tls):
    line = b""
    while not line.endswith(b"\n"):
        byte = tls.recv(1)
        if not byte:
            return
        line += byte
    what, _, count = line.decode().strip().partition(" ")
    if what == "down":
        left = int(count)
        while left:
            size = min(left, len(_BLOCK))
            tls.sendall(_BLOCK[:size])
            left -= size
    elif what == "up":
        buffer = bytearray(65536)
        left = int(count)
        while left:
            got = tls.recv_into(buffer)
            if not got:
                return
            left -= got
        tls.sendall(b"k")
    elif what == "echo":
        while data := tls.recv(65536):
            tls.sendall(data)
    elif what == "silent":
        threading.Event().wait()


def _serve(made, sock):
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with made.wrap_socket(sock, server_side=True) as tls:
            _converse(tls)
            tls.unwrap()
    except OSError:
        pass


def main():
    if sys.argv[1:] == ["ech"]:
        import echkit.ssl

        made = ech_server_context(echkit.ssl)
    else:
        made = server_context()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve, args=(made, sock), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
