"""``echkit.lookup`` and ``echkit.create_default_context``, against the testbed."""

import asyncio
import base64
import errno
import functools
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import types
import urllib.parse

import pytest

import echkit
import echkit.ssl as ssl


@pytest.fixture
def bed(ech_testbed):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


def context(bed, case, **settings):
    settings = {"cafile": bed.ca_file, "dns": bed.dns, **settings}
    port = urllib.parse.urlsplit(bed.url(case)).port or 443
    return echkit.create_default_context(port=port, **settings)


def connect(made, bed, case, port=None):
    found = bed.case(case)
    plain = socket.create_connection(("127.0.0.1", port or found.port), timeout=30)
    return made.wrap_socket(plain, server_hostname=found.host)


def shown(bed, case):
    """Whether an eavesdropper could read the case's name in anything that was sent."""
    bed.quiet()
    return any(bed.case(case).host in capture for capture in bed.captures())


# Look-ups.


def test_a_look_up_tells_the_records_and_the_endpoints(bed):
    case = bed.case("nominal")
    found = echkit.lookup(case.host, case.port, dns=bed.dns)
    assert found.query_name == f"_{case.port}._https.{case.host}"
    assert (found.https, found.error, found.protected) == ("found", None, False)
    (record,) = found.records
    assert record.usable and record.why_not is None and "h2" in record.alpn
    assert record.ech == found.ech == found.endpoints[0].ech
    assert [config.why_not for config in record.configs] == [None]
    assert found.endpoints[0].port == case.port
    assert "127.0.0.1" in map(str, found.endpoints[0].addresses)
    assert found.resolver == bed.dns
    with pytest.raises(AttributeError):
        found.host = "other"


def test_a_look_up_takes_a_host_with_a_port_and_a_url(bed):
    case = bed.case("nominal")
    expected = echkit.lookup(case.host, case.port, dns=bed.dns).ech
    assert expected is not None
    for where in (f"{case.host}:{case.port}", case.url, f"{case.url}path?query#part"):
        assert echkit.lookup(where, dns=bed.dns).ech == expected
        assert echkit.lookup(where, case.port, dns=bed.dns).ech == expected
        with pytest.raises(ValueError, match=f"{case.port}.*1"):
            echkit.lookup(where, 1, dns=bed.dns)
    assert echkit.lookup("[::1]:8443", dns=bed.dns).port == 8443
    assert echkit.lookup(f"http://{case.host}", dns=bed.dns).port == 80
    for wrong in ("ftp://a.example", "https://", "a.example:", "a.example:x", "a.example:65536"):
        with pytest.raises(ValueError):
            echkit.lookup(wrong, dns=bed.dns)


def test_a_look_up_as_json(bed):
    for name in ("nominal", "no-record", "servfail", "several"):
        case = bed.case(name)
        found = echkit.lookup(case.host, case.port, dns=bed.dns)
        document = json.loads(found.to_json(indent=1))
        assert document["host"] == case.host and document["https"] == found.https
        assert [e["port"] for e in document["endpoints"]] == [e.port for e in found.endpoints]
        if found.ech is not None:
            assert base64.b64decode(document["endpoints"][0]["ech"]) == found.endpoints[0].ech


@pytest.mark.parametrize("over", ["doh", "dot", "doq", "doh3"])
def test_encrypted_resolvers_hide_the_question(bed, over):
    case = bed.case("nominal")
    found = echkit.lookup(case.host, case.port, dns=getattr(bed, over), dns_cafile=bed.ca_file)
    assert found.protected and found.ech is not None
    assert echkit.lookup(case.host, case.port, dns=bed.dns).protected is False
    distrusted = echkit.lookup(case.host, case.port, dns=getattr(bed, over))
    assert (distrusted.https, distrusted.ech) == ("failed", None)


def test_what_is_wrong_is_told_and_not_raised(bed):
    case = bed.case("no-record")
    found = echkit.lookup(case.host, case.port, dns=bed.dns)
    assert (found.https, found.ech, found.records) == ("none", None, ())
    found = echkit.lookup("missing.ech.test", dns=bed.dns)
    assert found.error is not None and "missing.ech.test" in found.error


def test_an_address_has_no_record(bed):
    found = echkit.lookup("127.0.0.1", 8443, dns=bed.dns)
    assert (found.query_name, found.https) == (None, "none")
    assert echkit.lookup("::1", 8443, dns=bed.dns).host == "[::1]"


@pytest.mark.parametrize("host", ["", "a/b", "a@b", "a#b", "a?b", "a..b"])
def test_what_is_no_host_raises(bed, host):
    with pytest.raises(ValueError):
        echkit.lookup(host, dns=bed.dns)


def test_what_is_no_resolver_raises():
    with pytest.raises(ValueError, match="gopher"):
        echkit.lookup("a.example", dns="gopher://127.0.0.1")
    with pytest.raises(ValueError):
        echkit.create_default_context(dns="nothing")


def test_the_resolver_comes_from_the_environment(bed, monkeypatch):
    monkeypatch.setenv("ECHKIT_DNS", bed.dns)
    case = bed.case("nominal")
    assert echkit.lookup(case.host, case.port).ech is not None


@pytest.fixture
def mute():
    """The socket of a resolver that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.settimeout(60)
        yield mute


@pytest.fixture
def silent(mute):
    """The URI of a resolver that never answers."""
    return f"udp://127.0.0.1:{mute.getsockname()[1]}"


def test_a_look_up_ends_at_its_time_out(silent):
    with pytest.raises(TimeoutError):
        echkit.lookup("a.example", dns=silent, timeout=0.2)


def test_ctrl_c_ends_a_look_up(mute, silent):
    script = f"import echkit; echkit.lookup('a.example', dns={silent!r}, timeout=600)"
    running = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True
    )
    mute.recv(4096)  # it is at work
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors


# Contexts.


@pytest.mark.parametrize("case", ["nominal", "minimal", "hrr", "some-unusable", "mandatory-ech"])
def test_ech_is_found_and_accepted(bed, case):
    made = context(bed, case)
    assert isinstance(made, ssl.SSLContext) and made.check_hostname
    with connect(made, bed, case) as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        assert sock.outer_server_hostname == bed.case(case).public_name
        assert sock.ech_discovery.ech is not None
    assert not shown(bed, case)


def test_a_stale_key_is_rejected_with_the_servers_own(bed):
    made = context(bed, "stale")
    with pytest.raises(echkit.ECHRejectedError) as caught:
        connect(made, bed, "stale")
    assert isinstance(caught.value, ssl.SSLError) and caught.value.reason == "ECH_REQUIRED"
    again = ssl.create_default_context(cafile=bed.ca_file)
    again.set_ech_config(caught.value.retry_configs)
    with connect(again, bed, "stale") as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    assert not shown(bed, "stale")


def test_configs_by_hand_stand_in_for_the_records(bed):
    made = context(bed, "stale")
    with pytest.raises(echkit.ECHRejectedError) as caught:
        connect(made, bed, "stale")
    made.set_ech_config(caught.value.retry_configs)
    with connect(made, bed, "stale") as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        assert sock.ech_discovery is None


def test_a_switched_off_server_raises_and_nothing_falls_back(bed):
    with pytest.raises(echkit.ECHRejectedError) as caught:
        connect(context(bed, "disabled"), bed, "disabled")
    assert caught.value.retry_configs == b""
    assert not shown(bed, "disabled")


@pytest.mark.parametrize("case", ["stale-wrong-name", "stale-untrusted", "stale-expired"])
def test_an_unauthenticated_rejection_gives_nothing_to_connect_again_with(bed, case):
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        connect(context(bed, case), bed, case)
    assert not isinstance(caught.value, echkit.ECHRejectedError)
    assert not shown(bed, case)


@pytest.mark.parametrize("case", ["alias", "cname", "target-elsewhere", "several", "some-ech"])
def test_records_lead_to_the_peer_and_its_key(bed, case):
    with connect(context(bed, case), bed, case) as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    assert not shown(bed, case)


def test_the_origins_port_is_the_question_and_the_records_port_the_peer(bed):
    made = echkit.create_default_context(cafile=bed.ca_file, dns=bed.dns)
    assert made.port == 443
    with connect(made, bed, "port") as sock:
        assert sock.ech_discovery.query_name == bed.case("port").host
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS


def test_records_that_nobody_could_tell_are_reported(bed):
    with connect(context(bed, "servfail"), bed, "servfail") as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_NOT_CONFIGURED
        assert sock.ech_discovery.https == "failed" and sock.ech_discovery.warnings
    with pytest.raises(echkit.ECHDiscoveryError):
        connect(context(bed, "servfail", ech="require"), bed, "servfail")
    # A protected resolver that fails is an attack, or as good as one.
    made = context(bed, "servfail", dns=bed.doh, dns_cafile=bed.ca_file)
    with pytest.raises(echkit.ECHDiscoveryError):
        connect(made, bed, "servfail")


@pytest.mark.parametrize("case", ["no-record", "no-ech", "unpublished"])
def test_without_ech_in_dns_the_connection_goes_on(bed, case):
    with connect(context(bed, case), bed, case) as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_NOT_CONFIGURED
        assert sock.ech_discovery.ech is None
    assert shown(bed, case)


@pytest.mark.parametrize("case", ["no-record", "no-ech", "unpublished", "malformed-order"])
def test_required_ech_that_cannot_be_had_sends_nothing(bed, case):
    with pytest.raises(echkit.ECHDiscoveryError) as caught:
        connect(context(bed, case, ech="require"), bed, case)
    assert caught.value.discovery.host == bed.case(case).host
    assert not shown(bed, case)


def test_no_record_applies_to_a_peer_that_is_no_endpoint(bed):
    elsewhere = bed.case("no-record").port
    with pytest.raises(echkit.ECHDiscoveryError, match="not an endpoint"):
        connect(context(bed, "nominal"), bed, "nominal", port=elsewhere)
    assert not shown(bed, "nominal")


def test_a_malformed_record_counts_as_none_and_is_told(bed):
    with connect(context(bed, "malformed-order"), bed, "malformed-order") as sock:
        assert sock.get_ech_status() == ssl.ECH_STATUS_NOT_CONFIGURED
        assert sock.ech_discovery.https == "malformed"
        assert sock.ech_discovery.warnings


def test_a_resolver_that_is_down_is_an_error_and_never_no_record(bed):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"udp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(echkit.ECHDiscoveryError):
        connect(context(bed, "nominal", dns=closed), bed, "nominal")
    assert not shown(bed, "nominal")


def test_a_resolver_that_is_silent_costs_the_sockets_time_out(bed, silent):
    case = bed.case("nominal")
    made = context(bed, "nominal", dns=silent)
    plain = socket.create_connection(("127.0.0.1", case.port), timeout=60)
    plain.settimeout(0.3)
    with plain, pytest.raises(TimeoutError):
        made.wrap_socket(plain, server_hostname=case.host)
    assert not shown(bed, "nominal")


def test_wrapped_before_it_is_connected(bed):
    case = bed.case("nominal")
    made = context(bed, "nominal")
    with made.wrap_socket(socket.socket(), server_hostname=case.host) as sock:
        sock.settimeout(30)
        sock.connect(("127.0.0.1", case.port))
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        with pytest.raises(ValueError):
            sock.connect(("127.0.0.1", case.port))
    elsewhere = bed.case("no-record").port
    with made.wrap_socket(socket.socket(), server_hostname=case.host) as sock:
        with pytest.raises(echkit.ECHDiscoveryError):
            sock.connect(("127.0.0.1", elsewhere))
    assert not shown(bed, "nominal")


def test_a_non_blocking_socket_needs_what_was_found_before(bed):
    case = bed.case("nominal")
    made = context(bed, "nominal")

    def wrap():
        plain = socket.create_connection(("127.0.0.1", case.port))
        plain.setblocking(False)
        return made.wrap_socket(
            plain, server_hostname=case.host, do_handshake_on_connect=False
        )

    with pytest.raises(RuntimeError, match="prepare"):
        wrap()
    made.discover(case.host)
    with wrap() as sock:
        sock.setblocking(True)
        sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS


def test_a_non_blocking_connect_is_finished_by_the_handshake(bed):
    case = bed.case("nominal")
    made = context(bed, "nominal")
    made.discover(case.host)
    with made.wrap_socket(
        socket.socket(), server_hostname=case.host, do_handshake_on_connect=False
    ) as sock:
        sock.setblocking(False)
        code = sock.connect_ex(("127.0.0.1", case.port))
        assert code in (0, errno.EINPROGRESS)
        select.select([], [sock], [], 30)
        sock.setblocking(True)
        sock.do_handshake()
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        sock.sendall(f"GET / HTTP/1.0\r\nHost: {case.host}\r\n\r\n".encode())
        assert sock.recv(12).endswith(b" 200")


def test_other_event_loops_are_not_blocked_either(bed, monkeypatch):
    class NotFound(RuntimeError):
        pass

    library = "trio"

    def current():
        if library is None:
            raise NotFound
        return library

    known = types.SimpleNamespace(
        current_async_library=current, AsyncLibraryNotFoundError=NotFound
    )
    monkeypatch.setitem(sys.modules, "sniffio", known)
    case = bed.case("nominal")
    made = context(bed, "nominal")
    wrap = functools.partial(
        made.wrap_bio, ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=case.host
    )
    with pytest.raises(RuntimeError, match="prepare"):
        wrap()
    library = None
    wrap()


def test_http_client_takes_the_context(bed):
    case = bed.case("nominal")
    made = context(bed, "nominal", ech="require")
    client = http.client.HTTPSConnection(case.host, case.port, context=made, timeout=30)
    client._create_connection = lambda address, *rest: socket.create_connection(
        ("127.0.0.1", address[1]), *rest
    )
    client.request("GET", "/?format=json")
    assert json.loads(client.getresponse().read())["ech"]["status"] == "accepted"
    client.close()
    assert not shown(bed, "nominal")


def test_memory_outside_of_an_event_loop_looks_up_on_its_own(bed):
    case = bed.case("nominal")
    made = context(bed, "nominal")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = made.wrap_bio(incoming, outgoing, server_hostname=case.host)
    with socket.create_connection(("127.0.0.1", case.port), timeout=30) as wire:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.sendall(outgoing.read())
                incoming.write(wire.recv(65536))
        assert tls.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        wire.sendall(outgoing.read())
    assert not shown(bed, "nominal")


def test_an_event_loop_needs_prepare(bed):
    case = bed.case("nominal")

    async def main():
        made = context(bed, "nominal")

        async def fetch():
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", case.port, ssl=made, server_hostname=case.host
            )
            status = writer.get_extra_info("ssl_object").get_ech_status()
            writer.close()
            return status

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with pytest.raises(RuntimeError, match="prepare"):
            await fetch()
        found = await made.prepare(case.host)
        assert found.ech is not None
        assert await made.prepare(case.host.upper() + ".") == found
        assert await fetch() == ssl.ECH_STATUS_SUCCESS

    asyncio.run(asyncio.wait_for(main(), 120))
    assert not shown(bed, "nominal")


def test_prepare_never_blocks_and_ends_when_it_is_cancelled(bed, mute, silent):
    async def main():
        made = echkit.create_default_context(dns=silent)
        with pytest.raises(TimeoutError):
            await made.prepare("a.example", timeout=0.2)
        # Few enough that the socket's buffer holds every query: none of them is lost.
        waiting = [asyncio.ensure_future(made.prepare(f"a{i}.example")) for i in range(30)]
        while b"\x03a29" not in await asyncio.to_thread(mute.recv, 4096):
            pass  # until the last of them is at work
        for task in waiting:
            task.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        with pytest.raises(ValueError):
            await made.prepare("a..b")

    asyncio.run(asyncio.wait_for(main(), 60))
    # A loop that is closed does not hear of what came of it.
    loop = asyncio.new_event_loop()
    made = echkit.create_default_context(dns=bed.dns)
    task = loop.create_task(made.prepare(bed.case("nominal").host))
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_a_rejection_reaches_asyncio(bed):
    case = bed.case("stale")

    async def main():
        made = context(bed, "stale")
        await made.prepare(case.host)
        with pytest.raises(echkit.ECHRejectedError) as caught:
            await asyncio.open_connection(
                "127.0.0.1", case.port, ssl=made, server_hostname=case.host
            )
        assert caught.value.retry_configs

    asyncio.run(asyncio.wait_for(main(), 120))


def test_many_threads_share_a_context(bed):
    made = context(bed, "nominal")
    outcomes = []

    def work():
        with connect(made, bed, "nominal") as sock:
            outcomes.append(sock.get_ech_status())

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [ssl.ECH_STATUS_SUCCESS] * 16


# Processes.


def test_an_import_starts_no_thread():
    script = (
        "import os\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "import echkit, echkit.testing\n"
        "echkit.create_default_context()\n"
        "assert len(os.listdir('/proc/self/task')) == before == 1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("waited", [0.01, 0.05, 0.3])
def test_the_interpreter_ends_in_the_middle_of_a_look_up(silent, waited):
    script = (
        "import threading, time, echkit\n"
        f"ask = lambda: echkit.lookup('a.example', dns={silent!r})\n"
        "for _ in range(4): threading.Thread(target=ask, daemon=True).start()\n"
        f"time.sleep({waited})\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("over", ["dns", "doh", "dot", "doq", "doh3"])
def test_a_forked_child_looks_up_with_threads_of_its_own(bed, over):
    case = bed.case("nominal")
    script = (
        "import os, sys, echkit\n"
        "host, port, dns, cafile = sys.argv[1:]\n"
        "ask = lambda: echkit.lookup(host, int(port), dns=dns, dns_cafile=cafile, timeout=20).ech\n"
        "known = ask()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if ask() == known else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "assert ask() == known\n"
    )
    arguments = [case.host, str(case.port), getattr(bed, over), bed.ca_file]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments], check=True, timeout=90,
        env={**os.environ},
    )


# A public_name that is the host.


def exposing_config(host):
    """An ECHConfigList whose public_name is the host: X25519 and the suite that everybody has."""
    contents = b"\x07" + b"\x00\x20" + b"\x00\x20" + bytes(range(1, 33)) + b"\x00\x04\x00\x01\x00\x01"
    contents += b"\x00" + bytes([len(host)]) + host.encode() + b"\x00\x00"
    config = b"\xfe\x0d" + len(contents).to_bytes(2, "big") + contents
    return len(config).to_bytes(2, "big") + config


def test_required_ech_refuses_a_config_whose_public_name_is_the_host(bed):
    case = bed.case("nominal")
    made = context(bed, "nominal", ech="require")
    made.set_ech_config(exposing_config(case.host))
    with pytest.raises(echkit.ECHDiscoveryError, match="public_name"):
        connect(made, bed, "nominal")
    assert not shown(bed, "nominal")


def test_preferred_ech_warns_of_it(bed):
    case = bed.case("nominal")
    made = context(bed, "nominal")
    made.set_ech_config(exposing_config(case.host.upper()))
    with pytest.warns(RuntimeWarning, match="in the clear") as warned:
        made.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=case.host)
    assert warned[0].filename == __file__
