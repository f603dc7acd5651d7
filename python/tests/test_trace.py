"""``echkit.trace``, against the testbed."""

import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys

import pytest

import echkit

ECH = str(pathlib.Path(sys.executable).with_name("ech"))


@pytest.fixture
def bed(ech_testbed):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


def settings(bed):
    return {"dns": bed.dns, "verify": bed.ca_file, "trust_env": False}


def test_both_hellos_are_laid_out(bed):
    case = bed.case("nominal")
    trace = echkit.trace(case.url, **settings(bed))
    assert (trace.name, trace.error, trace.name_in_tls, trace.name_in_dns) == (
        case.host, None, False, True,
    )
    (connection,) = trace.connections
    assert connection.ech == "accepted" and connection.name_seen == ()
    assert connection.peer.endswith(f":{case.port}")
    (hello,) = connection.hellos
    assert hello.outer.server_name == case.public_name and hello.inner.server_name == case.host
    assert hello.outer.field("encrypted_client_hello").value.startswith("outer: config_id")
    assert hello.inner.field("encrypted_client_hello").value == "inner"
    assert hello.padding > 0 and hello.not_opened is None
    answer = connection.answers[0]
    assert (answer.kind, answer.version) == ("server_hello", "TLS 1.3")
    # What is shown is what was sent.
    bed.quiet()
    (capture,) = [c for c in bed.captures() if c.case == "nominal"]
    assert hello.outer.message in capture.data and case.host not in capture
    with pytest.raises(AttributeError):
        trace.name = "other"


def test_a_retry_and_a_second_hello_are_connections_and_hellos(bed):
    stale = echkit.trace(bed.url("stale"), **settings(bed))
    assert [connection.ech for connection in stale.connections] == ["rejected", "accepted"]
    again = echkit.trace(bed.url("hrr"), **settings(bed))
    (connection,) = again.connections
    assert len(connection.hellos) == 2
    assert connection.answers[0].kind == "hello_retry_request" and connection.answers[0].ech


def test_the_name_is_seen_without_ech(bed):
    case = bed.case("no-record")
    trace = echkit.trace(case.host + f":{case.port}", **settings(bed), ech="off")
    (connection,) = trace.connections
    assert (trace.name_in_tls, connection.ech) == (True, "not_offered")
    assert connection.name_seen[0] == echkit.Sighting(True, "ClientHello 1, server_name")
    assert connection.hellos[0].inner is None


def test_it_is_laid_out_as_the_command_has_it(bed):
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(each) for key, each in value.items()}
        if isinstance(value, list):
            return [shape(each) for each in value]
        return type(value).__name__

    for name in ("nominal", "hrr", "no-record"):
        ran = subprocess.run(
            [ECH, "trace", bed.url(name), "--json"]
            + ["--dns", bed.dns, "--cacert", bed.ca_file],
            capture_output=True, text=True, timeout=300, check=True,
            env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        )
        trace = echkit.trace(bed.url(name), **settings(bed))
        assert shape(trace.document) == shape(json.loads(ran.stdout)), name
        assert json.loads(trace.to_json()) == trace.document


def test_a_request_that_fails_has_a_trace_too(bed):
    case = bed.case("stale-wrong-name")
    trace = echkit.trace(case.url, **settings(bed))
    assert trace.error_kind == trace.document["error"]["kind"] == "certificate"
    assert case.host in trace.error
    assert [connection.ech for connection in trace.connections] == ["rejected"]
    assert not trace.name_in_tls
    bed.quiet()
    assert not any(case.host in capture for capture in bed.captures())


def test_nothing_is_sent_where_ech_is_required_and_there_is_none(bed):
    case = bed.case("no-record")
    trace = echkit.trace(case.url, **settings(bed), ech="require")
    assert (trace.error_kind, trace.connections) == ("ech_required", ())
    bed.quiet()
    assert bed.captures() == []


def test_what_is_no_url_and_no_setting_raises(bed):
    for wrong in ("", "a..b", "https://"):
        with pytest.raises(ValueError):
            echkit.trace(wrong, **settings(bed))
    with pytest.raises(ValueError, match="ftp"):
        echkit.trace("ftp://a.example", **settings(bed))
    with pytest.raises(ValueError, match="ech"):
        echkit.trace(bed.url("nominal"), **settings(bed), ech="perhaps")
    with pytest.raises(TypeError):
        echkit.trace(bed.url("nominal"), nonsense=True)


def test_text_and_page_are_those_of_the_command(bed):
    case = bed.case("nominal")
    trace = echkit.trace(case.url, **settings(bed))
    for columns in (80, 120):
        lines = trace.text(columns).splitlines()
        assert lines[0] == trace.origin and max(map(len, lines)) <= columns
    assert "\x1b" not in trace.text() and case.host in trace.text()
    page = trace.html()
    assert page.startswith("<!doctype html>") and case.public_name in page


def test_the_capture_file_opens_itself_and_is_its_owners_alone(bed, tmp_path):
    case = bed.case("nominal")
    trace = echkit.trace(case.url, **settings(bed))
    path = tmp_path / "capture.pcapng"
    path.write_bytes(b"before")
    path.chmod(0o644)
    trace.write_pcapng(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    assert content == trace.pcapng() and content.startswith(b"\x0a\x0d\x0d\x0a")
    assert b"ECH_SECRET" in content
    ran = subprocess.run(
        [ECH, "decode", "--pcap", str(path), "--json"],
        capture_output=True, text=True, timeout=300, check=True,
    )
    # The inner hello opens from the file alone.
    assert case.host in ran.stdout and case.public_name in ran.stdout


def test_ctrl_c_ends_a_trace():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = f"import echkit; echkit.trace('https://127.0.0.1:{port}', trust_env=False, timeout=600)"
        running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        plain, _ = listener.accept()
        with plain:
            plain.settimeout(60)
            plain.recv(4096)  # it waits for an answer
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
