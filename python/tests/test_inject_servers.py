"""Programs as they are against servers of Python's own, as servers, and in servers: pip, websockets, gunicorn,
uvicorn."""

import asyncio
import contextlib
import hashlib
import http.server
import json
import os
import re
import signal
import socket
import ssl as standard
import subprocess
import sys
import textwrap
import threading
import zipfile

import pytest

import echkit.ssl as ssl
from hidden_host import HiddenHost
from peer import CERTS, HIDDEN, ech_server_context

KINDS = ["nominal", "stale", "no-record"]
STATUS = {"nominal": "SUCCESS", "stale": "SUCCESS", "no-record": "NOT_TRIED"}


class Site(http.server.ThreadingHTTPServer):
    """A web site with ECH, that says what became of it, and an index of packages."""

    daemon_threads = True

    def __init__(self, files=()):
        self.files, self.statuses = dict(files), []
        self.context = ech_server_context(ssl)
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def finish_request(self, request, address):
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as sock:
            super().finish_request(sock, address)

    def handle_error(self, request, address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status = self.connection.get_ech_status().name.removeprefix("ECH_STATUS_")
        self.server.statuses.append(status)
        kind, page = self.server.files.get(self.path, ("application/json", json.dumps(status).encode()))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@contextlib.contextmanager
def hidden_site(kind, tmp_path, files=()):
    with Site(files) as site, HiddenHost(site.server_port, kind, tmp_path) as host:
        yield site, host
        site.shutdown()


def environment(host, **more):
    own = {k: v for k, v in os.environ.items() if not re.search("_proxy$|^PIP_", k, re.IGNORECASE)}
    return {**own, **host.environment(), "PIP_CONFIG_FILE": os.devnull, **more}


def run(host, *arguments, **more):
    command = [sys.executable, "-m", "echkit", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment(host, **more)
    )


def was_hidden(host, kind):
    """What the wire has to look like: the name shows where there is no record, and only there."""
    assert host.sent and host.shown == (kind == "no-record")
    return True


# pip, which verifies by its own truststore.


def wheel(home):
    """A package with nothing in it."""
    path = home / "nothing_at_all-1.0-py3-none-any.whl"
    info = "nothing_at_all-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nothing-at-all\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_pip_downloads_from_an_index_with_ech(kind, tmp_path):
    made = wheel(tmp_path)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    link = f'<a href="/files/{made.name}#sha256={digest}">{made.name}</a>'
    files = {
        "/simple/nothing-at-all/": ("text/html", f"<!DOCTYPE html><body>{link}</body>".encode()),
        f"/files/{made.name}": ("application/octet-stream", made.read_bytes()),
    }
    with hidden_site(kind, tmp_path, files) as (site, host):
        ran = run(
            host, "-m", "pip", "download", "nothing-at-all", "--no-cache-dir", "--no-deps",
            "--disable-pip-version-check", "--retries", "0", "--dest", str(tmp_path / "got"),
            "--index-url", f"https://{HIDDEN}:{host.port}/simple/",
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (tmp_path / "got" / made.name).read_bytes() == made.read_bytes()
        assert set(site.statuses) == {STATUS[kind]} and len(site.statuses) == 2
        assert was_hidden(host, kind)


def test_pip_still_verifies_with_its_truststore(tmp_path):
    with hidden_site("nominal", tmp_path) as (site, host):
        ran = run(
            host, "-m", "pip", "download", "nothing-at-all", "--no-cache-dir", "--retries", "0",
            "--disable-pip-version-check", "--index-url", f"https://{HIDDEN}:{host.port}/simple/",
            SSL_CERT_FILE=os.devnull,
        )
        assert ran.returncode != 0 and "certificate verify failed" in ran.stdout + ran.stderr
        assert site.statuses == [] and not host.shown


# websockets.

ECHO = """
    import asyncio, sys, websockets
    async def main():
        for url in sys.argv[1:]:
            async with websockets.connect(url) as connection:
                await connection.send("hello")
                print(await connection.recv())
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_websockets_connect_with_ech(kind, loop, tmp_path):
    websockets = pytest.importorskip("websockets.asyncio.server")
    pytest.importorskip(loop)
    statuses, started, ended = [], threading.Event(), []

    async def echo(connection):
        made = connection.transport.get_extra_info("ssl_object")
        statuses.append(made.get_ech_status().name.removeprefix("ECH_STATUS_"))
        await connection.send(await connection.recv())

    async def serve():
        context = ech_server_context(ssl)
        async with websockets.serve(echo, "127.0.0.1", 0, ssl=context) as server:
            end = asyncio.Event()
            ended.append((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), end))
            started.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    port, serving, end = ended[0]
    code = textwrap.dedent(ECHO)
    if loop == "uvloop":
        code = code.replace("asyncio.run", "__import__('uvloop').run")
    try:
        with HiddenHost(port, kind, tmp_path) as host:
            ran = run(host, "-c", code, f"wss://{HIDDEN}:{host.port}/")
            assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
            assert statuses == [STATUS[kind]] and was_hidden(host, kind)
    finally:
        serving.call_soon_threadsafe(end.set)
        thread.join()


# What was said before TLS.


def test_a_rejection_after_starttls_is_raised_and_not_tried_again(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                assert plain.recv(8) == b"STARTTLS"
                with contextlib.suppress(OSError):
                    ech_server_context(ssl).wrap_socket(plain, server_side=True).close()

    threading.Thread(target=serve, daemon=True).start()
    code = f"""
        import socket, ssl, sys
        plain = socket.create_connection(({HIDDEN!r}, int(sys.argv[1])))
        plain.sendall(b"STARTTLS")
        ssl.create_default_context().wrap_socket(plain, server_hostname={HIDDEN!r})
    """
    with HiddenHost(listener.getsockname()[1], "stale", tmp_path) as host:
        ran = run(host, "-c", textwrap.dedent(code), str(host.port))
        assert ran.returncode == 1 and "ECHRejectedError" in ran.stderr, ran.stderr
        assert len(host.sent) == 1 and not host.shown
    listener.close()


# Servers: started by `python -m echkit`, over TLS, and clients of other hosts in their workers.

WSGI = """
    import os, urllib.request
    {inject}
    def app(environ, start_response):
        with urllib.request.urlopen(os.environ["WHERE"]) as found:
            page = found.read()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [page]
"""
ASGI = """
    import os
    {inject}
    import httpx
    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("HTTP alone")
        async with httpx.AsyncClient() as client:
            page = (await client.get(os.environ["WHERE"])).content
        start = {{"type": "http.response.start", "status": 200, "headers": []}}
        await send(start)
        await send({{"type": "http.response.body", "body": page}})
"""
CERTIFICATE = str(CERTS / "secret.example.pem")
SERVERS = {
    "gunicorn": (WSGI, ["gunicorn", "program:app", "--bind", "127.0.0.1:0", "--workers", "2",
                        "--certfile", CERTIFICATE, "--keyfile", CERTIFICATE]),
    "gunicorn --preload": (WSGI, ["gunicorn", "program:app", "--bind", "127.0.0.1:0", "--workers", "2",
                                  "--preload", "--certfile", CERTIFICATE, "--keyfile", CERTIFICATE]),
    "uvicorn": (ASGI, ["uvicorn", "program:app", "--port", "0",
                       "--ssl-certfile", CERTIFICATE, "--ssl-keyfile", CERTIFICATE]),
    "uvicorn --workers": (ASGI, ["uvicorn", "program:app", "--port", "0", "--workers", "2",
                                 "--ssl-certfile", CERTIFICATE, "--ssl-keyfile", CERTIFICATE]),
}


def fetch(port):
    """The page of a server on this machine, by the standard module."""
    context = standard.create_default_context(cafile=CERTS / "ca.pem")
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with context.wrap_socket(plain, server_hostname=HIDDEN) as sock:
            sock.sendall(f"GET / HTTP/1.0\r\nHost: {HIDDEN}\r\n\r\n".encode())
            head, _, page = sock.makefile("rb").read().partition(b"\r\n\r\n")
    return head.split()[1].decode(), page.decode()


@pytest.mark.parametrize("started", ["by python -m echkit", "by itself, and the program injects"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_and_its_workers_make_requests_with_ech(server, started, tmp_path):
    program, command = SERVERS[server]
    pytest.importorskip(command[0])
    inside = started.startswith("by itself")
    inject = "import echkit; echkit.inject_into_ssl()" if inside else ""
    (tmp_path / "program.py").write_text(textwrap.dedent(program).format(inject=inject))
    with hidden_site("stale", tmp_path) as (site, host):
        where = f"https://{HIDDEN}:{host.port}/"
        more = {"WHERE": where, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        running = subprocess.Popen(
            [sys.executable, *([] if inside else ["-m", "echkit"]), "-m", *command],
            cwd=tmp_path, env=environment(host, **more), stderr=subprocess.PIPE, text=True,
        )
        try:
            said, port = "", None
            while port is None:
                line = running.stderr.readline()
                assert line, said
                said += line
                found = re.search(r"(?:Listening at|running on):? https://127\.0\.0\.1:(\d+)", said)
                port = found and int(found[1])
            while True:  # uvicorn says so before its workers listen
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                assert running.poll() is None
            # So many that each worker has some.
            pages = [fetch(port) for _ in range(6)]
            assert pages == [("200", '"SUCCESS"')] * 6
            assert set(site.statuses) == {"SUCCESS"} and not host.shown
        finally:
            running.send_signal(signal.SIGTERM)
            running.stderr.read()
            running.wait()
