"""The libraries that have an adapter, behind one face.

``LIBRARIES[name](testbed, **options)`` is a session: ``get(url)`` gives a :class:`Page`, and raises what the
library raises. Options are ``ech``, ``proxy``, ``proxy_resolves``, ``verify`` (a path, or ``False``), ``cert``
(a path), ``timeout``, and ``together`` for requests side by side.
"""

import contextlib
import json
import typing
import urllib.parse

from echkit import report_of


class Page(typing.NamedTuple):
    text: str
    report: typing.Any
    version: str = "HTTP/1.1"

    @property
    def server(self):
        """The server's own word about ECH."""
        return json.loads(self.text)["ech"]["status"]


class Session:
    """What all have in common."""

    http2 = False
    redirects = True
    keeps_alive = True
    proxies = ("http", "socks5")
    verifies_by_environment = None  # the variable that names a file of certificates to trust

    def __init__(self, bed, *, ech="prefer", proxy=None, proxy_resolves=False, verify=None,
                 cert=None, timeout=60, together=False):
        self.bed, self.proxy, self.timeout = bed, proxy, timeout
        self.verify = bed.ca_file if verify is None else verify
        self.cert = cert
        self.together = together
        self.ech = {"ech": ech, "dns": bed.dns}
        if proxy_resolves:
            self.ech["proxy_resolves"] = True
        self.open()

    def open(self):
        pass

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Urllib3(Session):
    verifies_by_environment = "SSL_CERT_FILE"

    def open(self):
        import echkit.urllib3

        options = {"timeout": self.timeout, "maxsize": 50, "retries": False, **self.ech}
        if self.verify == "environment":
            pass
        elif self.verify:
            options["ca_certs"] = self.verify
        else:
            options["cert_reqs"] = "CERT_NONE"
        if self.cert:
            options["cert_file"] = self.cert
        if self.proxy is None:
            self.pool = echkit.urllib3.PoolManager(**options)
        elif self.proxy.startswith("socks"):
            self.pool = echkit.urllib3.SOCKSProxyManager(self.proxy, **options)
        else:
            self.pool = echkit.urllib3.ProxyManager(self.proxy, **options)

    def get(self, url):
        import urllib3

        found = self.pool.request("GET", url, retries=urllib3.Retry(3, connect=0, read=0, other=0))
        return Page(found.data.decode(), report_of(found))

    def close(self):
        self.pool.clear()


class Requests(Session):
    verifies_by_environment = "REQUESTS_CA_BUNDLE"

    def open(self):
        import echkit.requests

        self.session = echkit.requests.Session(**self.ech)
        if self.verify != "environment":
            self.session.verify = self.verify
            # Else the environment's certificates count in place of the session's.
            self.session.trust_env = False
        self.session.cert = self.cert
        if self.proxy:
            self.session.proxies = {"https": self.proxy}

    def get(self, url):
        found = self.session.get(url, timeout=self.timeout)
        return Page(found.text, report_of(found))

    def close(self):
        self.session.close()


def _context(session):
    import echkit

    if session.verify == "environment":
        made = echkit.create_default_context()
    else:
        made = echkit.create_default_context(cafile=session.verify or None)
    if not session.verify:
        made.check_hostname = False
        made.verify_mode = echkit.ssl.CERT_NONE
    if session.cert:
        made.load_cert_chain(session.cert)
    return made


class HttpClient(Session):
    redirects = False
    proxies = ("http",)
    verifies_by_environment = "SSL_CERT_FILE"

    def open(self):
        self.context = _context(self)
        self.kept = {}
        import echkit.http
        from echkit._dialing import Dialer

        self.dialer = Dialer(**self.ech)
        self.connection = echkit.http.HTTPSConnection

    def get(self, url):
        parts = urllib.parse.urlsplit(url)
        origin = parts.hostname, parts.port or 443
        # One connection serves one thread at a time.
        free = self.kept.setdefault(origin, [])
        connection = free.pop() if free else self.made(*origin)
        connection.request("GET", f"{parts.path}?{parts.query}")
        found = connection.getresponse()
        page = Page(found.read().decode(), report_of(found))
        free.append(connection)
        return page

    def made(self, host, port):
        options = {"context": self.context, "timeout": self.timeout, "dialer": self.dialer}
        if self.proxy is None:
            return self.connection(host, port, **options)
        proxy = urllib.parse.urlsplit(self.proxy)
        made = self.connection(proxy.hostname, proxy.port, **options)
        made.set_tunnel(host, port, headers={"X-Proxy": "yes", "Host": f"{host}:{port}"})
        return made

    def close(self):
        for connections in self.kept.values():
            for connection in connections:
                connection.close()


class UrllibRequest(Session):
    keeps_alive = False
    proxies = ("http",)
    verifies_by_environment = "SSL_CERT_FILE"

    def open(self):
        import urllib.request

        import echkit.http

        handlers = [echkit.http.HTTPSHandler(context=_context(self), **self.ech)]
        handlers.append(urllib.request.ProxyHandler({"https": self.proxy} if self.proxy else {}))
        self.opener = urllib.request.build_opener(*handlers)

    def get(self, url):
        with self.opener.open(url, timeout=self.timeout) as found:
            return Page(found.read().decode(), report_of(found))


class Httpx(Session):
    http2 = True
    # Threads that share a connection of HTTP/2 break it, with stock httpx too.
    http2_together = False
    verifies_by_environment = "SSL_CERT_FILE"

    def transport(self):
        import echkit.httpx

        options = {"verify": {"environment": True}.get(self.verify, self.verify), "cert": self.cert}
        options |= {"http2": self.http2_together or not self.together, "proxy": self.proxy, **self.ech}
        return getattr(echkit.httpx, self.kind)(**options)

    kind = "HTTPTransport"

    def open(self):
        import httpx

        self.client = httpx.Client(
            transport=self.transport(), timeout=self.timeout, follow_redirects=True
        )

    def get(self, url):
        found = self.client.get(url)
        return Page(found.text, report_of(found), found.http_version)

    def close(self):
        self.client.close()


class InLoop:
    """A session in an event loop, which runs in a thread of its own."""

    backend = "asyncio"
    loop_options = {}

    def open(self):
        import anyio.from_thread

        self.stack = contextlib.ExitStack()
        self.portal = self.stack.enter_context(
            anyio.from_thread.start_blocking_portal(self.backend, self.loop_options)
        )
        try:
            self.portal.call(self.open_soon)
        except BaseException:
            self.stack.close()
            raise

    def get(self, url):
        return self.portal.call(self.get_soon, url)

    def close(self):
        self.portal.call(self.close_soon)
        self.stack.close()


class HttpxAsync(InLoop, Httpx):
    kind = "AsyncHTTPTransport"
    http2_together = True

    async def open_soon(self):
        import httpx

        self.client = httpx.AsyncClient(
            transport=self.transport(), timeout=self.timeout, follow_redirects=True
        )

    async def get_soon(self, url):
        found = await self.client.get(url)
        return Page(found.text, report_of(found), found.http_version)

    async def close_soon(self):
        await self.client.aclose()


class HttpxTrio(HttpxAsync):
    backend = "trio"


class Aiohttp(InLoop, Session):
    proxies = ("http",)
    verifies_by_environment = "SSL_CERT_FILE"

    async def open_soon(self):
        import aiohttp

        import echkit.aiohttp

        options = {"ssl": True if self.verify == "environment" else _context(self), **self.ech}
        timeout = aiohttp.ClientTimeout(sock_connect=self.timeout)
        self.session = aiohttp.ClientSession(
            connector=echkit.aiohttp.TCPConnector(**options), timeout=timeout
        )

    async def get_soon(self, url):
        async with self.session.get(url, proxy=self.proxy) as found:
            return Page(await found.text(), report_of(found))

    async def close_soon(self):
        await self.session.close()


class AiohttpUvloop(Aiohttp):
    loop_options = {"use_uvloop": True}


class Streams(InLoop, Session):
    redirects = keeps_alive = False
    proxies = ()
    verifies_by_environment = "SSL_CERT_FILE"

    async def open_soon(self):
        self.context = _context(self)

    async def get_soon(self, url):
        import echkit.asyncio

        parts = urllib.parse.urlsplit(url)
        reader, writer = await echkit.asyncio.open_connection(
            parts.hostname, parts.port or 443, ssl=self.context, timeout=self.timeout, **self.ech
        )
        request = f"GET {parts.path}?{parts.query} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n"
        writer.write(request.encode())
        page = await reader.read()
        writer.close()
        return Page(page.partition(b"\r\n\r\n")[2].decode(), report_of(writer))

    async def close_soon(self):
        pass


class StreamsUvloop(Streams):
    loop_options = {"use_uvloop": True}


class Websockets(InLoop, Session):
    """The testbed's servers speak no WebSocket: the answer is the page, within an error."""

    redirects = keeps_alive = False
    verifies_by_environment = "SSL_CERT_FILE"

    async def open_soon(self):
        self.context = _context(self)

    async def get_soon(self, url):
        import websockets

        import echkit.websockets

        found = []

        class Connection(websockets.asyncio.client.ClientConnection):
            def connection_made(self, transport):
                found.append(self)
                super().connection_made(transport)

        try:
            await echkit.websockets.connect(
                url.replace("https", "wss"), ssl=self.context, proxy=self.proxy,
                open_timeout=self.timeout, create_connection=Connection, **self.ech
            )
        except websockets.InvalidStatus as answered:
            return Page(answered.response.body.decode(), report_of(found[-1]))

    async def close_soon(self):
        pass


LIBRARIES = {
    "urllib3": Urllib3,
    "requests": Requests,
    "http.client": HttpClient,
    "urllib.request": UrllibRequest,
    "httpx": Httpx,
    "httpx-asyncio": HttpxAsync,
    "httpx-trio": HttpxTrio,
    "aiohttp": Aiohttp,
    "aiohttp-uvloop": AiohttpUvloop,
    "asyncio": Streams,
    "uvloop": StreamsUvloop,
    "websockets": Websockets,
}
