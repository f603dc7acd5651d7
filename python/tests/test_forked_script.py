"""A client as it is written for an interpreter with ECH in its own ``ssl``, but for one import."""

import json
import socket

import certifi
import pytest

import echkit
import echkit.ssl as ssl  # the one line that differs


class Client:
    """What such a program does, with its addresses and certificates from the testbed."""

    def __init__(self, testbed, name):
        self.testbed = testbed
        self.case = testbed.case(name)
        self.seen = []

    def connect(self, configs):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certifi.where())
        context.load_verify_locations(self.testbed.ca_file)
        context.options |= ssl.OP_ECH_GREASE
        for config in configs:
            try:
                context.set_ech_config(config)
                context.check_hostname = False
            except ssl.SSLError as error:
                self.seen.append(type(error).__name__)
        with socket.create_connection(("127.0.0.1", self.case.port), timeout=30) as sock:
            with context.wrap_socket(
                sock, server_hostname=self.case.host, do_handshake_on_connect=False
            ) as ssock:
                try:
                    ssock.do_handshake()
                except ssl.SSLError:
                    self.seen.append(ssock.get_ech_status().name)
                    retry = ssock._sslobj.get_ech_retry_config()
                    if retry is None:
                        raise
                    return self.connect([retry])
                self.seen.append(ssock.get_ech_status().name)
                if ssock.get_ech_status() == ssl.ECH_STATUS_SUCCESS:
                    assert ssock.server_hostname == self.case.host
                    assert ssock.outer_server_hostname == self.case.public_name
                ssock.sendall(
                    f"GET /?format=json HTTP/1.0\r\nHost: {self.case.host}\r\n\r\n".encode()
                )
                page = b""
                while data := ssock.recv(65536):
                    page += data
                return page


def configs(testbed, name):
    case = testbed.case(name)
    found = echkit.lookup(case.host, case.port, dns=testbed.dns)
    return [record.ech for record in found.records if record.ech is not None]


@pytest.mark.parametrize(
    ("case", "seen", "word"),
    [
        ("nominal", ["ECH_STATUS_SUCCESS"], "accepted"),
        ("stale", ["ECH_STATUS_FAILED_ECH", "ECH_STATUS_SUCCESS"], "accepted"),
        ("no-ech", ["ECH_STATUS_GREASE"], "off"),
        ("unknown-version", ["SSLError", "ECH_STATUS_GREASE"], "rejected"),
    ],
)
def test_the_script_runs(ech_testbed, case, seen, word):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    client = Client(ech_testbed, case)
    head, _, page = client.connect(configs(ech_testbed, case)).partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert client.seen == seen
    assert json.loads(page)["ech"]["status"] == word
    ech_testbed.quiet()
    assert ech_testbed.captures()
    assert all((client.case.host in c) is (word != "accepted") for c in ech_testbed.captures())


def test_a_switched_off_server_ends_the_script(ech_testbed):
    client = Client(ech_testbed, "disabled")
    with pytest.raises(ssl.SSLError):
        client.connect(configs(ech_testbed, "disabled"))
    assert client.seen == ["ECH_STATUS_FAILED"]


def test_one_context_may_be_given_the_retry_configs(ech_testbed):
    case = ech_testbed.case("stale")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ech_testbed.ca_file)
    for config in configs(ech_testbed, "stale"):
        context.set_ech_config(config)
    statuses = []
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", case.port), timeout=30) as sock:
            with context.wrap_socket(
                sock, server_hostname=case.host, do_handshake_on_connect=False
            ) as ssock:
                try:
                    ssock.do_handshake()
                except ssl.SSLError:
                    context.set_ech_config(ssock._sslobj.get_ech_retry_config())
                statuses.append(ssock.get_ech_status())
    assert statuses == [ssl.ECH_STATUS_FAILED_ECH, ssl.ECH_STATUS_SUCCESS]
