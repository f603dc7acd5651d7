"""Compares HTTP clients for Python, and prints a table: small bodies over TLS on loopback.

Every client does the same against the same server, in processes of their own: an asyncio protocol on uvloop with the
standard module, which answers each request with 100 bytes over HTTP/1.1. The clients take turns, run by run, and the
best run of each counts: other work on the machine only ever adds time. CPU is what the client's process used.

    clients.py [--runs N] [--requests N] [--python NAME=PYTHON ...]

`--python` names the interpreter of a client that does not go together with the others in one environment.
"""

import argparse
import asyncio
import json
import os
import pathlib
import platform
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

BODY = b"x" * 100
KEPT = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n" + BODY
LAST = KEPT.replace(b"content-type", b"connection: close\r\ncontent-type")

# How many requests an asynchronous client has in flight.
AT_ONCE = 50

WITH = " with echkit"


# The server.


class Answers(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.head = transport, b""

    def data_received(self, data):
        self.head += data
        while (end := self.head.find(b"\r\n\r\n")) >= 0:
            head, self.head = self.head[:end].lower(), self.head[end + 4 :]
            last = b"connection: close" in head
            self.transport.write(LAST if last else KEPT)
            if last:
                self.transport.close()
                return


def serve(folder):
    import uvloop

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/server.pem", f"{folder}/server.key")
    context.num_tickets = 0  # each handshake is a full one

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answers, "127.0.0.1", 0, ssl=context, backlog=512)
        port = server.sockets[0].getsockname()[1]
        # Clients differ in which addresses of localhost they know.
        if socket.has_ipv6:
            await loop.create_server(Answers, "::1", port, ssl=context, backlog=512)
        print(port, flush=True)
        await server.serve_forever()

    uvloop.run(main())


def certificates(folder):
    """An authority, and a certificate for localhost."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-x509", "-days", "2")
    openssl(
        "req", *key, "-subj", "/CN=CA", "-keyout", "ca.key", "-out", "ca.pem",
        "-addext", "keyUsage=critical,keyCertSign",
    )
    openssl(
        "req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.pem",
        "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost",
        "-addext", "basicConstraints=critical,CA:FALSE",
    )


# The clients: each is given the authority and returns what fetches a URL.


def _echkit(ca, **settings):
    import echkit

    client = echkit.Client(verify=ca, **settings)
    return lambda url, headers: client.get(url, headers=headers).content


def _echkit_off(ca):
    return _echkit(ca, ech="off")


def _requests(ca):
    import requests

    session = requests.Session()
    session.verify = ca
    return lambda url, headers: session.get(url, headers=headers).content


def _requests_adapter(ca):
    import echkit.requests

    session = echkit.requests.Session()
    session.verify = ca
    return lambda url, headers: session.get(url, headers=headers).content


def _urllib3(ca):
    import urllib3

    pool = urllib3.PoolManager(ca_certs=ca)
    return lambda url, headers: pool.request("GET", url, headers=headers).data


def _urllib3_adapter(ca):
    import echkit.urllib3

    pool = echkit.urllib3.PoolManager(ca_certs=ca)
    return lambda url, headers: pool.request("GET", url, headers=headers).data


def _niquests(ca):
    import niquests

    session = niquests.Session()
    session.verify = ca
    return lambda url, headers: session.get(url, headers=headers).content


def _httpx(ca):
    import httpx

    client = httpx.Client(verify=ssl.create_default_context(cafile=ca))
    return lambda url, headers: client.get(url, headers=headers).content


def _httpx_adapter(ca):
    import httpx

    import echkit.httpx

    client = httpx.Client(transport=echkit.httpx.HTTPTransport(verify=ca))
    return lambda url, headers: client.get(url, headers=headers).content


def _pyreqwest(ca):
    from pyreqwest.client import SyncClientBuilder

    builder = SyncClientBuilder().add_root_certificate_pem(pathlib.Path(ca).read_bytes())
    client = builder.build()
    return lambda url, headers: client.get(url).headers(headers).build().send().bytes()


def _primp(ca):
    import primp

    client = primp.Client(ca_cert_file=ca)
    return lambda url, headers: client.get(url, headers=headers).content


def _wreq(ca):
    import wreq.blocking

    client = wreq.blocking.Client(tls_verify=pathlib.Path(ca))
    return lambda url, headers: client.get(url, headers=headers).bytes()


def _httpr(ca):
    import httpr

    client = httpr.Client(ca_cert_file=ca)
    return lambda url, headers: client.get(url, headers=headers).content


CLIENTS = {
    "echkit": _echkit,
    'echkit, `ech="off"`': _echkit_off,
    "requests": _requests,
    "httpx": _httpx,
    "niquests": _niquests,
    "pyreqwest": _pyreqwest,
    "primp": _primp,
    "wreq": _wreq,
    "httpr": _httpr,
}

# A library alone, and with the adapter for it.
ADAPTERS = {
    "urllib3": (_urllib3, _urllib3_adapter),
    "requests": (_requests, _requests_adapter),
    "httpx": (_httpx, _httpx_adapter),
}


# Asynchronous ones: an asynchronous context manager that gives what fetches a URL.


def _async_echkit(ca):
    import echkit

    client = echkit.AsyncClient(verify=ca)

    async def fetch(url):
        return (await client.get(url)).content

    return client, fetch


def _kept(httpx):
    """As many kept connections as requests at once. By default httpx closes all but 20, and how many it
    then opens anew is chance."""
    return httpx.Limits(max_connections=100, max_keepalive_connections=100)


def _async_httpx(ca):
    import httpx

    context = ssl.create_default_context(cafile=ca)
    client = httpx.AsyncClient(verify=context, limits=_kept(httpx))

    async def fetch(url):
        return (await client.get(url)).content

    return client, fetch


def _async_httpx_adapter(ca):
    import httpx

    import echkit.httpx

    transport = echkit.httpx.AsyncHTTPTransport(verify=ca, limits=_kept(httpx))
    client = httpx.AsyncClient(transport=transport)

    async def fetch(url):
        return (await client.get(url)).content

    return client, fetch


def _async_aiohttp(ca):
    import aiohttp

    context = ssl.create_default_context(cafile=ca)
    return _aiohttp(aiohttp.TCPConnector(ssl=context))


def _async_aiohttp_adapter(ca):
    import echkit
    import echkit.aiohttp

    context = echkit.create_default_context(cafile=ca)
    return _aiohttp(echkit.aiohttp.TCPConnector(ssl=context))


def _aiohttp(connector):
    import aiohttp

    client = aiohttp.ClientSession(connector=connector)

    async def fetch(url):
        async with client.get(url) as response:
            return await response.read()

    return client, fetch


def _async_pyreqwest(ca):
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().add_root_certificate_pem(pathlib.Path(ca).read_bytes())
    client = builder.build()

    async def fetch(url):
        return await (await client.get(url).build().send()).bytes()

    return client, fetch


ASYNC_CLIENTS = {
    "echkit": _async_echkit,
    "httpx": _async_httpx,
    "aiohttp": _async_aiohttp,
    "pyreqwest": _async_pyreqwest,
}

ASYNC_ADAPTERS = {
    "httpx": (_async_httpx, _async_httpx_adapter),
    "aiohttp": (_async_aiohttp, _async_aiohttp_adapter),
}


# Measuring, in a process of its own.


def maker(clients, adapters, name):
    """What makes a client; ``with echkit`` behind a library's name is its adapter."""
    library, adapted, _ = name.partition(WITH)
    if name in clients:
        return clients[name]
    return adapters[library][bool(adapted)]


def one_by_one(name, url, ca, count, headers):
    fetch = maker(CLIENTS, ADAPTERS, name)(ca)
    for _ in range(20):
        assert bytes(fetch(url, headers)) == BODY
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        fetch(url, headers)
    return time.perf_counter() - wall, time.process_time() - cpu


def at_once(name, url, ca, count):
    async def main():
        made, fetch = maker(ASYNC_CLIENTS, ASYNC_ADAPTERS, name)(ca)
        async with made:
            assert bytes(await fetch(url)) == BODY

            async def some():
                for _ in range(count // AT_ONCE):
                    await fetch(url)

            await asyncio.gather(*(some() for _ in range(AT_ONCE)))  # connections are made
            wall, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
            return time.perf_counter() - wall, time.process_time() - cpu

    return asyncio.run(main())


def measure(kind, name, url, ca, count):
    match kind:
        case "keep-alive":
            took = one_by_one(name, url, ca, count, {})
        case "fresh":
            took = one_by_one(name, url, ca, count, {"Connection": "close"})
        case _:
            took = at_once(name, url, ca, count)
    print(json.dumps([each / count for each in took]))


# The table.


def fastest(options, kind, names, url, ca):
    """The best time and CPU time of each for a request; a client that fails is left out."""
    count = max(options.requests // (5 if kind == "fresh" else 1), AT_ONCE)
    pythons = dict(each.split("=", 1) for each in options.python)
    found = {}
    # What a machine's own settings say about authorities is not what is compared.
    unset = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    for _ in range(options.runs):
        for name in names:
            python = pythons.get(name, sys.executable)
            command = [python, __file__, "measure", kind, name, url, ca, str(count)]
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=600, env=environment
            )
            if ran.returncode:
                print(f"{name}: {ran.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found.setdefault(name, []).append(json.loads(ran.stdout))
    return {name: [min(each) for each in zip(*all_of, strict=True)] for name, all_of in found.items()}


def compare(options, kind, names, url, ca):
    best = fastest(options, kind, names, url, ca)
    ours = best["echkit"][0]
    print(f"| {kind} | requests per second | `echkit` is | CPU µs each |")
    print("|---|---:|---:|---:|")
    for name, (wall, cpu) in sorted(best.items(), key=lambda item: item[1][0]):
        print(f"| {name} | {1 / wall:.0f} | {wall / ours:.2f}x | {cpu * 1e6:.0f} |")
    print(flush=True)


def compare_adapters(options, kind, libraries, url, ca):
    best = fastest(options, kind, [n + end for n in libraries for end in ("", WITH)], url, ca)
    print(f"| {kind} | alone: per second | CPU µs each | {WITH.strip()}: per second | to alone | CPU µs each |")
    print("|---|---:|---:|---:|---:|---:|")
    for library in libraries:
        if library not in best or library + WITH not in best:
            continue
        (wall, cpu), (own_wall, own_cpu) = best[library], best[library + WITH]
        print(
            f"| {library} | {1 / wall:.0f} | {cpu * 1e6:.0f} "
            f"| {1 / own_wall:.0f} | {wall / own_wall:.2f}x | {own_cpu * 1e6:.0f} |"
        )
    print(flush=True)


def main():
    if sys.argv[1:2] == ["serve"]:
        return serve(*sys.argv[2:])
    if sys.argv[1:2] == ["measure"]:
        kind, name, url, ca, count = sys.argv[2:]
        return measure(kind, name, url, ca, int(count))
    parser = argparse.ArgumentParser(description="HTTP clients for Python, side by side")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, taking turns")
    parser.add_argument("--requests", type=int, default=2000, help="for each run")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--only", action="append", help="these clients alone, beside echkit")
    options = parser.parse_args()
    if shutil.which("openssl") is None:
        raise SystemExit("clients.py: the command openssl, which makes the certificates, is missing")
    with tempfile.TemporaryDirectory() as folder:
        certificates(folder)
        command = [sys.executable, __file__, "serve", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = f"https://localhost:{int(server.stdout.readline())}/"
            print(
                f"CPython {platform.python_version()}, {ssl.OPENSSL_VERSION}; "
                f"the best of {options.runs} runs that take turns\n"
            )
            for kind, clients in [
                ("keep-alive", CLIENTS),
                ("fresh", CLIENTS),
                (f"asyncio, {AT_ONCE} at once", ASYNC_CLIENTS),
            ]:
                names = [n for n in clients if not options.only or n in ("echkit", *options.only)]
                compare(options, kind, names, url, f"{folder}/ca.pem")
            for kind, adapters in [
                ("keep-alive", ADAPTERS),
                ("fresh", ADAPTERS),
                (f"asyncio, {AT_ONCE} at once", ASYNC_ADAPTERS),
            ]:
                libraries = [n for n in adapters if not options.only or n in options.only]
                compare_adapters(options, kind, libraries, url, f"{folder}/ca.pem")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
