"""The libraries that have an adapter, behind one face.

``LIBRARIES[name](testbed, **options)`` is a session: ``get(url)`` gives a :class:`Page`, and raises what the
library raises. Options are ``ech``, ``proxy``, ``proxy_resolves``, ``verify`` (a path, or ``False``), ``cert``
(a path) and ``timeout``.
"""

import json
import typing
import urllib.parse

from echkit import report_of


class Page(typing.NamedTuple):
    text: str
    report: typing.Any

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
                 cert=None, timeout=60):
        self.bed, self.proxy, self.timeout = bed, proxy, timeout
        self.verify = bed.ca_file if verify is None else verify
        self.cert = cert
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


LIBRARIES = {
    "urllib3": Urllib3,
    "requests": Requests,
    "http.client": HttpClient,
    "urllib.request": UrllibRequest,
}
