"""What programs and libraries do with the standard module works with this one, in the same way."""

import gc
import importlib.util
import itertools
import os
import shutil
import socket
import ssl as standard
import subprocess
import sys
import threading
import warnings

import pytest

import echkit
import echkit.ssl as ssl
from judging import visit
from peer import CERTS, HIDDEN, client_context, finish_handshakes, server_context
from pki import certificate, needs_openssl, openssl

MODULES = (standard, ssl)


def pair(client, server, session=None, name=HIDDEN):
    up, down = standard.MemoryBIO(), standard.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name, session=session)
    theirs = server.wrap_bio(up, down, server_side=True)
    finish_handshakes(ours, theirs)
    return ours, theirs


# Arguments.


@pytest.mark.parametrize("form", [True, False, 1, 0, "yes", "", None, [], [0], 2.5])
def test_getpeercert_takes_what_is_true_or_false(form):
    seen = []
    for module in MODULES:
        ours, _ = pair(client_context(module), server_context(standard))
        seen.append((ours.getpeercert(form), ours.getpeercert(binary_form=form)))
    assert seen[0] == seen[1]


# Which library it is.


def test_the_version_of_openssl_is_the_interpreters_for_programs_that_parse_it():
    for name in ("OPENSSL_VERSION", "OPENSSL_VERSION_INFO", "OPENSSL_VERSION_NUMBER"):
        assert getattr(ssl, name) == getattr(standard, name)
    # As urllib3 does.
    assert ssl.OPENSSL_VERSION.startswith("OpenSSL ")
    assert ssl.OPENSSL_VERSION_INFO >= (1, 1, 1)


# Options.


def test_every_option_of_openssl_is_taken_or_refused_with_its_reason():
    refused = {}
    for bit in range(37):
        expected = standard.SSLContext(standard.PROTOCOL_TLS_CLIENT)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            expected.options |= 1 << bit
            try:
                context.options |= 1 << bit
            except (ValueError, NotImplementedError) as error:
                refused[bit] = type(error)
                assert str(error).startswith(("options", "unknown options")), error
        if bit in refused:
            assert not context.options & 1 << bit
        else:
            assert int(context.options) == int(expected.options), bit
    # Extended master secret and clean buffers; and the bit that OpenSSL has for nothing.
    assert refused == {0: NotImplementedError, 1: NotImplementedError, 5: ValueError}


def test_a_connection_with_legacy_options_is_made():
    client = client_context(ssl)
    client.options |= 0x4 | 1 << 18
    ours, _ = pair(client, server_context(standard))
    assert ours.version() == "TLSv1.3"


# Trust.


def hashed(folder, certs, name, suffix="0"):
    value = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", f"{name}.crt"],
        cwd=certs, check=True, capture_output=True, text=True,
    ).stdout.strip() if shutil.which("openssl") else None
    if value is None:
        pytest.skip("the system has no openssl")
    target = folder / f"{value}.{suffix}"
    target.write_bytes((certs / f"{name}.crt").read_bytes())
    return target


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    home = tmp_path_factory.mktemp("certs")
    for root in ("root", "other"):
        certificate(home, root, f"/CN={root}", ca=True)
        certificate(home, f"of-{root}", "/CN=localhost", "subjectAltName=DNS:localhost", issuer=root)
    return home


@needs_openssl
@pytest.mark.parametrize("by", ["capath", "SSL_CERT_DIR"])
def test_each_of_several_folders_is_searched(certs, tmp_path, monkeypatch, by):
    folders = []
    for root in ("root", "other"):
        folders.append(tmp_path / root)
        folders[-1].mkdir()
        hashed(folders[-1], certs, root)
    names = os.pathsep.join([str(folders[0]), str(tmp_path / "missing"), "", str(folders[1])])
    monkeypatch.setenv("SSL_CERT_DIR", names)

    def load(context):
        if by == "capath":
            context.load_verify_locations(capath=names)
        else:
            context.set_default_verify_paths()

    for leaf in ("of-root", "of-other"):
        for module in MODULES:
            assert visit(module, certs, leaf, [], more=load)[0] == "trusted"


@needs_openssl
def test_a_file_in_a_folder_that_is_rewritten_counts_as_it_is_now(certs, tmp_path):
    file = hashed(tmp_path, certs, "root")
    stamp = file.stat()

    def load(context):
        context.load_verify_locations(capath=tmp_path)

    for root, leaf in (("root", "of-root"), ("other", "of-root"), ("root", "of-root")):
        # In place: the folder stays as it is, and so do name, owner and length of the file.
        with open(file, "r+b") as output:
            output.write((certs / f"{root}.crt").read_bytes())
            output.truncate()
        assert file.stat().st_ino == stamp.st_ino
        seen = [visit(module, certs, leaf, [], more=load) for module in MODULES]
        assert seen[0] == seen[1]
        assert (seen[1][0] == "trusted") is (root == "root")


@needs_openssl
@pytest.mark.parametrize("text", ["garbage", "half", "empty"])
def test_a_file_that_is_not_valid_raises_whatever_the_environment_names(
    certs, tmp_path, monkeypatch, text
):
    good = (certs / "root.crt").read_text()
    bad = tmp_path / "bad.pem"
    bad.write_text(
        {
            "garbage": "garbage",
            "half": good + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "empty": "",
        }[text]
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(bad))
    for module in MODULES:
        context = module.create_default_context()
        assert context.cert_store_stats()["x509"] == 0
        for _ in range(2):
            with pytest.raises(module.SSLError):
                context.load_verify_locations(bad)
        with pytest.raises(module.SSLError):
            module.create_default_context(cafile=bad)


# CERT_NONE.


@needs_openssl
@pytest.mark.parametrize("version", [standard.TLSVersion.TLSv1_2, standard.TLSVersion.TLSv1_3])
def test_without_verification_any_certificate_will_do(certs, version):
    odd = {
        "critical": ("1.2.3.4=critical,ASN1:NULL",),
        "authority": ("basicConstraints=critical,CA:TRUE",),
        "nameless": (),
    }
    for name, extensions in odd.items():
        certificate(certs, name, "/CN=odd", *extensions, ca=None)
    # Of version 1: without any extension.
    openssl("req", "-config", "empty.cnf", "-x509", "-x509v1", "-key", "nameless.key", "-subj",
            "/CN=old", "-days", "2", "-out", "old.crt", cwd=certs)
    shutil.copy(certs / "nameless.key", certs / "old.key")

    def load(context):
        context.check_hostname = False
        context.verify_mode = standard.CERT_NONE
        context.maximum_version = version

    def told(module, name):
        # getpeercert() says nothing of a certificate that nobody has verified.
        try:
            return visit(module, certs, name, [], check_hostname=False, more=load)
        except KeyError as error:
            return error.args

    for name in (*odd, "old"):
        assert told(ssl, name) == told(standard, name) == ("subject",), name


# Subclasses.


def test_a_subclass_that_does_not_call_our_init():
    class Context(ssl.SSLContext):
        def __init__(self, *_, **__):
            self.mine = True

    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTS / "ca.pem")
    ours, _ = pair(context, server_context(standard))
    assert ours.version() == "TLSv1.3" and context.mine

    class Discovering(echkit.DiscoveringSSLContext):
        def __init__(self, protocol):
            pass

    found = Discovering(ssl.PROTOCOL_TLS_CLIENT)
    assert (found.port, found.ech) == (443, "prefer")


def test_a_socket_whose_methods_are_overridden_waits_as_the_standard_one():
    """eventlet's tells a time-out of its own, and waits itself."""

    class Green(socket.socket):
        def gettimeout(self):
            return 3600.0

    for module in MODULES:
        near, far = socket.socketpair()
        with far:
            green = Green(near.family, near.type, fileno=near.detach())
            green.setblocking(False)
            context = client_context(module)
            made = context._wrap_socket(green, False, HIDDEN)
            with pytest.raises(module.SSLWantReadError):
                made.do_handshake()
            green.close()


_EVENTLET = """
import sys
import eventlet
eventlet.monkey_patch()
sys.path.insert(0, sys.argv[1])
import socket
import echkit.ssl as ssl
from peer import HIDDEN, client_context, server_context

client, server = client_context(ssl), server_context(ssl)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()

def serve():
    for _ in range(10):
        plain, _ = listener.accept()
        tls = server.wrap_socket(plain, server_side=True)
        tls.sendall(tls.recv(100))
        tls.close()

def visit():
    tls = client.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname=HIDDEN)
    tls.sendall(b"hello")
    return tls.recv(100)

eventlet.spawn(serve)
jobs = [eventlet.spawn(visit) for _ in range(10)]
with eventlet.Timeout(60):
    assert [job.wait() for job in jobs] == [b"hello"] * 10
print("fine")
"""


def test_eventlet():
    if importlib.util.find_spec("eventlet") is None:
        pytest.skip("eventlet is not installed")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _EVENTLET, os.path.dirname(__file__)],
        capture_output=True, text=True, timeout=120,
    )
    assert ran.stdout == "fine\n", ran.stderr


# Sessions.


@pytest.mark.parametrize("version", [standard.TLSVersion.TLSv1_2, standard.TLSVersion.TLSv1_3])
def test_a_session_can_be_offered_again_and_again(version):
    def told(module):
        client, server = client_context(module), server_context(standard)
        server.num_tickets = 2
        client.maximum_version = version
        ours, theirs = pair(client, server)
        theirs.write(b"x")
        ours.read(1)
        session = ours.session
        reused = []
        for _ in range(5):
            again, there = pair(client, server, session)
            there.write(b"x")
            again.read(1)
            reused.append(again.session_reused)
        assert session == session and session.id == session.id
        assert ours.session == session and ours.session.id == session.id
        return reused, session.has_ticket, session == again.session

    assert told(ssl)[0] == told(standard)[0] == [True] * 5


def test_other_sessions_differ():
    client = client_context(ssl)
    server = server_context(standard)
    server.num_tickets = 2
    sessions = []
    for _ in range(2):
        ours, theirs = pair(client, server)
        theirs.write(b"x")
        ours.read(1)
        sessions.append(ours.session)
    assert sessions[0] != sessions[1] and sessions[0].id != sessions[1].id


# Key logs.


def test_contexts_with_one_key_log_share_a_descriptor_and_a_new_file_is_opened_anew(tmp_path):
    log = tmp_path / "keys.log"

    def opened():
        return sum(
            os.path.realpath(f"/proc/self/fd/{fd}").startswith(str(log))
            for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")
        )

    def contexts():
        made = []
        for number in range(20):
            context = client_context(ssl)
            # Contexts whose settings differ, so that nothing else is shared.
            context.set_alpn_protocols([str(number)])
            context.keylog_filename = str(log)
            pair(context, server_context(standard))
            made.append(context)
        return made

    # The standard class, whose setter validates, holds one of its own for each context.
    first = contexts()
    assert opened() == len(first) + 1
    lines = log.read_text().count("SECRET")
    assert lines >= 20 * 4
    log.rename(tmp_path / "old.log")
    # Those that were open go on in the old file, as in the standard module; new ones begin anew.
    again = contexts()
    assert log.read_text().count("SECRET") >= 20 * 4
    assert (tmp_path / "old.log").read_text().count("SECRET") == lines
    assert again


# Servers.


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.0\r\n\r\n", b"POST /", b"HEAD / H", b"PUT /abc", b"CONNECT a:1",
                     b"OPTIONS * HTTP/1.1\r\n\r\n"]
)
def test_plain_http_at_a_server_is_called_so(request_line):
    def told(module):
        incoming, outgoing = standard.MemoryBIO(), standard.MemoryBIO()
        server = server_context(module).wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(request_line)
        with pytest.raises(standard.SSLError) as caught:
            server.do_handshake()
        # OpenSSL says nothing in TLS to who speaks HTTP.
        silent = caught.value.reason in ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST")
        return caught.value.reason, outgoing.pending if silent else None

    assert told(ssl) == told(standard)


NAMES = [
    f"ECDHE-ECDSA-{cipher}" for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
]


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)))
@pytest.mark.parametrize("servers_choice", [True, False])
def test_the_order_of_ciphers(order, servers_choice):
    """At a client, and at a server that prefers its own."""

    def told(module):
        chosen = []
        for mine, other in ((server_context(module), client_context(standard)),
                            (client_context(module), server_context(standard))):
            serving = mine if other.verify_mode else other
            serving.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
            if servers_choice:
                serving.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
            for context in (mine, other):
                context.maximum_version = standard.TLSVersion.TLSv1_2
            mine.set_ciphers(":".join(order))
            other.set_ciphers(":".join(NAMES[1:] + NAMES[:1]))
            visitor = other if serving is mine else mine
            chosen.append(pair(visitor, serving)[0].cipher()[0])
        return chosen

    assert told(ssl) == told(standard)


# Writing.


@pytest.mark.parametrize(("second", "outcome"), [(5, "BAD_LENGTH"), (1 << 20, "again")])
def test_a_write_that_is_tried_again_with_less_is_refused(second, outcome):
    first = 1 << 20

    def told(module):
        near, far = socket.socketpair()
        client = client_context(module)
        theirs = {}

        def serve():
            theirs["end"] = server_context(standard).wrap_socket(far, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        ours = client.wrap_socket(near, server_hostname=HIDDEN)
        thread.join()
        ours.setblocking(False)
        with pytest.raises(module.SSLWantWriteError):
            for _ in range(10_000):
                ours.send(bytes(first))
        try:
            ours.send(bytes(second))
        except module.SSLWantWriteError:
            met = "again"
        except module.SSLError as error:
            met = error.reason
        ours.close()
        theirs["end"].close()
        return met

    assert told(ssl) == told(standard) == outcome


def test_a_chain_certificate_without_a_format_is_pem():
    ours, _ = pair(client_context(ssl), server_context(standard))
    (first, *_) = ours._sslobj.get_unverified_chain()
    assert first.public_bytes() == first.public_bytes(1)
    assert first.public_bytes().startswith("-----BEGIN CERTIFICATE-----\n")


def test_contexts_leave_nothing_behind():
    pair(client_context(ssl), server_context(ssl))
    gc.collect()
    before = sum(isinstance(o, ssl.SSLContext) for o in gc.get_objects())
    for _ in range(20):
        pair(client_context(ssl), server_context(ssl))
    gc.collect()
    assert sum(isinstance(o, ssl.SSLContext) for o in gc.get_objects()) <= before
