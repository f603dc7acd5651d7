"""``echkit.ssl`` and the standard module judge the same certificates alike, in the same words."""

import socket
import ssl as standard
import struct
import sys
import threading

import pytest

import echkit.ssl as ssl
from judging import show, visit
from pki import certificate, needs_openssl

pytestmark = needs_openssl

_PAST = ("-not_before", "20200101000000Z", "-not_after", "20200201000000Z")
_FUTURE = ("-not_before", "21200101000000Z", "-not_after", "21200201000000Z")
SAN = "subjectAltName=DNS:localhost"


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    """Authorities, and a certificate for every way to be right or wrong."""
    home = tmp_path_factory.mktemp("certs")

    def leaf(name, *extensions, issuer="root", cn="localhost", **more):
        certificate(home, name, f"/CN={cn}", *extensions, issuer=issuer, **more)

    certificate(home, "root", "/CN=Root", ca=True)
    certificate(home, "other", "/CN=Other root", ca=True)
    # Of the same name, with another key: with key identifiers, and without.
    certificate(home, "twin", "/CN=Root", ca=True)
    certificate(home, "old-root", "/CN=Old root", ca=True, dates=_PAST)
    certificate(home, "middle", "/CN=Middle", issuer="root", ca=True)
    certificate(home, "old-middle", "/CN=Old middle", issuer="root", ca=True, dates=_PAST)
    leaf("good", SAN)
    leaf("self", SAN, issuer=None)
    leaf("self-ca", SAN, issuer=None, ca=True)
    leaf("deep", SAN, issuer="middle")
    leaf("old-deep", SAN, issuer="old-middle")
    leaf("expired", SAN, dates=_PAST)
    leaf("future", SAN, dates=_FUTURE)
    leaf("of-old-root", SAN, issuer="old-root")
    leaf("self-expired", SAN, issuer=None, dates=_PAST)
    leaf("for-clients", SAN, "extendedKeyUsage=clientAuth")
    leaf("for-servers", SAN, "extendedKeyUsage=serverAuth")
    leaf("wildcard", "subjectAltName=DNS:*.site.example")
    leaf("partial", "subjectAltName=DNS:w*.site.example")
    leaf("address", "subjectAltName=IP:127.0.0.1,IP:::1")
    leaf("address-as-name", "subjectAltName=DNS:127.0.0.1")
    leaf("only-cn")
    leaf("upper", "subjectAltName=DNS:LOCALHOST")
    leaf("two", "subjectAltName=DNS:one.example,DNS:two.example")
    for name, parts in {
        "deep+middle": ("deep", "middle"),
        "old-deep+middle": ("old-deep", "old-middle"),
        "good+root": ("good", "root"),
        "deep+middle+root": ("deep", "middle", "root"),
    }.items():
        chain = "".join((home / f"{part}.crt").read_text() for part in parts)
        (home / f"{name}.crt").write_text(chain)
        (home / f"{name}.key").write_text((home / f"{parts[0]}.key").read_text())
    return home


PARTIAL = standard.VERIFY_X509_PARTIAL_CHAIN

TRUST = {
    "a leaf of a loaded root": ("good", ["root"], 0, None),
    "a self-signed leaf that is loaded": ("self", ["self"], 0, None),
    "a self-signed authority that is loaded": ("self-ca", ["self-ca"], 0, None),
    "a self-signed leaf that is not": ("self", ["root"], 0, 18),
    "an expired self-signed leaf that is loaded": ("self-expired", ["self-expired"], 0, 10),
    "a loaded leaf without its root": ("good", ["good"], 0, 20),
    "a loaded leaf under PARTIAL_CHAIN": ("good", ["good"], PARTIAL, None),
    "an expired loaded leaf under PARTIAL_CHAIN": ("expired", ["expired"], PARTIAL, 10),
    "a chain with its intermediate": ("deep+middle", ["root"], 0, None),
    "a chain with its root": ("deep+middle+root", ["root"], 0, None),
    "a missing intermediate": ("deep", ["root"], 0, 20),
    "an intermediate that is loaded with its root": ("deep", ["root", "middle"], 0, None),
    "an intermediate that is loaded without": ("deep", ["middle"], 0, 2),
    "an intermediate that is sent and loaded": ("deep+middle", ["middle"], 0, 2),
    "an intermediate under PARTIAL_CHAIN": ("deep", ["middle"], PARTIAL, None),
    "nothing loaded": ("good", [], 0, 20),
    "another root": ("good", ["other"], 0, 20),
    "another root, and the own one sent": ("good+root", ["other"], 0, 19),
    "a root of the same name with another key": ("good", ["twin"], 0, None),
    "an expired leaf": ("expired", ["root"], 0, 10),
    "a leaf of the future": ("future", ["root"], 0, 9),
    "an expired root": ("of-old-root", ["old-root"], 0, 10),
    "an expired intermediate": ("old-deep+middle", ["root"], 0, 10),
    "a certificate for clients": ("for-clients", ["root"], 0, 26),
    "a certificate for servers": ("for-servers", ["root"], 0, None),
}


@pytest.mark.parametrize("case", TRUST)
def test_trust(certs, case):
    leaf, trusted, flags, code = TRUST[case]
    expected = visit(standard, certs, leaf, trusted, flags=flags)
    assert visit(ssl, certs, leaf, trusted, flags=flags) == expected
    if code is not None:
        assert expected[2] == code


@pytest.mark.parametrize("case", TRUST)
def test_trust_and_a_wrong_name(certs, case):
    """What is said where more than one thing is wrong."""
    leaf, trusted, flags, _ = TRUST[case]
    expected = visit(standard, certs, leaf, trusted, "other.example", flags)
    assert visit(ssl, certs, leaf, trusted, "other.example", flags) == expected


def test_of_two_roots_with_one_name_the_right_one_is_found(certs):
    # OpenSSL 3.0 tries the first of that name alone.
    assert visit(standard, certs, "good", ["twin", "root"])[2] == 7
    assert visit(ssl, certs, "good", ["twin", "root"])[0] == "trusted"


NAMES = {
    "exact": ("good", "localhost", True),
    "another": ("good", "other.example", False),
    "in upper case": ("upper", "localhost", True),
    "asked for in upper case": ("good", "LocalHost", True),
    "the second of two": ("two", "two.example", True),
    "a wildcard": ("wildcard", "www.site.example", True),
    "a wildcard for two labels": ("wildcard", "a.b.site.example", False),
    "a wildcard for none": ("wildcard", "site.example", False),
    "a wildcard inside of a label": ("partial", "www.site.example", False),
    "an address": ("address", "127.0.0.1", True),
    "an address of IPv6": ("address", "::1", True),
    "another address": ("address", "127.0.0.2", False),
    "an address that stands as a name": ("address-as-name", "127.0.0.1", False),
    "an address that is not there": ("good", "127.0.0.1", False),
}


@pytest.mark.parametrize("case", NAMES)
def test_names(certs, case):
    leaf, name, matches = NAMES[case]
    expected = visit(standard, certs, leaf, ["root"], name)
    assert visit(ssl, certs, leaf, ["root"], name) == expected
    assert (expected[0] == "trusted") is matches
    assert visit(ssl, certs, leaf, ["root"], name, check_hostname=False)[0] == "trusted"


def test_a_common_name_alone_counts_in_the_standard_module_only(certs):
    assert visit(standard, certs, "only-cn", ["root"])[0] == "trusted"
    assert visit(ssl, certs, "only-cn", ["root"])[1:3] == ("CERTIFICATE_VERIFY_FAILED", 62)


CLIENTS = {
    "none is asked for": (standard.CERT_NONE, "for-clients"),
    "required and right": (standard.CERT_REQUIRED, "for-clients"),
    "required and for any purpose": (standard.CERT_REQUIRED, "good"),
    "required and with an intermediate": (standard.CERT_REQUIRED, "deep+middle"),
    "required and missing": (standard.CERT_REQUIRED, None),
    "required and of nobody": (standard.CERT_REQUIRED, "self"),
    "required and without its intermediate": (standard.CERT_REQUIRED, "deep"),
    "required and expired": (standard.CERT_REQUIRED, "expired"),
    "required and for servers": (standard.CERT_REQUIRED, "for-servers"),
    "optional and right": (standard.CERT_OPTIONAL, "for-clients"),
    "optional and missing": (standard.CERT_OPTIONAL, None),
    "optional and expired": (standard.CERT_OPTIONAL, "expired"),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_client_certificates(certs, case):
    mode, shown = CLIENTS[case]
    assert show(ssl, certs, mode, shown) == show(standard, certs, mode, shown)


def test_a_clients_certificate_of_another_root(certs):
    for trusted in (["other"], ["for-clients"], ["twin"]):
        ours = show(ssl, certs, standard.CERT_REQUIRED, "for-clients", trusted)
        assert ours == show(standard, certs, standard.CERT_REQUIRED, "for-clients", trusted)
        assert ours[0] == "certificate"


def test_a_server_that_trusts_hundreds_of_authorities(certs):
    """It names none of them to its clients, as the standard module does."""
    names = [f"authority-{number}-{'x' * 50}" for number in range(3)]
    for name in names:
        certificate(certs, name, f"/CN={name}", ca=True)

    def asked(module):
        serving = module.SSLContext(module.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certs / "good.crt", certs / "good.key")
        serving.verify_mode = standard.CERT_REQUIRED
        for name in names:
            serving.load_verify_locations(certs / f"{name}.crt")
        serving.load_verify_locations(certs / "root.crt")
        serving.maximum_version = standard.TLSVersion.TLSv1_2
        client = standard.SSLContext(standard.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(certs / "root.crt")
        client.load_cert_chain(certs / "for-clients.crt", certs / "for-clients.key")
        up, down = standard.MemoryBIO(), standard.MemoryBIO()
        ours = client.wrap_bio(down, up, server_hostname="localhost")
        theirs = serving.wrap_bio(up, down, server_side=True)
        sent = b""
        for side in (ours, theirs, ours, theirs):
            try:
                side.do_handshake()
            except standard.SSLWantReadError:
                pass
            # In TLS 1.2 the certificate request is in the clear.
            if side is theirs:
                sent += down.read()
                down.write(sent) if ours.version() is None else None
        return any(name.encode() in sent for name in names), theirs.getpeercert()["subject"]

    assert asked(ssl) == asked(standard)
    assert not asked(ssl)[0]


def deserted(module, certs, reset, use):
    """What a server of a module meets whose client has left without a word."""
    serving = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certs / "good.crt", certs / "good.key")
    context = standard.SSLContext(standard.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certs / "root.crt")
    listener = socket.create_server(("127.0.0.1", 0))

    def leave():
        plain = socket.create_connection(listener.getsockname(), timeout=60)
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    client = threading.Thread(target=leave)
    client.start()
    plain, _ = listener.accept()
    listener.close()
    with serving.wrap_socket(plain, server_side=True) as sock:
        client.join(60)
        try:
            return use(sock)
        except OSError as error:
            return type(error)


_NEWER = sys.version_info >= (3, 12, 4)


def write_on(sock):
    for _ in range(100_000):
        sock.write(bytes(1000))


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_has_left_without_reading_its_tickets(certs, reset):
    for use, outcome in ((lambda s: s.read(), b""), (write_on, standard.SSLEOFError)):
        assert deserted(ssl, certs, reset, use) == outcome
        # From 3.12.4 on the standard module shows the reset itself.
        shown = (outcome, ConnectionResetError, BrokenPipeError)
        assert deserted(standard, certs, reset, use) in shown[: 3 if _NEWER else 1]
