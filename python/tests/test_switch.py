"""A connection that is given another context keeps of the first what OpenSSL keeps.

Each setting is set in the first context, in the second, in both or in neither, with ``echkit.ssl``
and with the standard module, at servers (in ``sni_callback``) and at clients (before the handshake).
"""

import itertools
import ssl as standard

import pytest

import echkit.ssl as ssl
from pki import certificate, needs_openssl, openssl

pytestmark = [needs_openssl, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SAN = "subjectAltName=DNS:localhost"


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    """Two authorities with a certificate of each, and an empty revocation list of the first."""
    home = tmp_path_factory.mktemp("certs")
    for root in ("root", "other"):
        certificate(home, root, f"/CN={root}", ca=True)
        certificate(home, f"of-{root}", f"/CN=of {root}", SAN, issuer=root)
    return home


def load(context, certs, name):
    context.load_cert_chain(certs / f"{name}.crt", certs / f"{name}.key")


def tls12(context):
    context.maximum_version = standard.TLSVersion.TLSv1_2


def cipher(name):
    def change(context):
        tls12(context)
        context.set_ciphers(name)

    return change


# A setting: what it does to a server's context, and what its client is like.
SETTINGS = {
    "verify_mode": lambda c: setattr(c, "verify_mode", standard.CERT_REQUIRED),
    "optional": lambda c: setattr(c, "verify_mode", standard.CERT_OPTIONAL),
    "minimum_version": lambda c: setattr(c, "minimum_version", standard.TLSVersion.TLSv1_3),
    "maximum_version": tls12,
    "OP_NO_TLSv1_3": lambda c: setattr(c, "options", c.options | standard.OP_NO_TLSv1_3),
    "OP_NO_TICKET": lambda c: setattr(c, "options", c.options | standard.OP_NO_TICKET),
    "num_tickets": lambda c: setattr(c, "num_tickets", 0),
    "verify_flags": lambda c: setattr(c, "verify_flags", standard.VERIFY_CRL_CHECK_LEAF),
    "ciphers": lambda c: c.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384"),
    "curve": lambda c: c.set_ecdh_curve("secp384r1"),
    "alpn": lambda c: c.set_alpn_protocols(["one"]),
    "other_alpn": lambda c: c.set_alpn_protocols(["two", "one"]),
    "trusts": None,
    "trusts_other": None,
    "certificate": None,
    "keylog": None,
}

CLIENTS = {
    "with a certificate": (True, {}),
    "without a certificate": (False, {}),
    "of TLS 1.2": (True, {"maximum_version": standard.TLSVersion.TLSv1_2}),
    "of TLS 1.3": (True, {"minimum_version": standard.TLSVersion.TLSv1_3}),
}


def server_context(module, certs, settings, keylog):
    made = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    load(made, certs, "of-other" if "certificate" in settings else "of-root")
    for name in settings:
        if name.startswith("trusts"):
            root = "other" if name == "trusts_other" else "root"
            made.load_verify_locations(certs / f"{root}.crt")
        elif name == "keylog":
            made.keylog_filename = str(keylog)
        elif SETTINGS[name] is not None:
            SETTINGS[name](made)
    return made


def client_context(module, certs, with_certificate=True, **values):
    made = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    for root in ("root", "other"):
        made.load_verify_locations(certs / f"{root}.crt")
    made.set_alpn_protocols(["one", "two"])
    if with_certificate:
        load(made, certs, "of-root")
    for name, value in values.items():
        setattr(made, name, value)
    return made


def attempt(side, errors):
    """Goes on with a handshake; True when it has ended in one way or the other."""
    try:
        side.do_handshake()
    except (standard.SSLWantReadError, standard.SSLWantWriteError):
        return False
    except standard.SSLError as error:
        kind = isinstance(error, standard.SSLCertVerificationError)
        errors.append((kind, error.reason, getattr(error, "verify_code", None)))
    return True


def converse(ours, theirs):
    """A handshake in memory and a byte each way; gives what each side met."""
    errors = {ours: [], theirs: []}
    for _ in range(10):
        for side in (ours, theirs):
            if not errors[side]:
                attempt(side, errors[side])
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        if not errors[sender] and not errors[receiver]:
            try:
                sender.write(b"x")
                receiver.read(1)
            except standard.SSLError as error:
                errors[receiver].append((False, error.reason, None))
    return errors[ours], errors[theirs]


def pair(client, server, session=None):
    up, down = standard.MemoryBIO(), standard.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname="localhost", session=session)
    return ours, server.wrap_bio(up, down, server_side=True)


def served(module, certs, first, second, client, tmp_path):
    """What becomes of a connection that a server gives another context, told by both ends."""
    logs = [tmp_path / f"{module.__name__}-{n}" for n in (1, 2)]
    one = server_context(module, certs, first, logs[0])
    two = server_context(module, certs, second, logs[1])
    one.sni_callback = lambda sock, name, context: setattr(sock, "context", two)
    made = client_context(standard, certs, client[0], **client[1])
    ours, theirs = pair(made, one)
    client_errors, server_errors = converse(ours, theirs)
    # Where one side gives up the other one's words are about the alert.
    if server_errors or client_errors:
        told = bool(client_errors), server_errors
    else:
        again = pair(made, one, session=ours.session)
        converse(*again)
        told = (
            ours.version(),
            ours.cipher()[0] if ours.version() == "TLSv1.2" else None,
            ours.selected_alpn_protocol(),
            theirs.selected_alpn_protocol(),
            ours.getpeercert()["subject"],
            theirs.getpeercert(True),
            theirs.getpeercert(),
            again[0].session_reused,
        )
    return told, [log.exists() and log.stat().st_size > 0 for log in logs]


# Every setting in one of the contexts, and pairs that say something together.
ALONE = [((name,), ()) for name in SETTINGS] + [((), (name,)) for name in SETTINGS]
TOGETHER = [
    (("verify_mode", *x), y)
    for x, y in itertools.product(
        [(), ("trusts",), ("trusts_other",)], [(), ("trusts",), ("trusts_other",), ("optional",)]
    )
] + [
    (("verify_mode", "trusts"), ("certificate", "trusts")),
    (("alpn",), ("other_alpn",)),
    (("other_alpn",), ("alpn",)),
    (("maximum_version",), ("minimum_version",)),
    (("minimum_version",), ("maximum_version",)),
    (("verify_mode", "verify_flags"), ("trusts",)),
    (("verify_mode",), ("verify_flags", "trusts")),
    (("maximum_version",), ("ciphers",)),
    (("maximum_version", "ciphers"), ()),
    (("keylog",), ("keylog",)),
]


@pytest.mark.parametrize("who", CLIENTS)
@pytest.mark.parametrize(("first", "second"), ALONE + TOGETHER)
def test_a_server(certs, tmp_path, first, second, who):
    outcome = served(ssl, certs, first, second, CLIENTS[who], tmp_path)
    assert outcome == served(standard, certs, first, second, CLIENTS[who], tmp_path)


def test_client_authentication_is_not_lost_with_the_standard_modules_own_example(certs):
    """The second context is another certificate and nothing else; the first demands the client's."""
    first = server_context(ssl, certs, ["verify_mode", "trusts"], None)
    second = server_context(ssl, certs, ["certificate"], None)
    first.sni_callback = lambda sock, name, context: setattr(sock, "context", second)
    stranger = client_context(standard, certs, with_certificate=False)
    ours, theirs = pair(stranger, first)
    assert converse(ours, theirs)[1] == [(False, "PEER_DID_NOT_RETURN_A_CERTIFICATE", None)]
    with pytest.raises(ssl.SSLError):
        theirs.read(1)


CLIENT_SETTINGS = {
    "unverified": lambda c, _: (
        setattr(c, "check_hostname", False), setattr(c, "verify_mode", standard.CERT_NONE)
    ),
    "trusts": lambda c, certs: c.load_verify_locations(certs / "root.crt"),
    "no_name": lambda c, _: setattr(c, "check_hostname", False),
    "certificate": lambda c, certs: load(c, certs, "of-root"),
    "maximum_version": lambda c, _: tls12(c),
    "minimum_version": lambda c, _: setattr(c, "minimum_version", standard.TLSVersion.TLSv1_3),
    "alpn": lambda c, _: c.set_alpn_protocols(["one"]),
    "ciphers": lambda c, _: cipher("ECDHE-ECDSA-AES256-GCM-SHA384")(c),
    "verify_flags": lambda c, _: setattr(c, "verify_flags", standard.VERIFY_CRL_CHECK_LEAF),
}


def visited(module, certs, first, second, name):
    """What a client meets that is given another context before its handshake."""
    one, two = (module.SSLContext(module.PROTOCOL_TLS_CLIENT) for _ in range(2))
    for context, settings in ((one, first), (two, second)):
        for setting in settings:
            CLIENT_SETTINGS[setting](context, certs)
    serving = server_context(standard, certs, ["optional", "trusts"], None)
    serving.set_alpn_protocols(["two", "one"])
    up, down = standard.MemoryBIO(), standard.MemoryBIO()
    ours = one.wrap_bio(down, up, server_hostname=name)
    theirs = serving.wrap_bio(up, down, server_side=True)
    ours.context = two
    client_errors, server_errors = converse(ours, theirs)
    if client_errors or server_errors:
        return client_errors
    return (
        theirs.version(),
        theirs.cipher()[0] if theirs.version() == "TLSv1.2" else None,
        theirs.selected_alpn_protocol(),
        theirs.getpeercert(True),
        ours.getpeercert(),
    )


CLIENT_PAIRS = [
    (one, two)
    for one, two in itertools.product(
        [(), ("trusts",), ("unverified",), ("no_name", "trusts"), ("trusts", "certificate")],
        [(), ("trusts",), ("unverified",), ("no_name", "trusts"), ("trusts", "certificate")],
    )
] + [
    pair
    for name in ("maximum_version", "minimum_version", "alpn", "ciphers", "verify_flags")
    for pair in (((name,), ("trusts",)), ((), (name, "trusts")))
]


@pytest.mark.parametrize("name", ["localhost", "other.example"])
@pytest.mark.parametrize(("first", "second"), CLIENT_PAIRS)
def test_a_client(certs, first, second, name):
    outcome = visited(ssl, certs, first, second, name)
    assert outcome == visited(standard, certs, first, second, name)


def test_a_switch_after_the_handshake_changes_what_getpeercert_shows_and_nothing_else(certs):
    def told(module):
        one = server_context(module, certs, ["verify_mode", "trusts"], None)
        two = server_context(module, certs, [], None)
        ours, theirs = pair(client_context(standard, certs), one)
        assert converse(ours, theirs) == ([], [])
        before = theirs.getpeercert()
        theirs.context = two
        return before, theirs.getpeercert(), theirs.getpeercert(True), theirs.version()

    assert told(ssl) == told(standard)


def test_the_callback_of_the_second_context_is_asked_and_else_that_of_the_first(certs):
    def asked(module, with_own):
        one, two = (server_context(module, certs, [], None) for _ in range(2))
        names = []
        one.sni_callback = lambda sock, name, context: names.append("first")
        if with_own:
            two.sni_callback = lambda sock, name, context: names.append("second")
        ours, theirs = pair(client_context(standard, certs), one)
        theirs.context = two
        assert converse(ours, theirs) == ([], [])
        return names

    for with_own in (True, False):
        assert asked(ssl, with_own) == asked(standard, with_own)


def test_only_contexts_of_this_module_can_be_given(certs):
    ours, theirs = pair(
        client_context(standard, certs), server_context(ssl, certs, [], None)
    )
    for wrong in (None, "", server_context(standard, certs, [], None)):
        with pytest.raises(TypeError):
            theirs.context = wrong
    assert converse(ours, theirs) == ([], [])


def test_ech_keys_are_those_of_the_first_context(certs):
    openssl("ech", "-public_name", "public.example", "-out", "keys.ech", cwd=certs)
    for keys_in_first in (True, False):
        one, two = (server_context(ssl, certs, [], None) for _ in range(2))
        (one if keys_in_first else two).load_ech_keys(certs / "keys.ech")
        one.sni_callback = lambda sock, name, context: setattr(sock, "context", two)
        made = client_context(ssl, certs)
        made.set_ech_config((certs / "keys.ech").read_text())
        ours, theirs = pair(made, one)
        errors = converse(ours, theirs)
        if keys_in_first:
            assert errors == ([], [])
            assert theirs.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        else:
            assert errors[0] and ours.get_ech_status() != ssl.ECH_STATUS_SUCCESS
