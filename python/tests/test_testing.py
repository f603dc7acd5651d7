"""``echkit.testing``: the testbed as a context manager and as a pytest fixture."""

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import sys
import urllib.request

import pytest

import echkit
import echkit.ssl as ssl
import echkit.testing


def test_the_fixture_is_a_testbed_of_every_case(ech_testbed):
    assert isinstance(ech_testbed, echkit.testing.Testbed)
    names = {case.name for case in ech_testbed.cases}
    assert {"nominal", "stale", "disabled", "no-record"} <= names
    nominal = ech_testbed.case("nominal")
    assert nominal.host == "nominal.ech.test"
    assert nominal.url == ech_testbed.url("nominal") == f"https://nominal.ech.test:{nominal.port}/"
    assert nominal.expect["require"]["status"] == "accepted"
    assert any(" HTTPS " in line for line in nominal.zone)
    with pytest.raises(KeyError):
        ech_testbed.case("nothing")


def test_it_serves_until_the_end_of_with():
    with echkit.testing.Testbed(only=["nominal"]) as testbed:
        case = testbed.case("nominal")
        assert [c.name for c in testbed.cases] == ["nominal"]
        assert pathlib.Path(testbed.ca_file).read_text() == testbed.ca_pem
        socket.create_connection(("127.0.0.1", case.port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", case.port))
    assert not os.path.exists(testbed.ca_file)
    with pytest.raises(RuntimeError):
        testbed.captures()
    testbed.stop()


def test_unknown_cases_are_named():
    with pytest.raises(ValueError, match="nominel"):
        echkit.testing.Testbed(only=["nominel"])


def test_keys_rotate_and_captures_show_what_was_sent():
    with echkit.testing.Testbed(only=["nominal"]) as testbed:
        case = testbed.case("nominal")
        context = ssl.create_default_context(cafile=testbed.ca_file)
        context.set_ech_config(echkit.lookup(case.host, case.port, dns=testbed.dns).ech)

        def status():
            plain = socket.create_connection(("127.0.0.1", case.port), timeout=30)
            with context.wrap_socket(plain, server_hostname=case.host) as sock:
                return sock.get_ech_status()

        assert status() == ssl.ECH_STATUS_SUCCESS
        testbed.rotate("nominal")
        with pytest.raises(echkit.ECHRejectedError):
            status()
        testbed.quiet()
        captures = testbed.captures()
        assert [c.case for c in captures] == ["nominal", "nominal"]
        assert all(case.public_name in c and case.host not in c for c in captures)
        testbed.clear_captures()
        assert testbed.captures() == []


def test_programs_that_look_up_names_themselves_find_those_of_the_testbed(ech_testbed):
    case = ech_testbed.case("nominal")
    plain = ssl_of_the_interpreter(ech_testbed.ca_file)
    before = socket.getaddrinfo
    with ech_testbed.names_resolve():
        with urllib.request.urlopen(case.url + "?format=json", context=plain) as page:
            assert json.load(page)["ech"]["status"] == "not_offered"
        with pytest.raises(socket.gaierror, match="nothing.ech.test"):
            socket.create_connection(("nothing.ech.test", 443))
        others = socket.getaddrinfo("127.0.0.1", 443, type=socket.SOCK_STREAM)
        assert others[0][4] == ("127.0.0.1", 443)

        async def looked_up():
            loop = asyncio.get_running_loop()
            return await loop.getaddrinfo(case.host, case.port, type=socket.SOCK_STREAM)

        assert ("127.0.0.1", case.port) in [found[4] for found in asyncio.run(looked_up())]
    assert socket.getaddrinfo is before
    found = ech_testbed.getaddrinfo(case.host.upper().encode(), "https", socket.AF_INET)
    assert {entry[4] for entry in found} == {("127.0.0.1", 443)}
    alias = next(c for c in ech_testbed.cases if any(" CNAME " in line for line in c.zone))
    assert ech_testbed.getaddrinfo(alias.host, 443)


def ssl_of_the_interpreter(cafile):
    import ssl

    return ssl.create_default_context(cafile=cafile)


def test_a_forked_child_says_that_the_testbed_is_not_its_own(tmp_path):
    with echkit.testing.Testbed(only=["nominal"]) as testbed:
        child = os.fork()
        if child == 0:
            try:
                testbed.captures()
            except RuntimeError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert testbed.captures() == []


def test_the_plugin_needs_no_import(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "def test_it(ech_testbed):\n    assert ech_testbed.dns.startswith('udp://127.0.0.1:')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


def page(sock, host):
    """The server's own word."""
    sock.sendall(f"GET /?format=json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    said = b""
    while data := sock.recv(65536):
        said += data
    return json.loads(said.partition(b"\r\n\r\n")[2])


def test_the_servers_word_and_the_wire_agree(ech_testbed):
    case = ech_testbed.case("minimal")
    ech_testbed.clear_captures()
    context = ssl.create_default_context(cafile=ech_testbed.ca_file)
    context.set_ech_config(echkit.lookup(case.host, case.port, dns=ech_testbed.dns).ech)
    plain = socket.create_connection(("127.0.0.1", case.port), timeout=30)
    with context.wrap_socket(plain, server_hostname=case.host) as sock:
        said = page(sock, case.host)
    assert said["ech"]["status"] == "accepted"
    assert (said["ech"]["inner_sni"], said["ech"]["outer_sni"]) == (case.host, case.public_name)
    ech_testbed.quiet()
    (capture,) = [c for c in ech_testbed.captures() if c.case == "minimal"]
    assert case.host not in capture
