"""Servers of ``echkit.ssl`` that open Encrypted Client Hello, with clients of both kinds."""

import asyncio
import os
import queue
import socket
import subprocess
import threading

import pytest

import echkit.ssl as ssl
from pki import HIDDEN, OPENSSL, PUBLIC, ech_config, ech_folder, needs_openssl, openssl

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CA, a certificate for each name, and two ECH keys."""
    return ech_folder(tmp_path_factory.mktemp("ech"))


class Serving:
    """A server that picks the certificate by name, as Python's servers do, and says what it saw."""

    def __init__(self, folder, keys=None, alpn=()):
        self.folder = folder
        self.context = self.made(PUBLIC)
        hidden = self.made(HIDDEN)
        hidden.set_alpn_protocols(list(alpn))
        if keys is not None:
            self.context.load_ech_keys(keys)
        self.asked = []

        def choose(sock, name, _):
            self.asked.append(name)
            if name == HIDDEN:
                sock.context = hidden

        self.context.sni_callback = choose
        self.seen = queue.Queue()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.run, daemon=True).start()

    def made(self, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context

    def run(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            with self.context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            ) as sock:
                error = None
                before = sock.get_ech_status()
                try:
                    sock.do_handshake()
                    assert sock.recv(1) == b"x"
                    sock.sendall(b"hello")
                except OSError as failure:
                    error = failure
                names = (sock.inner_server_hostname, sock.outer_server_hostname)
                self.seen.put((before, sock.get_ech_status(), *names, error))

    def saw(self):
        return self.seen.get(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # shutdown() is what wakes accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def client(folder, config=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(folder / "ca.crt")
    if config is not None:
        made.set_ech_config(config)
    return made


def visit(made, server, name=HIDDEN):
    with socket.create_connection(server.address, timeout=60) as plain:
        with made.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False) as sock:
            try:
                sock.do_handshake()
                sock.sendall(b"x")
                assert sock.recv(5) == b"hello"
            finally:
                status = sock.get_ech_status()
            return status, sock.getpeercert()["subject"], sock.selected_alpn_protocol()


def test_an_offer_is_opened_and_the_name_inside_chooses_the_certificate(folder):
    with Serving(folder, folder / "good.ech", alpn=["site"]) as server:
        made = client(folder, ech_config(folder / "good.ech"))
        made.set_alpn_protocols(["site"])
        status, subject, protocol = visit(made, server)
        assert status == ssl.ECH_STATUS_SUCCESS
        assert subject == ((("commonName", HIDDEN),),)
        # The application protocols are those of the context that the callback chose.
        assert protocol == "site"
        before, after, inner, outer, error = server.saw()
        assert (before, after) == (ssl.ECH_STATUS_NOT_TRIED, ssl.ECH_STATUS_SUCCESS)
        assert (inner, outer, error) == (HIDDEN, PUBLIC, None)
        assert server.asked == [HIDDEN]


def test_openssls_client_is_accepted(folder):
    with Serving(folder, folder / "good.ech") as server:
        command = [
            str(OPENSSL), "s_client", "-connect", "%s:%d" % server.address, "-CAfile", "ca.crt",
            "-ign_eof",
            "-verify_return_error", "-servername", HIDDEN, "-tls1_3",
            "-ech_config_list", ech_config(folder / "good.ech"),
        ]
        said = subprocess.run(
            command, cwd=folder, input=b"x", capture_output=True, timeout=60
        )
        assert b"ECH: success: 1" in said.stdout, said
        assert server.saw()[1:4] == (ssl.ECH_STATUS_SUCCESS, HIDDEN, PUBLIC)


def test_a_stale_offer_gets_the_servers_configs(folder):
    with Serving(folder, folder / "good.ech") as server:
        made = client(folder, ech_config(folder / "stale.ech"))
        with pytest.raises(ssl.ECHRejectedError) as caught:
            visit(made, server)
        _, after, inner, outer, error = server.saw()
        assert (after, inner, outer) == (ssl.ECH_STATUS_GREASE, None, PUBLIC)
        # The client's alert says why it left.
        assert getattr(error, "reason", None) == "ECH_REQUIRED", error
        made.set_ech_config(caught.value.retry_configs)
        assert visit(made, server)[0] == ssl.ECH_STATUS_SUCCESS
        assert server.saw()[1] == ssl.ECH_STATUS_SUCCESS


def test_clients_without_an_offer_and_with_grease_are_served_by_the_name_outside(folder):
    with Serving(folder, folder / "good.ech") as server:
        made = client(folder)
        assert visit(made, server)[0] == ssl.ECH_STATUS_NOT_CONFIGURED
        assert server.saw()[1:] == (ssl.ECH_STATUS_NOT_TRIED, None, HIDDEN, None)
        made.options |= ssl.OP_ECH_GREASE
        assert visit(made, server)[0] == ssl.ECH_STATUS_GREASE
        assert server.saw()[1:] == (ssl.ECH_STATUS_GREASE, None, HIDDEN, None)
        made = client(folder)
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        assert visit(made, server)[1] == ((("commonName", HIDDEN),),)
        assert server.saw()[1] == ssl.ECH_STATUS_NOT_TRIED
    with Serving(folder) as server:
        visit(client(folder), server)
        assert server.saw()[1:] == (ssl.ECH_STATUS_NOT_CONFIGURED, None, HIDDEN, None)


def test_a_folder_opens_with_every_key_and_hands_out_the_newest(folder, tmp_path):
    for age, name in enumerate(("good", "stale")):
        file = tmp_path / f"{name}.ech"
        file.write_text((folder / f"{name}.ech").read_text())
        os.utime(file, (1_000_000 - age, 1_000_000 - age))
    openssl("ech", "-public_name", PUBLIC, "-out", "other.pem", cwd=tmp_path)
    other = (tmp_path / "other.pem").read_text()
    (tmp_path / "other.pem").unlink()
    # A certificate is not an ECH key, and what has another ending is not looked at.
    (tmp_path / "site.pem").write_text((folder / f"{HIDDEN}.crt").read_text())
    (tmp_path / "broken.txt").write_text("-----BEGIN ECHCONFIG-----")
    with Serving(folder, tmp_path) as server:
        for name in ("good", "stale"):
            made = client(folder, ech_config(folder / f"{name}.ech"))
            assert visit(made, server)[0] == ssl.ECH_STATUS_SUCCESS
            server.saw()
        unknown = folder / "unknown.ech"
        unknown.write_text(other)
        made = client(folder, ech_config(unknown))
        with pytest.raises(ssl.ECHRejectedError) as caught:
            visit(made, server)
        server.saw()
        newest = bytes(client(folder, ech_config(folder / "good.ech"))._ech_config)
        assert caught.value.retry_configs == newest
        # A rotation: the newest file from now on is another one.
        (tmp_path / "other.pem").write_text(other)
        server.context.load_ech_keys(str(tmp_path))
        assert visit(made, server)[0] == ssl.ECH_STATUS_SUCCESS
        server.saw()


def test_keys_that_cannot_be_used_raise(folder, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(FileNotFoundError):
        context.load_ech_keys(tmp_path / "missing.ech")
    with pytest.raises(ssl.SSLError, match="no file with an ECH private key"):
        context.load_ech_keys(tmp_path)
    with pytest.raises(ssl.SSLError, match="secret.example.crt"):
        context.load_ech_keys(folder / f"{HIDDEN}.crt")
    (tmp_path / "bad.ech").write_text("nothing")
    with pytest.raises(ssl.SSLError, match="bad.ech"):
        context.load_ech_keys(tmp_path)
    with pytest.raises(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_ech_keys(folder / "good.ech")
    context.load_ech_keys(folder / "good.ech")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="TLS 1.3"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


def test_memory_and_a_callbacks_refusal(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{HIDDEN}.crt", folder / f"{HIDDEN}.key")
    context.load_ech_keys(folder / "good.ech")
    made = client(folder, ech_config(folder / "good.ech"))

    def shake_hands():
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = made.wrap_bio(down, up, server_hostname=HIDDEN)
        theirs = context.wrap_bio(up, down, server_side=True)
        done = set()
        while len(done) < 2:
            for side in (ours, theirs):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
        return theirs

    assert shake_hands().inner_server_hostname == HIDDEN
    names = []

    def refuse(sock, name, made):
        names.append(name)
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = refuse
    with pytest.raises(ssl.SSLError):
        shake_hands()
    assert names == [HIDDEN]


def test_asyncio_opens_offers_too(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{HIDDEN}.crt", folder / f"{HIDDEN}.key")
    context.load_ech_keys(folder / "good.ech")
    made = client(folder, ech_config(folder / "good.ech"))

    async def main():
        async def serve(reader, writer):
            tls = writer.get_extra_info("ssl_object")
            writer.write(repr((tls.get_ech_status(), tls.inner_server_hostname)).encode())
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=made, server_hostname=HIDDEN
        )
        said = await reader.read()
        writer.close()
        listening.close()
        return said.decode()

    said = asyncio.run(asyncio.wait_for(main(), 60))
    assert said == repr((ssl.ECH_STATUS_SUCCESS, HIDDEN))


@pytest.mark.parametrize("with_keys", [False, True])
def test_names_that_reach_the_callback_are_host_names_in_lower_case(folder, with_keys):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / f"{HIDDEN}.crt", folder / f"{HIDDEN}.key")
    if with_keys:
        server.load_ech_keys(folder / "good.ech")
    asked = []
    server.sni_callback = lambda sock, name, context: asked.append(name)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client(folder).wrap_bio(to_client, to_server, server_hostname=HIDDEN)
    with pytest.raises(ssl.SSLWantReadError):
        ours.do_handshake()
    hello = to_server.read()
    names = {
        b"Secret.EXAMPLE": {HIDDEN},
        # Refused, or as if there were none.
        b"../../etc/pa.e": {None},
        b"a\nb\x1b[31m.examp": {None},
        b"\xc3\xa9cret.example": {None},
        b"secret\0example": {None},
    }
    for name, allowed in names.items():
        asked.clear()
        assert len(name) == len(HIDDEN) and hello.count(HIDDEN.encode()) == 1
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs = server.wrap_bio(up, down, server_side=True)
        up.write(hello.replace(HIDDEN.encode(), name))
        with pytest.raises(ssl.SSLError):
            theirs.do_handshake()
        assert set(asked) <= allowed, name
        if name == b"Secret.EXAMPLE":
            assert asked == [HIDDEN]
