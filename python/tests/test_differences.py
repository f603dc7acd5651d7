"""The table of differences from the standard module in docs/python.md: each row has a test here that
fails when the difference goes away, and each test has its row."""

import pathlib
import re
import shutil
import socket
import ssl as standard
import sys
import threading

import pytest

import echkit.ssl as ssl
from judging import visit
from peer import HIDDEN, client_context, server_context
from pki import certificate, needs_openssl, openssl

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs/python.md"
SAN = "subjectAltName=DNS:localhost"
CA = "basicConstraints=critical,CA:TRUE"

pytestmark = [needs_openssl, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    home = tmp_path_factory.mktemp("certs")
    certificate(home, "root", "/CN=Root", ca=True)
    certificate(home, "twin", "/CN=Root", ca=True)
    certificate(home, "middle", "/CN=Middle", ca=True, issuer="root")
    certificate(home, "good", "/CN=localhost", SAN, issuer="root")
    certificate(home, "deep", "/CN=localhost", SAN, issuer="middle")
    return home


def outcome(call):
    """What a call returns, or the class of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error)


def pair(client, server, name=HIDDEN):
    up, down = standard.MemoryBIO(), standard.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name)
    theirs = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except standard.SSLWantReadError:
                pass
    return ours, theirs


def client(module):
    return module.SSLContext(module.PROTOCOL_TLS_CLIENT)


def setting(name, value):
    def told(module, certs):
        context = client(module)
        return outcome(lambda: setattr(context, name, value))

    return told


DIFFERENCES = {}


def difference(row, of_standard, of_ours):
    """A test of one row: what a function says of each module."""

    def keep(told):
        assert row not in DIFFERENCES
        DIFFERENCES[row] = (told, of_standard, of_ours)
        return told

    return keep


difference("`maximum_version` below TLS 1.2", None, ValueError)(
    setting("maximum_version", standard.TLSVersion.TLSv1_1)
)
difference("`hostname_checks_common_name = True`", None, NotImplementedError)(
    setting("hostname_checks_common_name", True)
)
difference("`_msg_callback`", None, NotImplementedError)(
    setting("_msg_callback", lambda *_: None)
)
difference("`options`: `OP_NO_EXTENDED_MASTER_SECRET`, `OP_CLEANSE_PLAINTEXT`", None, NotImplementedError)(
    setting("options", 1)
)
difference("`options` and `verify_flags` of unknown bits", None, ValueError)(
    setting("verify_flags", 1 << 22)
)
difference("`set_ecdh_curve` of other groups than P-256, P-384 and X25519", None, ValueError)(
    lambda module, certs: outcome(lambda: client(module).set_ecdh_curve("secp521r1"))
)


@difference("`load_dh_params`", None, NotImplementedError)
def _(module, certs):
    file = certs / "dh.pem"
    if not file.exists():
        openssl("dhparam", "-out", "dh.pem", "-dsaparam", "2048", cwd=certs)
    return outcome(lambda: module.SSLContext(module.PROTOCOL_TLS_SERVER).load_dh_params(str(file)))


@difference("`CHANNEL_BINDING_TYPES`", ["tls-unique"], [])
def _(module, certs):
    return module.CHANNEL_BINDING_TYPES


@difference("`HAS_PSK` (3.13 and later)", True, False)
def _(module, certs):
    return module.HAS_PSK


@difference("`verify_client_post_handshake()`", None, ssl.SSLError)
def _(module, certs):
    visitor, server = client_context(standard), server_context(module)
    visitor.post_handshake_auth = True
    server.load_verify_locations(certs / "root.crt")
    server.verify_mode = standard.CERT_REQUIRED
    server.post_handshake_auth = True
    if module is ssl:
        # Without it the client's certificate is demanded in the handshake.
        server.verify_mode = standard.CERT_NONE
    _, theirs = pair(visitor, server)
    return outcome(theirs.verify_client_post_handshake)


@difference("`get_ca_certs()` after a certificate of `capath` was used", 1, 0)
def _(module, certs):
    folder = certs / "hashed"
    folder.mkdir(exist_ok=True)
    shutil.copy(certs / "root.crt", folder / f"{subject_hash(certs)}.0")
    counted = []

    def load(context):
        context.load_verify_locations(capath=folder)
        counted.append(context)

    assert visit(module, certs, "good", [], more=load)[0] == "trusted"
    return len(counted[0].get_ca_certs())


def subject_hash(certs):
    import subprocess

    from pki import OPENSSL

    command = [str(OPENSSL), "x509", "-hash", "-noout", "-in", "root.crt"]
    said = subprocess.run(command, cwd=certs, check=True, capture_output=True, text=True)
    return said.stdout.strip()


@difference("a common name without `subjectAltName`", "trusted", "certificate")
def _(module, certs):
    certificate(certs, "only-cn", "/CN=localhost", issuer="root")
    return visit(module, certs, "only-cn", ["root"])[0]


@difference("`VERIFY_X509_STRICT`, `VERIFY_ALLOW_PROXY_CERTS`", "certificate", "trusted")
def _(module, certs):
    return visit(module, certs, "good", ["root"], flags=standard.VERIFY_X509_STRICT)[0]


@difference("a host's certificate with `CA:TRUE`", "trusted", "certificate")
def _(module, certs):
    certificate(certs, "authority", "/CN=localhost", SAN, CA, issuer="root")
    return visit(module, certs, "authority", ["root"])[0]


@difference("a certificate of version 1 that is verified", "trusted", "certificate")
def _(module, certs):
    openssl("req", "-config", "empty.cnf", "-x509", "-x509v1", "-key", "good.key", "-CA", "root.crt",
            "-CAkey", "root.key", "-subj", "/CN=localhost", "-days", "2", "-out", "old.crt", cwd=certs)
    shutil.copy(certs / "good.key", certs / "old.key")
    return visit(module, certs, "old", ["root"], check_hostname=False)[0]


@difference("critical certificate policies", "trusted", "certificate")
def _(module, certs):
    certificate(certs, "policy", "/CN=localhost", SAN, "certificatePolicies=critical,1.2.3.4",
                issuer="root")
    return visit(module, certs, "policy", ["root"])[0]


@difference("chains of more than six intermediates", "trusted", "certificate")
def _(module, certs):
    names = [f"chain-{n}" for n in range(8)]
    for issuer, name in zip(["root", *names], names):
        certificate(certs, name, f"/CN={name}", ca=True, issuer=issuer)
    certificate(certs, "far", "/CN=localhost", SAN, issuer=names[-1])
    text = "".join((certs / f"{name}.crt").read_text() for name in ("far", *reversed(names)))
    (certs / "far.crt").write_text(text)
    return visit(module, certs, "far", ["root"])[0]


@difference("a chain of more than 64 KB", "trusted", "other")
def _(module, certs):
    # Not part of the path: OpenSSL reads up to 100 KB.
    text = (certs / "good.crt").read_text()
    for number in range(5):
        certificate(certs, f"big-{number}", "/CN=big", f"nsComment={'x' * 14_000}")
        text += (certs / f"big-{number}.crt").read_text()
    (certs / "long.crt").write_text(text)
    shutil.copy(certs / "good.key", certs / "long.key")
    return visit(module, certs, "long", ["root"])[0]


@difference("of two roots with one name", "certificate", "trusted")
def _(module, certs):
    return visit(module, certs, "good", ["twin", "root"])[0]


@difference("revocation lists of version 1, without `nextUpdate`, delta, indirect or by reason", None, ssl.SSLError)
def _(module, certs):
    (certs / "ca.txt").write_text("")
    (certs / "ca.cnf").write_text("[ca]\ndefault_ca=one\n[one]\ndatabase=ca.txt\ndefault_md=sha256\n")
    openssl("ca", "-config", "ca.cnf", "-cert", "root.crt", "-keyfile", "root.key", "-gencrl",
            "-crldays", "2", "-out", "v1.crl", cwd=certs)
    return outcome(lambda: client(module).load_verify_locations(certs / "v1.crl"))


@difference("`@SECLEVEL` in `set_ciphers`", "trusted", "certificate")
def _(module, certs):
    certificate(certs, "weak", "/CN=localhost", SAN, issuer="root", key=("-newkey", "rsa:1024"))
    level = "DEFAULT:@SECLEVEL=0"
    lowered = lambda context: context.set_ciphers(level)  # noqa: E731
    return visit(module, certs, "weak", ["root"], ciphers=level, more=lowered)[0]


@difference("ciphers of TLS 1.2 without forward secrecy or AEAD", "TLSv1.2", ssl.SSLError)
def _(module, certs):
    visitor, server = client_context(module), server_context(standard)
    visitor.maximum_version = standard.TLSVersion.TLSv1_2
    visitor.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA")
    server.set_ciphers("ALL")
    return outcome(lambda: pair(visitor, server)[0].version())


@difference("keys in the legacy encryption of PEM", None, ssl.SSLError)
def _(module, certs):
    openssl("ec", "-in", "good.key", "-aes128", "-passout", "pass:secret", "-out", "legacy.key", cwd=certs)
    assert "DEK-Info" in (certs / "legacy.key").read_text()
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    return outcome(
        lambda: context.load_cert_chain(certs / "good.crt", certs / "legacy.key", "secret")
    )


@difference("keys encrypted with 3DES, or by a key that HMAC-SHA-1 derives", [None] * 3, [ssl.SSLError, ssl.SSLError, None])
def _(module, certs):
    seen = []
    for how in (["-v2", "des3"], ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"], ["-v2", "aes-256-cbc"]):
        openssl("pkcs8", "-topk8", "-in", "good.key", *how, "-passout", "pass:secret", "-out", "old.p8", cwd=certs)
        context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
        seen.append(outcome(
            lambda: context.load_cert_chain(certs / "good.crt", certs / "old.p8", "secret")
        ))
    return seen


@difference("Ed448 and RSA-PSS keys", None, ssl.SSLError)
def _(module, certs):
    certificate(certs, "ed448", "/CN=localhost", SAN, key=("-newkey", "ed448"))
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    return outcome(lambda: context.load_cert_chain(certs / "ed448.crt", certs / "ed448.key"))


@difference("a server's chain without its intermediates, which it trusts", 2, 1)
def _(module, certs):
    server = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certs / "deep.crt", certs / "deep.key")
    server.load_verify_locations(certs / "middle.crt")
    visitor = client(ssl)
    visitor.check_hostname = False
    visitor.verify_mode = standard.CERT_NONE
    ours, _ = pair(visitor, server, "localhost")
    return len(ours._sslobj.get_unverified_chain())


@difference("`server_hostname` that is no host name", None, ValueError)
def _(module, certs):
    context = client_context(module)
    bios = standard.MemoryBIO(), standard.MemoryBIO()
    return outcome(lambda: context.wrap_bio(*bios, server_hostname="-dash-") and None)


@difference("a client that asks for what is no host name", "a:443", None)
def _(module, certs):
    server = server_context(module)
    asked = []
    server.sni_callback = lambda sock, name, context: asked.append(name)
    outcome(lambda: pair(client_context(standard), server, "a:443"))
    return asked[0] if asked else None


@difference("a context of the other module in `sni_callback`", None, TypeError)
def _(module, certs):
    _, theirs = pair(client_context(standard), server_context(module))
    return outcome(lambda: setattr(theirs, "context", server_context(standard)))


@difference("import in an isolated subinterpreter (3.13 and later)", None, "ImportError")
def _(module, certs):
    import _interpreters

    interpreter = _interpreters.create()
    failed = _interpreters.run_string(interpreter, f"import {module.__name__}")
    _interpreters.destroy(interpreter)
    if failed is not None:
        assert "does not support loading in subinterpreters" in failed.msg
        return failed.type.__name__


@difference("`recv` of a socket", 5000, 10_000)
def _(module, certs):
    near, far = socket.socketpair()
    written = threading.Event()

    def serve():
        with server_context(standard).wrap_socket(far, server_side=True) as tls:
            tls.sendall(bytes(5000))
            tls.sendall(bytes(5000))
            written.set()
            tls.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    with client_context(module).wrap_socket(near, server_hostname=HIDDEN) as tls:
        written.wait(60)
        got = len(tls.recv(100_000))
        tls.sendall(b"x")
        return got


@difference("the text of exceptions", "(_ssl.c:", "(echkit)")
def _(module, certs):
    context = client_context(module)
    bios = standard.MemoryBIO(), standard.MemoryBIO()
    bios[0].write(b"no TLS at all")
    with pytest.raises(standard.SSLError) as caught:
        context.wrap_bio(*bios, server_hostname=HIDDEN).do_handshake()
    return re.search(r"\((_ssl\.c:|echkit\))", str(caught.value))[0]


def rows():
    """The first column of the table."""
    text = DOCS.read_text().split("## Differences from the standard module", 1)[1]
    text = text.split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.split("|")[1].strip() for line in lines[2:]]


def test_every_row_has_a_test_and_every_test_a_row():
    assert rows() == list(dict.fromkeys(rows()))
    assert set(rows()) == set(DIFFERENCES)


@pytest.mark.parametrize("row", DIFFERENCES)
def test_a_difference(certs, row):
    if "3.13" in row and sys.version_info < (3, 13):
        pytest.skip("this interpreter has nothing to differ from")
    told, of_standard, of_ours = DIFFERENCES[row]
    assert (told(standard, certs), told(ssl, certs)) == (of_standard, of_ours)
