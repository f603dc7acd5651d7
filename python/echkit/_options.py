"""The settings that clients and requests have."""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import typing

from . import _content, _echkit
from ._headers import HeaderTypes, pairs_of
from ._response import Request

if typing.TYPE_CHECKING:
    from ._cookies import Cookies

Path = str | os.PathLike[str]
CertTypes = Path | tuple[Path, Path] | tuple[Path, Path, str | bytes | None]
AuthTypes = tuple[str, str] | None
ParamTypes = (
    collections.abc.Mapping[str, typing.Any]
    | collections.abc.Iterable[tuple[str, typing.Any]]
    | str
    | None
)
CookieTypes = collections.abc.Mapping[str, str] | None


@dataclasses.dataclass(frozen=True)
class Timeout:
    """Limits in seconds; ``None`` is no limit."""

    connect: float | None = 30.0
    """A connection: DNS, TCP and TLS, with every attempt. Within it DNS has 10 seconds, one TCP
    connection 10 and one handshake 15."""
    read: float | None = 60.0
    """How long a server may be idle: before it takes the next part of a body, before its response,
    and within it."""
    total: float | None = None
    """The whole, redirects and the response's body included."""


TimeoutTypes = float | tuple[float | None, float | None] | Timeout | None


class Unset:
    """What was not given, where ``None`` means something."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: typing.Final = Unset()


def timeout_of(given: TimeoutTypes) -> Timeout:
    """Limits as a caller gives them: a number is for connecting and for reading."""
    if isinstance(given, Timeout):
        return given
    if given is None:
        return Timeout(None, None, None)
    if isinstance(given, tuple):
        connect, read = given
        return Timeout(connect, read)
    if isinstance(given, int | float):
        return Timeout(given, given)
    raise TypeError(
        "timeout is a number of seconds, (connect, read), an echkit.Timeout or None, not "
        f"{type(given).__name__}"
    )


class ClientOptions(typing.TypedDict, total=False):
    """What clients take and requests do not."""

    verify: bool | Path
    cert: CertTypes | None
    http1: bool
    http2: bool
    proxy: str | None
    proxy_resolves: bool
    max_redirects: int
    base_url: str
    trust_env: bool
    ech: typing.Literal["prefer", "require", "grease", "off"]
    dns: str | None
    dns_cafile: Path | None
    retry: bool
    keep_alive: float | None
    max_body: int | None
    decompress: bool


class RequestOptions(typing.TypedDict, total=False):
    """What every request takes."""

    content: _content.ContentTypes | None
    data: _content.FormTypes | _content.ContentTypes | None
    files: _content.FilesTypes | None
    json: typing.Any
    params: ParamTypes
    headers: HeaderTypes
    cookies: CookieTypes
    auth: AuthTypes | Unset
    follow_redirects: bool | Unset
    timeout: TimeoutTypes | Unset


class CallOptions(RequestOptions, ClientOptions, total=False):
    """What a single request takes that has a client of its own."""


class Prepared(typing.NamedTuple):
    """A request that can be sent."""

    request: Request
    exchange: _echkit.Exchange
    parts: _content.Parts | None


class ClientBase:
    """What both kinds of client have."""

    def __init__(
        self,
        *,
        auth: AuthTypes = None,
        params: ParamTypes = None,
        headers: HeaderTypes = None,
        cookies: CookieTypes = None,
        verify: bool | Path = True,
        cert: CertTypes | None = None,
        http1: bool = True,
        http2: bool = True,
        proxy: str | None = None,
        proxy_resolves: bool = False,
        timeout: TimeoutTypes = Timeout(),
        follow_redirects: bool = False,
        max_redirects: int = 20,
        base_url: str = "",
        trust_env: bool = True,
        ech: typing.Literal["prefer", "require", "grease", "off"] = "prefer",
        dns: str | None = None,
        dns_cafile: Path | None = None,
        retry: bool = True,
        keep_alive: float | None = 60.0,
        max_body: int | None = None,
        decompress: bool = True,
    ) -> None:
        """``ech`` is how much Encrypted Client Hello is needed: ``"prefer"`` offers it where the
        host has it, ``"require"`` sends nothing that names the host without it, ``"grease"`` only
        looks like it, ``"off"`` does without. ``dns`` is the resolver as for :func:`echkit.lookup`,
        and ``retry`` whether a rejected offer may be followed by another connection.

        ``verify`` is ``False`` for no verification at all, or a PEM file of certificates to trust.
        ``cert`` is a client certificate: a PEM file, or certificate, key and password.

        ``proxy`` is an ``http://``, ``https://``, ``socks5://`` or ``socks5h://`` URL; without it
        and with ``trust_env`` the environment's variables count. It is told addresses, not names,
        unless ``proxy_resolves``.

        ``keep_alive`` is how many seconds a connection waits for its next request, ``max_body`` how
        long a body may be that is kept in memory.
        """
        if not (http1 or http2):
            raise ValueError("http1 and http2 are both off")
        self.timeout = timeout_of(timeout)
        self.follow_redirects = follow_redirects
        self.max_redirects = max_redirects
        self.base_url = base_url
        self._auth = _auth_of(auth)
        self._params = _content.params_of(params) or []
        self._cookies = dict(cookies or {})
        path = None if isinstance(verify, bool) else _path_of(verify)
        self._client = _echkit.HttpClient(
            ech=ech,
            dns=dns or os.environ.get("ECHKIT_DNS") or "system",
            dns_cafile=None if dns_cafile is None else os.fsdecode(dns_cafile),
            verify=verify is not False,
            cafile=path,
            identity=_identity_of(cert),
            proxy=proxy,
            environment=proxy_variables() if trust_env else [],
            proxy_resolves=proxy_resolves,
            http="any" if http1 and http2 else "2" if http2 else "1",
            headers=pairs_of(headers),
            keep_alive=keep_alive,
            body_limit=max_body,
            decompress=decompress,
            retry=retry,
        )

    def _prepare(
        self,
        method: str,
        url: str,
        *,
        content: _content.ContentTypes | None = None,
        data: _content.FormTypes | _content.ContentTypes | None = None,
        files: _content.FilesTypes | None = None,
        json: typing.Any = None,
        params: ParamTypes = None,
        headers: HeaderTypes = None,
        cookies: CookieTypes = None,
        auth: AuthTypes | Unset = UNSET,
        follow_redirects: bool | Unset = UNSET,
        timeout: TimeoutTypes | Unset = UNSET,
    ) -> Prepared:
        body = _content.content_of(content, data, files, json)
        limits = self.timeout if isinstance(timeout, Unset) else timeout_of(timeout)
        follow = self.follow_redirects if isinstance(follow_redirects, Unset) else follow_redirects
        fields = pairs_of(headers)
        names = {name.lower() for name, _ in fields}
        if body.type is not None and "content-type" not in names:
            fields.append(("content-type", body.type))
        sent = {**self._cookies, **(cookies or {})}
        if sent and "cookie" not in names:
            from ._cookies import header

            fields.append(("cookie", header(sent)))
        own = self._auth if isinstance(auth, Unset) else _auth_of(auth)
        query = self._params + (_content.params_of(params) or [])
        url = self._absolute(url)
        exchange = self._client.request(
            method.upper(),
            url,
            params=query or None,
            headers=fields,
            body=body.body,
            upload=body.parts is not None,
            length=body.length,
            auth=None if "authorization" in names else own,
            redirects=self.max_redirects if follow else None,
            limits=(limits.connect, limits.read, limits.total),
        )
        return Prepared(_request(method.upper(), url, fields), exchange, body.parts)

    def _absolute(self, url: str) -> str:
        if not isinstance(url, str):
            url = str(url)
        if not self.base_url or "://" in url.partition("?")[0]:
            return url
        return f"{self.base_url.rstrip('/')}/{url.lstrip('/')}" if url else self.base_url

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._client.is_closed

    @property
    def cookies(self) -> Cookies:
        """The cookies that servers have set."""
        from ._cookies import Cookies

        return Cookies(self._client)


def _request(method: str, url: str, fields: list[tuple[str, str]]) -> Request:
    from ._headers import Headers

    return Request(method, url, Headers(fields))


def _auth_of(auth: AuthTypes) -> tuple[str, str] | None:
    if auth is None:
        return None
    if isinstance(auth, tuple) and len(auth) == 2:
        user, password = auth
        return str(user), str(password)
    raise TypeError("auth is (user, password); send other schemes as an Authorization header")


def _path_of(verify: typing.Any) -> str:
    if not isinstance(verify, str | os.PathLike):
        raise TypeError(
            "verify is True, False or the path of a PEM file, not "
            f"{type(verify).__name__}; contexts of ssl do not apply here"
        )
    return os.fsdecode(verify)


def _identity_of(cert: CertTypes | None) -> _echkit.Identity | None:
    if cert is None:
        return None
    if not isinstance(cert, tuple):
        return _echkit.Identity.load(os.fsdecode(cert), os.fsdecode(cert), None)
    certfile, keyfile = cert[0], cert[1]
    password = cert[2] if len(cert) == 3 else None
    return _echkit.Identity.load(os.fsdecode(certfile), os.fsdecode(keyfile), password)


def proxy_variables() -> list[tuple[str, str]]:
    """The variables of the environment that name proxies and exceptions."""
    return [(name, value) for name, value in os.environ.items() if name.lower().endswith("_proxy")]
