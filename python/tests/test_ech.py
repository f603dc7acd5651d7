"""Encrypted Client Hello through ``echkit.ssl`` against OpenSSL 4, built for the interop matrix."""

import socket
import subprocess
import time

import pytest

import echkit.ssl as ssl
from pki import HIDDEN, OPENSSL, PUBLIC, ech_config, ech_folder, needs_openssl, openssl

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CA, a certificate for each name, and two ECH keys."""
    return ech_folder(tmp_path_factory.mktemp("ech"))


@pytest.fixture(scope="module")
def server(folder):
    """The address of an `openssl s_server` with the key `good`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(OPENSSL), "s_server", "-accept", f"127.0.0.1:{port}", "-tls1_3", "-www",
        "-cert", f"{PUBLIC}.crt", "-key", f"{PUBLIC}.key",
        "-cert2", f"{HIDDEN}.crt", "-key2", f"{HIDDEN}.key",
        "-servername", HIDDEN, "-ech_key", "good.ech",
    ]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    yield ("127.0.0.1", port)
    process.kill()
    process.wait()


class Tap:
    """Passes bytes on between a client and a server, and keeps what the client said."""

    def __init__(self, address):
        self.address = address
        self.sent = b""

    def bio(self, context, name):
        """Shakes hands over memory, so that every byte passes through here."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
        with socket.create_connection(self.address, timeout=30) as wire:
            while True:
                try:
                    tls.do_handshake()
                    done = True
                except ssl.SSLWantReadError:
                    done = False
                said = outgoing.read()
                self.sent += said
                wire.sendall(said)
                if done:
                    return tls
                incoming.write(wire.recv(65536))


def context(folder):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(str(folder / "ca.crt"))
    return made


def connect(made, address, name=HIDDEN):
    plain = socket.create_connection(address, timeout=30)
    return made.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)


def test_an_accepted_offer_hides_the_name_from_the_wire(folder, server):
    made = context(folder)
    made.set_ech_config(ech_config(folder / "good.ech"))
    tap = Tap(server)
    tls = tap.bio(made, HIDDEN)
    assert tls.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    assert tls.outer_server_hostname == PUBLIC
    assert HIDDEN.encode() not in tap.sent
    assert PUBLIC.encode() in tap.sent


def test_the_server_says_that_ech_succeeded(folder, server):
    made = context(folder)
    made.set_ech_config(ech_config(folder / "good.ech"))
    made.check_hostname = False
    with connect(made, server) as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_NOT_TRIED
        sock.do_handshake()
        assert sock.get_ech_status().name == "ECH_STATUS_SUCCESS"
        assert (sock.server_hostname, sock.outer_server_hostname) == (HIDDEN, PUBLIC)
        assert (("commonName", HIDDEN),) in sock.getpeercert()["subject"]
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        page = b""
        while data := sock.recv(65536):
            page += data
    assert b"ECH success" in page or b"success" in page.lower(), page


def test_a_stale_config_is_replaced_by_the_servers_own(folder, server):
    made = context(folder)
    made.set_ech_config(ech_config(folder / "stale.ech"))
    with connect(made, server) as sock:
        with pytest.raises(ssl.SSLError) as caught:
            sock.do_handshake()
        assert caught.value.reason == "ECH_REQUIRED"
        assert sock.get_ech_status() == ssl.ECH_STATUS_FAILED_ECH
        retry = sock._sslobj.get_ech_retry_config()
    again = context(folder)
    again.set_ech_config(retry)
    with connect(again, server) as sock:
        sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS


@pytest.mark.parametrize("check_hostname", [True, False])
def test_retry_configs_under_a_wrong_public_name_are_kept_back(folder, server, check_hostname):
    openssl("ech", "-public_name", "other.example", "-out", "other.pem", cwd=folder)
    made = context(folder)
    made.check_hostname = check_hostname
    made.set_ech_config(ech_config(folder / "other.pem"))
    with connect(made, server) as sock:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            sock.do_handshake()
        assert caught.value.verify_code == 62
        assert sock.get_ech_status() == ssl.ECH_STATUS_FAILED_ECH_BAD_NAME
        assert sock._sslobj.get_ech_retry_config() is None


def test_cert_none_never_gets_retry_configs(folder, server):
    made = context(folder)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_ech_config(ech_config(folder / "stale.ech"))
    with connect(made, server) as sock:
        with pytest.raises(ssl.SSLError):
            sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_FAILED_ECH_BAD_NAME
        assert sock._sslobj.get_ech_retry_config() is None


def test_grease_and_nothing_have_their_own_numbers(folder, server):
    made = context(folder)
    with connect(made, server) as sock:
        sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_NOT_CONFIGURED
    made.options |= ssl.OP_ECH_GREASE
    assert made.options & ssl.OP_ECH_GREASE
    with connect(made, server) as sock:
        sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_GREASE


def test_the_list_that_was_set_last_is_offered(folder, server):
    made = context(folder)
    made.set_ech_config(ech_config(folder / "good.ech"))
    made.set_ech_config(ech_config(folder / "stale.ech"))
    with connect(made, server) as sock:
        with pytest.raises(ssl.SSLError):
            sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_FAILED_ECH
        # The same context continues with the retry configs.
        made.set_ech_config(sock.get_ech_retry_config())
    with pytest.raises(ssl.SSLError):
        made.set_ech_config(b"\x00\x04\xfe\x0c\x00\x00")
    with connect(made, server) as sock:
        sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS


def test_another_outer_name_stands_in_the_clear(folder, server):
    made = context(folder)
    made.set_ech_config(ech_config(folder / "good.ech"))
    made.set_outer_server_hostname("Cover.example")
    tap = Tap(server)
    tls = tap.bio(made, HIDDEN)
    assert tls.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    assert tls.outer_server_hostname == "cover.example"
    assert b"cover.example" in tap.sent
    assert PUBLIC.encode() not in tap.sent and HIDDEN.encode() not in tap.sent
    made.set_outer_server_hostname(None)
    assert tap.bio(made, HIDDEN).outer_server_hostname == PUBLIC


def test_a_rejection_under_another_outer_name_is_authenticated_for_the_public_name(folder, server):
    made = context(folder)
    made.check_hostname = False
    made.set_ech_config(ech_config(folder / "stale.ech"))
    made.set_outer_server_hostname("cover.example")
    with connect(made, server) as sock:
        with pytest.raises(ssl.SSLError) as caught:
            sock.do_handshake()
        assert caught.value.reason == "ECH_REQUIRED"
        assert sock.outer_server_hostname == "cover.example"
        assert sock.get_ech_retry_config()


def test_a_public_name_that_is_the_hidden_one_is_not_trusted_unchecked(folder, server):
    made = context(folder)
    made.check_hostname = False
    made.set_ech_config(ech_config(folder / "stale.ech"))
    with connect(made, server, PUBLIC) as sock:
        with pytest.raises(ssl.SSLError):
            sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_FAILED_ECH_BAD_NAME
        assert sock.get_ech_retry_config() is None
    made.check_hostname = True
    with connect(made, server, PUBLIC) as sock:
        with pytest.raises(ssl.SSLError):
            sock.do_handshake()
        assert sock.get_ech_retry_config()


@pytest.mark.parametrize("name", ["", "none", "192.0.2.1", "[2001:db8::1]", "a_b.example"])
def test_outer_names_that_are_no_host_names_raise(name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ValueError):
        made.set_outer_server_hostname(name)


def test_the_hidden_name_itself_is_never_shown_outside(folder, server):
    made = context(folder)
    made.set_ech_config(ech_config(folder / "good.ech"))
    made.set_outer_server_hostname(HIDDEN)
    with pytest.raises(ValueError, match="outer SNI"):
        made.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HIDDEN)


def test_unusable_lists_raise():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLError):
        made.set_ech_config(b"\x00\x04\xfe\x0c\x00\x00")
    with pytest.raises(ssl.SSLError):
        made.set_ech_config(b"\x00\x05\xfe\x0d")


def test_unknown_options_and_flags_raise_and_ech_options_are_kept():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    before = made.options
    made.options |= ssl.OP_ALL | ssl.OP_NO_TICKET | ssl.OP_ECH_GREASE
    assert made.options & ssl.OP_ECH_GREASE and made.options & ssl.OP_NO_TICKET
    with pytest.raises(ValueError, match="unknown options 0x100000000000"):
        made.options |= 1 << 44
    with pytest.raises(NotImplementedError):
        made.options |= ssl.OP_ECH_IGNORE_CID
    made.options = before
    assert made.options == before
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    with pytest.raises(ValueError, match="unknown verify_flags 0x10000000"):
        made.verify_flags |= 1 << 28
