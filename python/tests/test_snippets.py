"""The Python of the documents: type-checked, run, and its functions used against the testbed."""

import asyncio
import inspect
import json
import pathlib
import re
import runpy
import shutil
import socket
import subprocess
import sys
import threading

import pytest

import echkit
import echkit.ssl as ssl
from peer import CERTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import snippets  # noqa: E402

BLOCKS = [block for block in snippets.all_blocks() if block.language == "python"]

# What a document's tests test: a client made of the document's own function.
MY_CLIENT = '''
import json
import typing
import urllib.parse

import echkit

from the_documents_client import connect


def get_json(url: str, *, dns: str, cafile: str) -> dict[str, typing.Any]:
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    context = echkit.create_default_context(port=port, dns=dns, cafile=cafile)
    with connect(context, ("127.0.0.1", port), host) as sock:
        sock.sendall(f"GET {parts.path}?{parts.query} HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n".encode())
        page = sock.makefile("rb").read()
    found: dict[str, typing.Any] = json.loads(page.partition(b"\\r\\n\\r\\n")[2])
    return found
'''


def file_of(block):
    return f"line_{block.line}_of_{block.document.removesuffix('.md').replace('/', '_')}.py"


def defining(function):
    """The block of the documents that defines a function."""
    (block,) = [block for block in BLOCKS if f"def {function}(" in block.text]
    return block


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with every block as a program, and the files that they name."""
    home = tmp_path_factory.mktemp("documents")
    for block in BLOCKS:
        (home / file_of(block)).write_text(block.text)
    (home / "the_documents_client.py").write_text(defining("connect").text)
    (home / "my_client.py").write_text(MY_CLIENT)
    shutil.copy(CERTS / "public.example.pem", home / "outside.pem")
    (home / "ech-keys").mkdir()
    shutil.copy(CERTS / "ech.pem", home / "ech-keys")
    return home


def python(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )


def function(folder, name):
    return runpy.run_path(str(folder / file_of(defining(name))))[name]


def test_every_block_is_strictly_typed(folder):
    assert len(BLOCKS) > 5
    checked = python(folder, "-m", "mypy", "--strict", *map(file_of, BLOCKS))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.not_run is None], ids=lambda block: block.place
)
def test_every_block_runs(folder, block):
    ran = python(folder, file_of(block))
    assert ran.returncode == 0, ran.stderr


def test_streams_are_opened_with_ech_in_an_event_loop(folder, ech_testbed):
    case = ech_testbed.case("nominal")
    context = echkit.create_default_context(
        port=case.port, dns=ech_testbed.dns, cafile=ech_testbed.ca_file
    )

    async def status():
        _, writer = await function(folder, "open_stream")(context, case.host)
        found = writer.get_extra_info("ssl_object").get_ech_status()
        writer.close()
        return found

    assert asyncio.run(status()) == ssl.ECH_STATUS_SUCCESS


@pytest.mark.parametrize("name", ["nominal", "stale", "disabled"])
def test_a_rejected_client_connects_again_with_the_retry_configs(folder, ech_testbed, name):
    case = ech_testbed.case(name)
    context = echkit.create_default_context(
        port=case.port, dns=ech_testbed.dns, cafile=ech_testbed.ca_file
    )
    connect = function(folder, "connect")
    peer = (context, ("127.0.0.1", case.port), case.host)
    if name == "disabled":
        with pytest.raises(echkit.ECHRejectedError):
            connect(*peer)
    else:
        with connect(*peer) as sock:
            assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS


@pytest.mark.parametrize(
    "name", [name for block in BLOCKS for name in re.findall(r"def (status_with_\w+)\(", block.text)]
)
def test_the_adapters_snippets_hide_the_name(folder, ech_testbed, monkeypatch, name):
    monkeypatch.setenv("ECHKIT_DNS", ech_testbed.dns)
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, ech_testbed.ca_file)
    case = ech_testbed.case("nominal")
    called = function(folder, name)
    found = called(case.host, case.port) if "port" in called.__annotations__ else called(case.url)
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    assert found == "accepted"


@pytest.fixture
def environment(ech_testbed, monkeypatch):
    """The testbed's resolver and its certificate, for programs that are given neither."""
    monkeypatch.setenv("ECHKIT_DNS", ech_testbed.dns)
    monkeypatch.setenv("SSL_CERT_FILE", ech_testbed.ca_file)
    monkeypatch.setenv("NO_PROXY", "*")
    return ech_testbed


def test_a_check_says_what_to_mend(folder, environment):
    to_mend = function(folder, "to_mend")
    assert to_mend(environment.url("nominal")) == []
    (line,) = to_mend(environment.url("stale"))
    assert line.startswith("error ECH-KEY-REJECTED: ")
    (line,) = to_mend(environment.url("servfail"))
    assert line.startswith("https://servfail.ech.test")
    verdict = asyncio.run(function(folder, "verdict_of")(environment.url("nominal")))
    assert verdict == "works"


def test_the_worst_of_several_hosts_comes_first(folder, environment, capsys):
    urls = [environment.url(name) for name in ("nominal", "stale", "minimal")]
    reports = function(folder, "worst_first")(urls)
    assert [report.verdict for report in reports] == ["broken", "works", "works"]
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_trace_tells_the_names_that_were_read(folder, environment, tmp_path):
    case = environment.case("stale")
    names = function(folder, "eavesdrop")(case.url, tmp_path)
    assert names == [case.public_name, case.public_name]
    assert case.host in (tmp_path / "trace.html").read_text()
    assert b"ECH_SECRET" in (tmp_path / "trace.pcapng").read_bytes()


def test_a_page_is_fetched_without_changes(folder, ech_testbed, monkeypatch):
    monkeypatch.setenv("ECHKIT_DNS", ech_testbed.dns)
    monkeypatch.setenv("SSL_CERT_FILE", ech_testbed.ca_file)
    url = ech_testbed.url("nominal") + "?format=json"
    try:
        page = function(folder, "page_without_changes")(url)
    finally:
        echkit.extract_from_ssl()
    assert json.loads(page)["ech"]["status"] == "accepted"


def test_a_server_chooses_by_the_name_inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    hidden = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    hidden.load_cert_chain(CERTS / "secret.example.pem")
    context = function(folder, "server_context")({"secret.example": hidden})
    seen = []

    def serve(listener):
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as sock:
            seen.append((sock.get_ech_status(), sock.inner_server_hostname, sock.outer_server_hostname))
            sock.sendall(b"hello")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        client = ssl.create_default_context(cafile=CERTS / "ca.pem")
        client.set_ech_config((CERTS / "ech.pem").read_text())
        with socket.create_connection(listener.getsockname()) as plain:
            with client.wrap_socket(plain, server_hostname="secret.example") as sock:
                assert sock.recv(5) == b"hello"
        thread.join()
    assert seen == [(ssl.ECH_STATUS_SUCCESS, "secret.example", "public.example")]


def test_the_documents_test_passes_and_can_fail(folder):
    name = file_of(defining("test_a_stale_key_is_survived"))
    passed = python(folder, "-m", "pytest", "-q", name)
    assert passed.returncode == 0 and "1 passed" in passed.stdout, passed.stdout
    # The same with a site that hides nothing.
    plain = folder / "without_ech.py"
    plain.write_text((folder / name).read_text().replace('"stale"', '"no-record"'))
    failed = python(folder, "-m", "pytest", "-q", plain.name)
    assert failed.returncode == 1 and "1 failed" in failed.stdout, failed.stdout
