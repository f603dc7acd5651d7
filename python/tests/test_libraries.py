"""The context unchanged in the standard library: asyncio, http.client, STARTTLS of mail."""

import asyncio
import http.client
import imaplib
import pathlib
import smtplib
import socket
import ssl as standard
import threading

import pytest

import echkit.ssl as ssl

test = pytest.importorskip("test.support", reason="the interpreter has no test suite")
_HERE = pathlib.Path(test.__file__).parent.parent
_DATA = _HERE / "certdata" if (_HERE / "certdata").exists() else _HERE
CERT, CA = str(_DATA / "keycert3.pem"), str(_DATA / "pycacert.pem")


def client(module=ssl):
    return module.create_default_context(cafile=CA)


def server(module=ssl):
    made = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERT)
    return made


class Serving(threading.Thread):
    """One connection, given to a function."""

    def __init__(self, serve):
        super().__init__(daemon=True)
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        sock, _ = self.listener.accept()
        self.listener.close()
        with sock:
            try:
                self.serve(sock)
            except OSError:
                pass


def test_asyncio_streams_both_sides():
    async def main():
        async def echo(reader, writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        listening = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server())
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client(), server_hostname="localhost"
        )
        sent = bytes(range(256)) * 4096
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()
        listening.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_asyncio_starttls_both_sides():
    async def main():
        served = asyncio.get_running_loop().create_future()

        async def serve(reader, writer):
            try:
                assert await reader.readline() == b"STARTTLS\n"
                writer.write(b"go\n")
                await writer.drain()
                await writer.start_tls(server())
                line = await reader.readline()
                writer.write(line.upper())
                await writer.drain()
                # The client says goodbye, and so do we.
                assert await reader.read() == b""
                writer.close()
                served.set_result(line)
            except BaseException as error:
                served.set_exception(error)

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client(), server_hostname="localhost")
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        assert writer.get_extra_info("cipher")[1] == "TLSv1.3"
        writer.write(b"inside\n")
        assert await reader.readline() == b"INSIDE\n"
        writer.close()
        assert await served == b"inside\n"
        listening.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_asyncio_refuses_a_wrong_name_as_the_standard_module_does():
    async def main(module):
        listening = await asyncio.start_server(
            lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=server(module)
        )
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(standard.SSLCertVerificationError) as caught:
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=client(module), server_hostname="other.example"
            )
        listening.close()
        return caught.value.verify_code, caught.value.verify_message

    outcomes = [asyncio.run(asyncio.wait_for(main(m), 60)) for m in (ssl, standard)]
    assert outcomes[0] == outcomes[1]


def test_http_client_reads_a_page():
    def serve(sock):
        with server().wrap_socket(sock, server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    running = Serving(serve)
    connection = http.client.HTTPSConnection("localhost", running.port, context=client())
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"


def test_smtplib_starttls_goes_on_inside():
    def serve(sock):
        sock.sendall(b"220 here\r\n")
        sock.recv(1024)
        sock.sendall(b"250-here\r\n250 STARTTLS\r\n")
        sock.recv(1024)
        sock.sendall(b"220 go\r\n")
        with server().wrap_socket(sock, server_side=True) as tls:
            tls.recv(1024)
            tls.sendall(b"250 inside\r\n")
            tls.recv(1024)
            tls.sendall(b"221 bye\r\n")

    running = Serving(serve)
    with smtplib.SMTP("localhost", running.port) as smtp:
        smtp.starttls(context=client())
        assert smtp.ehlo()[1] == b"inside"


def test_imaplib_starttls_goes_on_inside():
    def answer(lines, send):
        for line in lines:
            tag, command = line.split()[:2]
            if command == b"CAPABILITY":
                send(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n")
            if command == b"LOGOUT":
                send(b"* BYE inside\r\n")
            send(tag + b" OK done\r\n")
            if command in (b"STARTTLS", b"LOGOUT"):
                return

    def serve(sock):
        sock.sendall(b"* OK here\r\n")
        # Unbuffered: what comes after STARTTLS is not for this reader.
        answer(iter(sock.makefile("rb", buffering=0).readline, b""), sock.sendall)
        with server().wrap_socket(sock, server_side=True) as tls:
            answer(tls.makefile("rb"), tls.sendall)

    running = Serving(serve)
    imap = imaplib.IMAP4("localhost", running.port, timeout=60)
    assert imap.starttls(client())[0] == "OK"
    assert isinstance(imap.sock, ssl.SSLSocket)
    assert imap.logout() == ("BYE", [b"inside"])


def test_a_blocked_reader_does_not_block_a_writer():
    ready = threading.Event()

    def serve(sock):
        with server().wrap_socket(sock, server_side=True) as tls:
            got = b""
            while len(got) < 1_000_000:
                got += tls.recv(65536)
            tls.sendall(b"all")
            ready.wait(60)

    running = Serving(serve)
    plain = socket.create_connection(("127.0.0.1", running.port))
    with client().wrap_socket(plain, server_hostname="localhost") as tls:
        answers = []
        reader = threading.Thread(target=lambda: answers.append(tls.recv(3)))
        reader.start()
        tls.sendall(b"x" * 1_000_000)
        reader.join(60)
        assert answers == [b"all"]
        ready.set()


def outcome(module, name, **settings):
    """What a client of a module says about a server of the standard module."""

    def serve(sock):
        with server(standard).wrap_socket(sock, server_side=True) as tls:
            tls.recv(1)

    running = Serving(serve)
    made = client(module) if settings.pop("trusts", True) else module.create_default_context()
    for key, value in settings.items():
        setattr(made, key, value)
    plain = socket.create_connection(("127.0.0.1", running.port))
    try:
        with made.wrap_socket(plain, server_hostname=name) as tls:
            return tls.version(), tls.getpeercert()
    except module.SSLCertVerificationError as error:
        return error.verify_code, error.verify_message, error.reason


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("localhost", {}),
        ("other.example", {}),
        ("127.0.0.1", {}),
        ("localhost", {"trusts": False}),
        ("other.example", {"check_hostname": False}),
        ("localhost", {"maximum_version": standard.TLSVersion.TLSv1_2}),
    ],
)
def test_trust_is_the_standard_modules(name, settings):
    assert outcome(ssl, name, **dict(settings)) == outcome(standard, name, **dict(settings))
