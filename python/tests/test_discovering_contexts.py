"""Contexts that find ECH on their own do so without help: whatever port and address a program connects
to, in whichever event loop, and after a rejection."""

import json
import socket
import ssl as standard
import subprocess
import sys
import threading
import warnings

import pytest

import echkit
import echkit.ssl as ssl
from test_discovery import bed, connect, context, shown  # noqa: F401

requests = pytest.importorskip("requests")
urllib3 = pytest.importorskip("urllib3")


def reply(sock, host):
    """The server's own word on a connection."""
    sock.sendall(f"GET /?format=json HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    page = b""
    while data := sock.recv(65536):
        page += data
    return json.loads(page.split(b"\r\n\r\n", 1)[1])["ech"]["status"]


# The port.


def test_the_port_of_the_connected_socket_decides(bed):
    """The context was made for another port, where there is nothing."""
    case = bed.case("nominal")
    for made_for in (443, 1, case.port):
        made = context(bed, "nominal")
        made.port = made_for
        with connect(made, bed, "nominal") as sock:
            assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
            assert sock.ech_discovery.ech is not None
    assert not shown(bed, "nominal")


def test_what_was_prepared_for_a_port_serves_a_peer_that_it_leads_to(bed):
    case = bed.case("nominal")
    made = echkit.create_default_context(cafile=bed.ca_file, dns=bed.dns)
    made.discover(case.host, case.port)
    with connect(made, bed, "nominal") as sock:
        assert sock.ech_discovery.port == case.port
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    assert not shown(bed, "nominal")


def test_over_memory_no_name_is_shown_that_an_answer_for_some_port_can_hide(bed):
    case = bed.case("nominal")
    made = echkit.create_default_context(cafile=bed.ca_file, dns=bed.dns)
    made.discover(case.host, case.port)
    assert made.discover(case.host, 1).ech is None
    outgoing = ssl.MemoryBIO()
    tls = made.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=case.host)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    assert case.host.encode() not in outgoing.read()


@pytest.mark.parametrize("port", [0, -1, 65536, "443", None, 1.5])
def test_a_port_that_is_none_raises_at_once(port):
    with pytest.raises((TypeError, ValueError)):
        echkit.create_default_context(port=port)


# The standard function's signature.


def test_the_standard_signature_works(bed):
    for arguments in ((), (standard.Purpose.SERVER_AUTH,)):
        made = echkit.create_default_context(*arguments, cafile=bed.ca_file)
        assert isinstance(made, echkit.DiscoveringSSLContext) and made.port == 443
    made = echkit.create_default_context(purpose=standard.Purpose.SERVER_AUTH)
    assert made.verify_mode == ssl.CERT_REQUIRED and made.check_hostname


@pytest.mark.parametrize(
    ("argument", "error", "text"),
    [
        ("host", TypeError, "Purpose"),
        (8443, TypeError, "port=8443"),
        (standard.Purpose.CLIENT_AUTH, ValueError, "load_ech_keys"),
    ],
)
def test_what_is_no_purpose_of_a_client_raises_at_once(argument, error, text):
    with pytest.raises(error, match=text):
        echkit.create_default_context(argument)


def test_setting_nothing_offers_nothing(bed):
    case = bed.case("nominal")
    made = ssl.create_default_context(cafile=bed.ca_file)
    made.set_ech_config(echkit.lookup(case.host, case.port, dns=bed.dns).ech)
    none = bed.case("no-record")
    made.set_ech_config(echkit.lookup(none.host, none.port, dns=bed.dns).ech)
    with connect(made, bed, "no-record") as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_NOT_CONFIGURED
    for wrong in (0, 1.5, object(), ["a"]):
        with pytest.raises(TypeError, match="ECHConfigList"):
            made.set_ech_config(wrong)


# Rejections.


def test_after_a_rejection_the_next_connection_offers_the_servers_configs(bed):
    made = context(bed, "stale")
    with pytest.raises(echkit.ECHRejectedError):
        connect(made, bed, "stale")
    for _ in range(3):
        with connect(made, bed, "stale") as sock:
            assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    # Nobody else is told.
    with pytest.raises(echkit.ECHRejectedError):
        connect(context(bed, "stale"), bed, "stale")
    assert not shown(bed, "stale")


def test_kept_configs_that_no_longer_serve_are_replaced_in_turn(bed):
    made = context(bed, "stale", ech="require")
    for _ in range(3):
        with pytest.raises(echkit.ECHRejectedError):
            connect(made, bed, "stale")
        with connect(made, bed, "stale") as sock:
            assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        bed.rotate("stale")
    assert not shown(bed, "stale")


@pytest.mark.parametrize("case", ["disabled", "stale-wrong-name", "stale-untrusted"])
def test_a_rejection_without_configs_changes_nothing(bed, case):
    made = context(bed, case)
    for _ in range(3):
        with pytest.raises(ssl.SSLError):
            connect(made, bed, case)
    assert not shown(bed, case)


def test_configs_given_by_hand_are_not_replaced(bed):
    case = bed.case("stale")
    made = context(bed, "stale")
    made.set_ech_config(echkit.lookup(case.host, case.port, dns=bed.dns).ech)
    for _ in range(2):
        with pytest.raises(echkit.ECHRejectedError):
            connect(made, bed, "stale")


@pytest.fixture
def loopback(monkeypatch):
    """The testbed's names resolve for everybody."""
    known = socket.getaddrinfo

    def getaddrinfo(host, *rest, **more):
        if isinstance(host, str) and host.endswith(".ech.test"):
            host = "127.0.0.1"
        return known(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_librarys_own_second_try_succeeds(bed, loopback):
    case = bed.case("stale")
    with urllib3.PoolManager(ssl_context=context(bed, "stale")) as pool:
        close = {"Connection": "close"}
        page = pool.request("GET", f"{case.url}?format=json", retries=3, headers=close).json()
    assert page["ech"]["status"] == "accepted"
    assert not shown(bed, "stale")


class Through(requests.adapters.HTTPAdapter):
    """requests with a context."""

    def __init__(self, made):
        self.made = made
        super().__init__()

    def init_poolmanager(self, *rest, **more):
        super().init_poolmanager(*rest, ssl_context=self.made, **more)

    def proxy_manager_for(self, *rest, **more):
        return super().proxy_manager_for(*rest, ssl_context=self.made, **more)


def test_behind_a_proxy_nothing_is_sent_and_the_error_says_what_to_do(bed):
    case = bed.case("nominal")
    proxy = socket.create_server(("127.0.0.1", 0))
    seen = []

    def serve():
        while True:
            try:
                sock, _ = proxy.accept()
            except OSError:
                return
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            seen.append(sock.recv(65536))

    threading.Thread(target=serve, daemon=True).start()
    with requests.Session() as session:
        session.mount("https://", Through(context(bed, "nominal")))
        session.proxies = {"https": "http://127.0.0.1:%d" % proxy.getsockname()[1]}
        session.verify = bed.ca_file
        with pytest.raises(requests.exceptions.SSLError, match="proxy.*set_ech_config") as caught:
            session.get(case.url)
    assert case.host in str(caught.value)
    proxy.shutdown(socket.SHUT_RDWR)
    proxy.close()
    assert b"".join(seen) == b""


# Addresses.


class Relay:
    """Another address of a case's server, which DNS does not hold."""

    def __init__(self, address, port):
        self.to = ("127.0.0.1", port)
        self.listener = socket.create_server((address, port))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.to)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=ends, daemon=True).start()

    @staticmethod
    def pump(source, target):
        how = socket.SHUT_WR
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            how = socket.SHUT_RDWR
        try:
            target.shutdown(how)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_an_address_of_another_answer_gets_the_offer(bed, mode):
    """Hosts whose addresses rotate: the resolver of the program had another part of them."""
    case = bed.case("nominal")
    with Relay("127.0.0.9", case.port) as relay:
        with socket.create_connection(relay.address, timeout=30) as plain:
            made = context(bed, "nominal", ech=mode)
            with made.wrap_socket(plain, server_hostname=case.host) as sock:
                assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    assert not shown(bed, "nominal")


def test_a_server_that_is_not_the_hosts_learns_no_name(bed):
    """Where another one is at such an address it rejects the offer."""
    case, other = bed.case("nominal"), bed.case("no-record")
    with Relay("127.0.0.9", case.port) as relay:
        relay.to = ("127.0.0.1", other.port)
        with socket.create_connection(relay.address, timeout=30) as plain:
            with pytest.raises(ssl.SSLError):
                context(bed, "nominal").wrap_socket(plain, server_hostname=case.host)
    bed.quiet()
    assert not any(case.host in capture for capture in bed.captures())


# What the connection says.


def test_a_failed_look_up_is_said(bed):
    with pytest.warns(echkit.ECHWarning, match="servfail.ech.test.*SERVFAIL") as warned:
        with connect(context(bed, "servfail"), bed, "servfail") as sock:
            assert sock.ech_discovery.https == "failed"
    assert warned[0].filename.endswith("test_discovery.py")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with connect(context(bed, "no-record"), bed, "no-record") as sock:
            assert sock.ech_discovery.https == "none"


@pytest.mark.parametrize("case", ["no-record", "no-ech", "malformed-order", "servfail"])
def test_a_refusal_has_the_commands_reason(bed, case):
    with pytest.raises(echkit.ECHDiscoveryError) as caught:
        connect(context(bed, case, ech="require"), bed, case)
    text = str(caught.value)
    assert bed.case(case).host in text and not text.rstrip(")").endswith((". ", "and "))
    ran = subprocess.run(
        [sys.executable, "-m", "echkit", "get", "--ech", "require", "--dns", bed.dns,
         "--cacert", bed.ca_file, bed.url(case)],
        capture_output=True, text=True, timeout=60,
    )
    reason = text.split("ECH is required, and ", 1)[1]
    assert ran.returncode == 101 and reason in ran.stderr, (reason, ran.stderr)


# Connections that are refused.


def test_a_refused_connection_may_be_tried_again(bed):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()
    codes = []
    for module_context in (
        standard.create_default_context(), context(bed, "nominal"),
    ):
        with module_context.wrap_socket(
            socket.socket(), server_hostname=bed.case("nominal").host
        ) as sock:
            codes.append(sock.connect_ex(closed))
            if isinstance(module_context, ssl.SSLContext):
                codes.append(sock.connect_ex(closed))
                sock.connect(("127.0.0.1", bed.case("nominal").port))
                assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    assert codes == [111, 111, 111]


# Event loops.


def test_trio_and_anyio(bed):
    trio = pytest.importorskip("trio")
    anyio = pytest.importorskip("anyio")
    case = bed.case("nominal")

    async def by_trio():
        made = context(bed, "nominal")
        with pytest.raises(RuntimeError, match="prepare"):
            made.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=case.host)
        await made.prepare(case.host)
        plain = await trio.open_tcp_stream("127.0.0.1", case.port)
        stream = trio.SSLStream(plain, made, server_hostname=case.host)
        await stream.do_handshake()
        status = stream._ssl_object.get_ech_status()
        await stream.aclose()
        return status

    async def by_anyio():
        made = context(bed, "nominal")
        await made.prepare(case.host)
        async with await anyio.connect_tcp(
            "127.0.0.1", case.port, ssl_context=made, tls_hostname=case.host,
            tls_standard_compatible=False,
        ) as stream:
            return stream.extra(anyio.streams.tls.TLSAttribute.ssl_object).get_ech_status()

    assert trio.run(by_trio) == ssl.ECH_STATUS_SUCCESS
    for backend in ("asyncio", "trio"):
        assert anyio.run(by_anyio, backend=backend) == ssl.ECH_STATUS_SUCCESS
    assert not shown(bed, "nominal")


def test_prepare_under_trio_ends_when_it_is_cancelled():
    trio = pytest.importorskip("trio")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        made = echkit.create_default_context(dns="udp://127.0.0.1:%d" % mute.getsockname()[1])

        async def main():
            with trio.move_on_after(0.2) as scope:
                await made.prepare("a.example", timeout=30)
            assert scope.cancelled_caught

        trio.run(main)


_GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import sys, time
import gevent, socket
import echkit

host, port, dns, cafile, mute = sys.argv[1:]
made = echkit.create_default_context(port=int(port), dns=dns, cafile=cafile)
turns = []

def visit():
    plain = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
    with made.wrap_socket(plain, server_hostname=host) as sock:
        sock.sendall(f"GET /?format=json HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n".encode())
        assert b"200" in sock.recv(65536)
        return sock.get_ech_status().name, sock.ech_discovery.ech is not None

jobs = [gevent.spawn(visit) for _ in range(10)]
gevent.joinall(jobs, timeout=60, raise_error=True)
assert {job.value for job in jobs} == {("ECH_STATUS_SUCCESS", True)}, [job.value for job in jobs]

# A look-up that nobody answers does not keep the others from their turn.
other = echkit.create_default_context(dns=mute)
waiting = gevent.spawn(lambda: other.discover("a.example", timeout=2))
for _ in range(20):
    gevent.sleep(0.01)
    turns.append(waiting.dead)
assert turns == [False] * 20
try:
    waiting.get(timeout=30)
except TimeoutError:
    print("fine")
"""


def test_gevent(bed):
    pytest.importorskip("gevent")
    case = bed.case("nominal")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        uri = "udp://127.0.0.1:%d" % mute.getsockname()[1]
        ran = subprocess.run(
            [sys.executable, "-c", _GEVENT, case.host, str(case.port), bed.dns, bed.ca_file, uri],
            capture_output=True, text=True, timeout=120,
        )
    assert ran.stdout == "fine\n", ran.stderr
    assert not shown(bed, "nominal")
