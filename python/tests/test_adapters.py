"""Each library with its adapter, against the testbed: by the server's own word, and by what was sent."""

import concurrent.futures
import http.server
import pathlib
import pickle
import ssl as standard
import threading

import pytest

import echkit
from beds import sent, shown, url
from drivers import LIBRARIES
from peer import CERTS
from proxying import Proxy

NEEDS = {
    "urllib3": ["urllib3", "socks"],
    "requests": ["requests", "socks"],
    "httpx": ["httpx", "h2", "socksio"],
    "httpx-asyncio": ["httpx", "h2", "socksio"],
    "httpx-trio": ["httpx", "h2", "socksio", "trio"],
    "aiohttp": ["aiohttp", "h11"],
    "aiohttp-uvloop": ["aiohttp", "h11", "uvloop"],
    "asyncio": ["anyio"],
    "uvloop": ["anyio", "uvloop"],
    "websockets": ["websockets.asyncio", "h11", "socksio"],
}


@pytest.fixture(params=list(LIBRARIES))
def library(request):
    for needed in NEEDS.get(request.param, ()):
        pytest.importorskip(needed)
    return LIBRARIES[request.param]


def only(condition):
    """For the libraries that meet a condition alone."""
    names = [name for name, library in LIBRARIES.items() if condition(library)]
    return pytest.mark.parametrize("library", names, indirect=True)


def through(*schemes):
    """For each library with each kind of proxy that it has."""
    pairs = [
        pytest.param(name, scheme, id=f"{name}-{scheme}")
        for name, library in LIBRARIES.items()
        for scheme in schemes
        if scheme.removesuffix("h") in library.proxies
    ]
    return pytest.mark.parametrize(("library", "scheme"), pairs, indirect=["library"])


@pytest.fixture
def bed(ech_testbed):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


def told(error):
    """An error's text, with those of its causes."""
    texts, seen = [], set()
    while error is not None:
        assert id(error) not in seen, "an error that is its own cause"
        seen.add(id(error))
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return " | ".join(texts)


@pytest.mark.parametrize(
    ("case", "ech"),
    [
        ("nominal", "prefer"),
        ("nominal", "require"),
        ("target-elsewhere", "require"),
        ("port", "prefer"),
        ("hrr", "prefer"),
    ],
)
def test_a_hidden_name_stays_hidden_wherever_the_record_leads(library, bed, case, ech):
    with library(bed, ech=ech) as session:
        page = session.get(url(bed, case))
    assert page.server == "accepted"
    assert (page.report.status, page.report.accepted, page.report.source) == ("accepted", True, "dns")
    assert page.report.outer_sni == bed.case(case).public_name
    assert page.report.inner_sni == bed.case(case).host
    assert len(sent(bed, case)) == 1 and not shown(bed, case)


def test_a_stale_key_costs_one_more_connection_and_the_next_none(library, bed):
    with library(bed, together=True) as session:
        page = session.get(url(bed, "stale"))
        assert page.server == "accepted"
        assert (page.report.source, page.report.retries) == ("retry", 1)
        assert len(page.report.attempts) == 2 and page.report.attempts[0].error
        assert "retry_configs" not in page.report.attempts[0].error
        assert len(sent_so_far(bed, "stale")) == 2
        # More at a time than there are connections: some are new, none is rejected.
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            pages = list(threads.map(session.get, [url(bed, "stale")] * 3))
        assert {page.server for page in pages} == {"accepted"}
        new = [page for page in pages if page.report.source == "cache"]
        assert len(sent_so_far(bed, "stale")) == 2 + len({id(page.report) for page in new})
    assert not shown(bed, "stale")


def sent_so_far(bed, case):
    return [capture for capture in bed.captures() if capture.case == case]


@pytest.mark.parametrize("case", ["no-record", "no-ech"])
def test_required_without_a_record_nothing_is_sent(library, bed, case):
    with library(bed, ech="require") as session:
        with pytest.raises(Exception) as caught:
            session.get(url(bed, case))
    assert f"{bed.case(case).host}: ECH is required" in told(caught.value)
    assert sent(bed, case) == []


def test_without_a_record_there_is_grease(library, bed):
    with library(bed) as session:
        page = session.get(url(bed, "no-record"))
    assert page.report.status == "grease" and page.report.outer_sni == bed.case("no-record").host
    (capture,) = sent(bed, "no-record")
    # The extension encrypted_client_hello (0xfe0d), of an outer hello.
    assert b"\xfe\x0d" in capture.data and bed.case("no-record").host in capture


def test_a_server_that_has_proved_to_have_no_ech_is_used_without(library, bed):
    with library(bed) as session:
        page = session.get(url(bed, "disabled"))
    assert (page.server, page.report.status) == ("off", "disabled")
    assert any("switched ECH off" in warning for warning in page.report.warnings)
    with library(bed, ech="require") as session:
        with pytest.raises(Exception) as caught:
            session.get(url(bed, "disabled"))
    assert "switched it off" in told(caught.value)
    assert len(sent(bed, "disabled")) == 3


@pytest.mark.parametrize(
    ("case", "ech"),
    [("stale-wrong-name", "prefer"), ("stale-untrusted", "require"), ("tls12", "prefer")],
)
def test_who_cannot_prove_to_be_the_server_gets_no_second_connection(library, bed, case, ech):
    with library(bed, ech=ech) as session:
        with pytest.raises(Exception) as caught:
            session.get(url(bed, case))
    if case == "stale-wrong-name":
        assert "does not hold the key that DNS publishes" in told(caught.value)
    assert len(sent(bed, case)) == 1 and not shown(bed, case)


def test_a_server_that_rejects_its_own_retry_configs_ends_it(library, bed):
    with library(bed) as session:
        with pytest.raises(Exception) as caught:
            session.get(url(bed, "stale-retry"))
    assert "misconfigured" in told(caught.value)
    assert len(sent(bed, "stale-retry")) == 2 and not shown(bed, "stale-retry")


@only(lambda library: not library.http2)
def test_records_of_protocols_that_the_library_lacks_are_an_error_without_a_word(library, bed):
    with library(bed) as session:
        with pytest.raises(Exception) as caught:
            session.get(url(bed, "h2-only"))
    assert "none of their protocols is supported: h2" in told(caught.value)
    assert sent(bed, "h2-only") == []


@only(lambda library: library.http2)
@pytest.mark.parametrize("case", ["nominal", "h2-only"])
def test_http_2_is_spoken_inside(library, bed, case):
    with library(bed, ech="require") as session:
        pages = [session.get(url(bed, case)) for _ in range(3)]
    assert {(page.version, page.server) for page in pages} == {("HTTP/2", "accepted")}
    assert len(sent(bed, case)) == 1 and not shown(bed, case)


@only(lambda library: library.keeps_alive)
def test_one_connection_serves_request_after_request(library, bed):
    with library(bed) as session:
        pages = [session.get(url(bed, "nominal")) for _ in range(5)]
    assert {page.server for page in pages} == {"accepted"}
    assert len(sent(bed, "nominal")) == 1


def test_fifty_at_the_same_time(library, bed):
    with library(bed, together=True) as session:
        with concurrent.futures.ThreadPoolExecutor(50) as threads:
            pages = list(threads.map(session.get, [url(bed, "nominal")] * 50))
    assert {(page.server, page.report.status) for page in pages} == {("accepted", "accepted")}
    assert not shown(bed, "nominal")


@pytest.fixture
def redirecting():
    """A server of plain HTTP that leads to where its path says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/?to="))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/?to="
        server.shutdown()


@only(lambda library: library.redirects)
def test_redirected_to_a_host_its_name_is_hidden_too(library, bed, redirecting):
    with library(bed, ech="require") as session:
        page = session.get(redirecting + url(bed, "nominal"))
    assert page.server == "accepted" and not shown(bed, "nominal")


@pytest.mark.parametrize("library", ["urllib3", "httpx-trio", "asyncio", "uvloop"], indirect=True)
@pytest.mark.parametrize("case", ["ipv6-refused", "ipv6-blackholed"])
def test_addresses_that_do_not_answer_are_passed_over(library, bed, case):
    with library(bed, ech="require") as session:
        page = session.get(url(bed, case))
    assert (page.server, page.report.address) == ("accepted", "127.0.0.1")


# Proxies.


@through("http", "socks5")
@pytest.mark.parametrize("case", ["nominal", "stale", "target-elsewhere", "no-record"])
def test_a_proxy_is_asked_for_addresses(library, bed, case, scheme):
    with Proxy() as proxy:
        with library(bed, proxy=proxy.url(scheme)) as session:
            page = session.get(url(bed, case))
        bed.quiet()
    assert page.report.proxied
    assert page.server == ("off" if case == "no-record" else "accepted")
    assert {asked.rpartition(":")[0] for asked in proxy.asked} <= {"127.0.0.1", "[::1]", "::1"}
    assert len(proxy.asked) == (2 if case == "stale" else 1)
    # Without ECH its name is in the hello, and still not in what the proxy is asked for.
    assert proxy.shows(bed.case(case).host) == (case == "no-record")


@through("http", "socks5", "socks5h")
def test_a_proxy_that_may_know_names_is_told_them(library, bed, scheme):
    host = bed.case("nominal").host
    with Proxy() as proxy:
        with library(bed, proxy=proxy.url(scheme), proxy_resolves=True) as session:
            assert session.get(url(bed, "nominal")).server == "accepted"
    assert proxy.asked == [f"{host}:{bed.case('nominal').port}"]
    assert not shown(bed, "nominal")


@only(lambda library: "socks5" in library.proxies)
def test_a_proxy_that_would_look_up_is_an_error_before_a_word(library, bed):
    with Proxy() as proxy:
        with pytest.raises(Exception) as caught:
            with library(bed, proxy=proxy.url("socks5h")) as session:
                session.get(url(bed, "nominal"))
    assert "socks5h leaves look-ups to the proxy" in told(caught.value)
    assert proxy.said == []


@through("http", "socks5")
def test_what_a_proxy_refuses_is_not_connected_to_past_it(library, bed, scheme):
    with Proxy() as proxy:
        proxy.refuses = True
        with library(bed, proxy=proxy.url(scheme)) as session:
            with pytest.raises(Exception):  # noqa: B017 - each library has its own
                session.get(url(bed, "nominal"))
        assert proxy.asked and not proxy.shows(bed.case("nominal").host)
    assert sent(bed, "nominal") == []


# Trust.


class Asking(http.server.BaseHTTPRequestHandler):
    """Says whose certificate the client has."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        found = self.connection.getpeercert()
        body = str(found.get("subjectAltName") if found else None).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def asking():
    """A server with a certificate of another authority, which asks for the client's."""
    context = standard.SSLContext(standard.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / "public.example.pem")
    context.load_verify_locations(CERTS / "ca.pem")
    context.verify_mode = standard.CERT_OPTIONAL
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asking) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_who_is_not_trusted_is_used_only_without_verification(library, bed, asking):
    with library(bed) as session:
        with pytest.raises(Exception) as caught:
            session.get(asking)
    assert "certificate verify failed" in told(caught.value)
    certificate = str(CERTS / "secret.example.pem")
    for cert, expected in ((None, "None"), (certificate, "secret.example")):
        with library(bed, verify=False, cert=cert) as session:
            assert expected in session.get(asking).text


def test_the_environment_names_certificates_to_trust(library, bed, monkeypatch):
    with library(bed, verify="environment") as session:
        with pytest.raises(Exception, match="certificate"):
            session.get(url(bed, "nominal"))
    monkeypatch.setenv(library.verifies_by_environment, bed.ca_file)
    with library(bed, verify="environment") as session:
        assert session.get(url(bed, "nominal")).server == "accepted"
    assert not shown(bed, "nominal")


# What is particular to one library.


def test_errors_of_requests_say_why_themselves(bed):
    requests = pytest.importorskip("requests")
    for case, ech, text in (
        ("no-record", "require", "no-record.ech.test: ECH is required"),
        ("stale-wrong-name", "prefer", "does not hold the key"),
        ("stale-retry", "prefer", "misconfigured"),
    ):
        with LIBRARIES["requests"](bed, ech=ech) as session:
            with pytest.raises(requests.exceptions.SSLError, match=text) as caught:
                session.get(url(bed, case))
        assert isinstance(caught.value.__cause__, standard.SSLError)
        assert "Max retries" not in str(caught.value)


def test_a_session_of_requests_survives_pickling(bed):
    pytest.importorskip("requests")
    import echkit.requests

    with echkit.requests.Session(ech="require", dns=bed.dns) as session:
        copy = pickle.loads(pickle.dumps(session))
        copy.verify, copy.trust_env = bed.ca_file, False
        assert copy.get(url(bed, "nominal")).ech.mode == "require"


@pytest.mark.parametrize("name", ["urllib3", "http.client"])
def test_contexts_that_cannot_offer_ech_are_refused(bed, name):
    made = standard.create_default_context()
    case = bed.case("nominal")
    with pytest.raises(TypeError, match="cannot offer ECH; give a context of"):
        if name == "http.client":
            import echkit.http

            echkit.http.HTTPSConnection(case.host, case.port, context=made)
        else:
            import echkit.urllib3

            echkit.urllib3.PoolManager(ssl_context=made, dns=bed.dns).request("GET", case.url)
    assert sent(bed, "nominal") == []


def test_a_config_that_was_set_by_hand_is_offered_in_place_of_the_records(bed):
    import echkit.http

    case, stale = bed.case("nominal"), bed.case("stale")
    context = echkit.ssl.create_default_context(cafile=bed.ca_file)
    for hand, source in ((case, "manual"), (stale, "retry")):
        context.set_ech_config(echkit.lookup(hand.host, hand.port, dns=bed.dns).ech)
        connection = echkit.http.HTTPSConnection(case.host, case.port, context=context, dns=bed.dns)
        connection.connect()
        assert (connection.ech_report.status, connection.ech_report.source) == ("accepted", source)
        connection.close()
    assert not shown(bed, "nominal")


def test_no_adapter_is_imported_by_the_package():
    import subprocess
    import sys

    code = "import sys, echkit; print([n for n in sys.modules if n.startswith('echkit.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("urllib3", "requests", "httpx", "aiohttp", "asyncio", "http"):
        assert f"'echkit.{name}'" not in found.stdout
    assert pathlib.Path(echkit.__file__).parent.joinpath("requests.py").exists()
