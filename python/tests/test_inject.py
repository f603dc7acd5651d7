"""Programs that know nothing of ECH, run by ``python -m echkit`` or after ``inject_into_ssl``."""

import json
import os
import ssl as standard
import subprocess
import sys
import textwrap

import pytest

import echkit
from beds import sent, shown, url
from peer import CERTS
from proxying import Proxy

# Each prints the pages of the URLs in its arguments, `{"ech": ...}` as the servers say it.
PROGRAMS = {
    "urllib.request": """
        import sys, urllib.request
        for url in sys.argv[1:]:
            print(urllib.request.urlopen(url).read().decode())
    """,
    "http.client": """
        import http.client, sys, urllib.parse
        for url in sys.argv[1:]:
            parts = urllib.parse.urlsplit(url)
            connection = http.client.HTTPSConnection(parts.hostname, parts.port)
            connection.request("GET", "/?format=json")
            print(connection.getresponse().read().decode())
    """,
    "urllib3": """
        import sys, urllib3
        pool = urllib3.PoolManager()
        for url in sys.argv[1:]:
            print(pool.request("GET", url).data.decode())
    """,
    "requests": """
        import sys, requests
        for url in sys.argv[1:]:
            print(requests.get(url).text)
    """,
    "httpx": """
        import sys, httpx
        with httpx.Client() as client:
            for url in sys.argv[1:]:
                print(client.get(url).text)
    """,
    "httpx-asyncio": """
        import asyncio, sys, httpx
        async def main():
            async with httpx.AsyncClient() as client:
                for url in sys.argv[1:]:
                    print((await client.get(url)).text)
        asyncio.run(main())
    """,
    "httpx-trio": """
        import sys, httpx, trio
        async def main():
            async with httpx.AsyncClient() as client:
                for url in sys.argv[1:]:
                    print((await client.get(url)).text)
        trio.run(main)
    """,
    "anyio": """
        import sys, urllib.parse, anyio
        async def main():
            for url in sys.argv[1:]:
                parts = urllib.parse.urlsplit(url)
                stream = await anyio.connect_tcp(
                    parts.hostname, parts.port, tls=True, tls_standard_compatible=False
                )
                request = f"GET /?format=json HTTP/1.0\\r\\nHost: {parts.hostname}\\r\\n\\r\\n"
                await stream.send(request.encode())
                page = b""
                async for data in stream:
                    page += data
                print(page.decode().partition("\\r\\n\\r\\n")[2])
        anyio.run(main)
    """,
    "aiohttp": """
        import asyncio, sys, aiohttp
        async def main():
            async with aiohttp.ClientSession() as session:
                for url in sys.argv[1:]:
                    async with session.get(url) as response:
                        print(await response.text())
        asyncio.run(main())
    """,
    "asyncio": """
        import asyncio, sys, urllib.parse
        async def main():
            for url in sys.argv[1:]:
                parts = urllib.parse.urlsplit(url)
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=True)
                request = f"GET /?format=json HTTP/1.0\\r\\nHost: {parts.hostname}\\r\\n\\r\\n"
                writer.write(request.encode())
                print((await reader.read()).decode().partition("\\r\\n\\r\\n")[2])
                writer.close()
        asyncio.run(main())
    """,
    "trio": """
        import sys, urllib.parse, trio
        async def main():
            for url in sys.argv[1:]:
                parts = urllib.parse.urlsplit(url)
                stream = await trio.open_ssl_over_tcp_stream(
                    parts.hostname, parts.port, https_compatible=True
                )
                request = f"GET /?format=json HTTP/1.0\\r\\nHost: {parts.hostname}\\r\\n\\r\\n"
                await stream.send_all(request.encode())
                page = b""
                async for data in stream:
                    page += data
                print(page.decode().partition("\\r\\n\\r\\n")[2])
        trio.run(main)
    """,
}
for _name in ("aiohttp", "asyncio", "httpx-asyncio"):
    _text = PROGRAMS[_name].replace("asyncio.run(main())", "import uvloop; uvloop.run(main())")
    PROGRAMS[f"{_name}-uvloop"] = _text
CODE = {name: textwrap.dedent(text) for name, text in PROGRAMS.items()}


@pytest.fixture
def bed(ech_testbed):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


@pytest.fixture(params=list(PROGRAMS))
def program(request):
    for module in request.param.split("-"):
        pytest.importorskip(module)
    return CODE[request.param]


def run(bed, *arguments, program="echkit", **variables):
    own = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    own |= {"ECHKIT_DNS": bed.dns, "SSL_CERT_FILE": bed.ca_file, "REQUESTS_CA_BUNDLE": bed.ca_file}
    command = [sys.executable, *(["-m", program] if program else []), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**own, **variables}
    )


def word(ran):
    """The servers' words, one for each page that was printed."""
    assert ran.returncode == 0, ran.stderr
    decoder, text, found = json.JSONDecoder(), ran.stdout.strip(), []
    while text:
        page, end = decoder.raw_decode(text)
        found.append(page["ech"]["status"])
        text = text[end:].strip()
    return found


def test_an_unmodified_program_hides_names(program, bed):
    cases = ["nominal", "target-elsewhere", "stale"]
    ran = run(bed, "-c", program, *(url(bed, case) for case in cases), ECHKIT_LOG="info")
    assert word(ran) == ["accepted"] * len(cases)
    for case in cases:
        host, public = bed.case(case).host, bed.case(case).public_name
        assert f"echkit: {host}: offered ECH, shown {public}, success" in ran.stderr
        assert not shown(bed, case)


STARTED = """
    import socket, ssl, sys, urllib.parse
    parts = urllib.parse.urlsplit(sys.argv[1])
    plain = socket.create_connection((parts.hostname, parts.port))
    plain.sendall(b"")
    plain.send(b"STARTTLS")
    ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
"""


def test_a_rejection_after_something_was_said_is_raised_and_shows_nothing(bed):
    # A server that has been spoken to in the clear cannot be connected to again in silence; the
    # testbed's ends such a connection.
    ran = run(bed, "-c", textwrap.dedent(STARTED), url(bed, "stale"))
    assert ran.returncode != 0
    assert len(sent(bed, "stale")) == 1 and not shown(bed, "stale")


@pytest.mark.parametrize("name", ["urllib.request", "asyncio", "aiohttp-uvloop"])
def test_without_a_record_a_program_goes_on_or_is_refused(bed, name):
    ran = run(bed, "-c", CODE[name], url(bed, "no-record"), ECHKIT_ECH="require")
    assert ran.returncode != 0 and "no-record.ech.test: ECH is required" in ran.stderr
    assert not any(capture.data for capture in sent(bed, "no-record"))
    assert word(run(bed, "-c", CODE[name], url(bed, "no-record"))) == ["off"]
    assert shown(bed, "no-record")


@pytest.mark.parametrize("name", ["urllib.request", "asyncio", "httpx-asyncio", "httpx-trio", "trio"])
def test_names_resolve_to_the_port_in_the_record(bed, name):
    where = url(bed, "port").replace(".test/", ".test:443/")
    assert word(run(bed, "-c", CODE[name], where)) == ["accepted"]
    assert not shown(bed, "port")


def test_scripts_and_modules_run_as_without(bed, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, beside\nassert __name__ == '__main__' and __file__ == sys.argv[0]\n"
        "assert sys.argv[2:] == ['--flag', '-c']; del sys.argv[2:]\n" + CODE["urllib.request"]
    )
    (tmp_path / "beside.py").write_text("")
    assert word(run(bed, str(script), url(bed, "nominal"), "--flag", "-c")) == ["accepted"]
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__main__.py").write_text(CODE["urllib.request"])
    ran = run(bed, "-m", "package", url(bed, "nominal"), PYTHONPATH=str(tmp_path))
    assert word(ran) == ["accepted"]
    assert not shown(bed, "nominal")


@pytest.mark.parametrize(
    ("code", "status"), [("import sys; sys.exit(7)", 7), ("raise KeyError('x')", 1), ("", 0)]
)
def test_exit_codes_are_the_programs(bed, code, status):
    assert run(bed, "-c", code).returncode == status


def test_what_is_no_program_is_the_command(bed):
    assert run(bed, "--version").stdout.startswith("ech ")
    assert "lookup" in run(bed, "--help").stdout
    assert run(bed, "-c").returncode == 2
    assert "no such file" in run(bed, "missing.py").stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "subprocess"])
def test_children_do_as_their_parent(bed, tmp_path, method):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing, subprocess, sys, urllib.request

        def fetch(url):
            print(urllib.request.urlopen(url).read().decode(), flush=True)

        if __name__ == "__main__":
            url, method = sys.argv[1:]
            if method == "fork":
                fetch(url)  # with look-ups and contexts made
            if method == "subprocess":
                code = f"import urllib.request; print(urllib.request.urlopen({url!r}).read().decode())"
                subprocess.run([sys.executable, "-c", code], check=True)
            else:
                child = multiprocessing.get_context(method).Process(target=fetch, args=(url,))
                child.start()
                child.join()
                sys.exit(child.exitcode)
        """)
    )
    pages = word(run(bed, str(script), url(bed, "nominal"), method))
    assert pages == ["accepted"] * (2 if method == "fork" else 1)
    assert not shown(bed, "nominal")


def test_another_sitecustomize_is_run_as_well(bed, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('customized', flush=True)")
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    ran = run(bed, "-c", code, PYTHONPATH=str(tmp_path))
    assert ran.stdout.splitlines() == ["customized", "customized"]


def test_one_variable_turns_it_off(bed):
    code = "import ssl, socket; print(ssl.SSLContext.__module__, socket.getaddrinfo.__module__)"
    assert run(bed, "-c", code).stdout.split() == ["echkit._inject", "echkit._inject"]
    assert run(bed, "-c", code, ECHKIT_ECH="off").stdout.split() == ["ssl", "socket"]
    inside = f"import echkit; echkit.inject_into_ssl(); {code}"
    assert run(bed, "-c", inside, program=None, ECHKIT_ECH="off").stdout.split() == ["ssl", "socket"]
    wrong = run(bed, "-c", code, ECHKIT_ECH="perhaps")
    assert wrong.returncode == 2 and "off, prefer or require" in wrong.stderr


def test_servers_and_clients_of_the_machine_itself_go_on(bed):
    code = f"""
        import asyncio, ssl
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain({str(CERTS / "secret.example.pem")!r})
        asking = ssl.create_default_context(cafile={str(CERTS / "ca.pem")!r})
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()
        asking.check_hostname = False
        async def one():
            server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving)
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("localhost", port, ssl=asking)
            writer.write(b"hello\\n")
            print((await reader.readline()).decode().strip(), type(serving).__module__)
            writer.close()
        asyncio.run(one())
    """
    ran = run(bed, "-c", textwrap.dedent(code))
    assert ran.stdout.split() == ["hello", "echkit._inject"], ran.stderr


# Proxies.


def test_a_proxy_of_the_environment_is_refused(bed):
    ran = run(bed, "-c", CODE["requests"], url(bed, "nominal"), HTTPS_PROXY="http://127.0.0.1:9")
    assert ran.returncode == 2 and "HTTPS_PROXY is set" in ran.stderr
    assert sent(bed, "nominal") == []


THROUGH = {
    "urllib.request": """
        import urllib.request as r
        handler = r.ProxyHandler({"https": sys.argv[2]})
        print(r.build_opener(handler).open(sys.argv[1]).read().decode())
    """,
    "requests": """
        import requests
        print(requests.get(sys.argv[1], proxies={"https": sys.argv[2]}).text)
    """,
    "urllib3": """
        import urllib3
        print(urllib3.ProxyManager(sys.argv[2]).request("GET", sys.argv[1]).data.decode())
    """,
    "httpx": """
        import httpx
        print(httpx.get(sys.argv[1], proxy=sys.argv[2]).text)
    """,
    "httpx-asyncio": """
        import asyncio, httpx
        async def main():
            async with httpx.AsyncClient(proxy=sys.argv[2]) as client:
                print((await client.get(sys.argv[1])).text)
        asyncio.run(main())
    """,
    "aiohttp": """
        import asyncio, aiohttp
        async def main():
            async with aiohttp.ClientSession() as session:
                async with session.get(sys.argv[1], proxy=sys.argv[2]) as response:
                    print(await response.text())
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize(
    ("library", "scheme"),
    [*((name, "http") for name in THROUGH), ("requests", "socks5h"), ("httpx", "socks5"),
     ("httpx-asyncio", "socks5")],
)
def test_a_proxy_is_not_told_a_name_that_ech_hides(bed, library, scheme):
    code = "import sys\n" + textwrap.dedent(THROUGH[library])
    with Proxy() as proxy:
        ran = run(bed, "-c", code, url(bed, "nominal"), proxy.url(scheme))
        assert ran.returncode != 0 and "a proxy would be told the name" in ran.stderr
        assert proxy.asked == [] and not proxy.shows("nominal.ech.test")
        if (library, scheme) in (("urllib.request", "http"), ("httpx", "socks5")):
            assert word(run(bed, "-c", code, url(bed, "no-record"), proxy.url(scheme))) == ["off"]


# From inside.


def test_what_was_replaced_is_put_back():
    import socket

    import urllib3.util.ssl_

    before = standard.SSLContext, socket.getaddrinfo, vars(standard.SSLContext)["options"]
    older = standard.create_default_context()
    echkit.inject_into_ssl()
    try:
        echkit.inject_into_ssl()
        made = standard.create_default_context()
        assert isinstance(made, echkit.DiscoveringSSLContext) and isinstance(made, standard.SSLContext)
        assert isinstance(older, standard.SSLContext)
        assert urllib3.util.ssl_.SSLContext is standard.SSLContext is not before[0]
        for context in (made, older):
            context.minimum_version = standard.TLSVersion.TLSv1_3
            context.verify_flags |= standard.VERIFY_CRL_CHECK_LEAF
            context.check_hostname = False
            context.verify_mode = standard.CERT_NONE
            context.options |= standard.OP_NO_TICKET
            assert context.minimum_version == standard.TLSVersion.TLSv1_3
            assert context.options & standard.OP_NO_TICKET
    finally:
        echkit.extract_from_ssl()
    after = standard.SSLContext, socket.getaddrinfo, vars(standard.SSLContext)["options"]
    assert after == before
    assert urllib3.util.ssl_.SSLContext is before[0]
    assert type(standard.create_default_context()) is before[0]
    echkit.extract_from_ssl()


def test_names_of_the_machine_and_addresses_are_the_systems():
    import socket

    known = {host: socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM) for host in ("127.0.0.1", "localhost")}
    echkit.inject_into_ssl()
    try:
        for host, expected in known.items():
            assert socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM) == expected
        assert socket.getaddrinfo(None, 0, flags=socket.AI_PASSIVE, type=socket.SOCK_STREAM)
        assert socket.getaddrinfo("127.0.0.1", "https", type=socket.SOCK_STREAM)
    finally:
        echkit.extract_from_ssl()
