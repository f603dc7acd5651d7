"""``ftplib.FTP_TLS`` of the standard library: each transfer is a connection of its own, which ends with
``unwrap()``, and servers want it to resume the session of the control connection."""

import ftplib
import io
import socket
import ssl as standard
import threading

import pytest

import echkit.ssl as ssl
from peer import HIDDEN, client_context, server_context

DATA = bytes(range(256)) * 3000
VERSIONS = [standard.TLSVersion.TLSv1_2, standard.TLSVersion.TLSv1_3]


class Server(threading.Thread):
    """A server for one client (RFC 959, RFC 4217): explicit TLS, passive transfers."""

    def __init__(self, context):
        super().__init__(daemon=True)
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.files = {}
        self.resumed = []
        self.goodbyes = 0
        self.failure = None
        self.start()

    def run(self):
        try:
            self.control, _ = self.listener.accept()
            self.lines = self.control.makefile("rb")
            self.say("220 ready")
            while line := self.lines.readline():
                command, _, argument = line.decode().strip().partition(" ")
                if getattr(self, f"on_{command.lower()}")(argument):
                    break
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self.listener.close()
            self.control.close()

    def say(self, text):
        self.control.sendall(f"{text}\r\n".encode())

    def on_auth(self, _):
        self.say("234 TLS")
        self.lines.close()
        self.control = self.context.wrap_socket(self.control, server_side=True)
        self.lines = self.control.makefile("rb")

    def on_user(self, _):
        self.say("331 password")

    def on_pass(self, _):
        self.say("230 welcome")

    def on_pbsz(self, _):
        self.say("200 0")

    def on_prot(self, level):
        self.private = level == "P"
        self.say(f"200 {level}")

    def on_type(self, _):
        self.say("200 type")

    def on_pasv(self, _):
        self.passive = socket.create_server(("127.0.0.1", 0))
        port = self.passive.getsockname()[1]
        self.say(f"227 passive (127,0,0,1,{port >> 8},{port & 255})")

    def transfer(self, use):
        self.say("150 here it comes")
        data, _ = self.passive.accept()
        self.passive.close()
        if self.private:
            data = self.context.wrap_socket(data, server_side=True)
            self.resumed.append(data.session_reused)
        use(data)
        if self.private:
            # Answers the client's goodbye, or waits for it.
            data.unwrap().close()
            self.goodbyes += 1
        data.close()
        self.say("226 done")

    def on_stor(self, name):
        def take(data):
            with data.makefile("rb") as stream:
                self.files[name] = stream.read()

        self.transfer(take)

    def on_retr(self, name):
        self.transfer(lambda data: data.sendall(self.files[name]))

    def on_nlst(self, _):
        self.transfer(lambda data: data.sendall("".join(f"{n}\r\n" for n in self.files).encode()))

    def on_quit(self, _):
        self.say("221 bye")
        return True


class Resuming(ftplib.FTP_TLS):
    """As programs do for servers that demand it: there is no other way in ``ftplib``."""

    def ntransfercmd(self, cmd, rest=None):
        plain, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            plain = self.context.wrap_socket(
                plain, server_hostname=self.host, session=self.sock.session
            )
        return plain, size


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [ftplib.FTP_TLS, Resuming])
@pytest.mark.parametrize(
    ("of_client", "of_server"), [(standard, standard), (ssl, standard), (standard, ssl), (ssl, ssl)]
)
def test_files_go_both_ways_over_private_data_connections(of_client, of_server, kind, version):
    serving = server_context(of_server)
    serving.num_tickets = 2
    serving.maximum_version = version
    server = Server(serving)
    context = client_context(of_client)

    client = kind(context=context, timeout=60)
    client.connect("127.0.0.1", server.port)
    client.host = HIDDEN  # whose certificate the server has
    client.login("user", "secret")
    client.prot_p()
    assert client.sock.version() == version.name.replace("v1_", "v1.")
    client.storbinary("STOR one", io.BytesIO(DATA))
    client.storbinary("STOR two", io.BytesIO(b"short"))
    client.storbinary("STOR none", io.BytesIO())
    assert sorted(client.nlst()) == ["none", "one", "two"]
    for name, content in (("one", DATA), ("two", b"short"), ("none", b"")):
        got = io.BytesIO()
        client.retrbinary(f"RETR {name}", got.write)
        assert got.getvalue() == content
    client.quit()
    server.join(60)
    assert server.failure is None
    assert server.files == {"one": DATA, "two": b"short", "none": b""}
    assert server.goodbyes == 7
    # The first data connection and all others.
    assert server.resumed == [kind is Resuming] * 7
