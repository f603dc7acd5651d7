"""Requests and responses of the HTTP client."""

from __future__ import annotations

import codecs
import collections.abc
import time
import typing

from . import _echkit, _log
from ._exceptions import (
    HTTPStatusError,
    RequestError,
    ResponseNotRead,
    StreamClosed,
    StreamConsumed,
)
from ._headers import Headers

if typing.TYPE_CHECKING:
    import datetime

    from ._content import Parts
    from ._report import Report


class Request:
    """A request that was made."""

    __slots__ = ("headers", "method", "url")

    def __init__(self, method: str, url: str, headers: Headers) -> None:
        self.method = method
        self.url = url
        """The URL as it was given, with parameters that came apart left out."""
        self.headers = headers
        """The header fields that the caller gave."""

    def __repr__(self) -> str:
        return f"<Request({self.method!r}, {self.url!r})>"


class Response:
    """A response: its head, its body, and what became of Encrypted Client Hello."""

    request: Request
    history: list[Response]
    """The redirects before, without their bodies."""

    def __init__(
        self,
        request: Request,
        exchange: _echkit.Exchange,
        parts: Parts | None,
        begun: float,
    ) -> None:
        self.request = request
        self._exchange: _echkit.Exchange | None = exchange
        self._parts = parts
        self._begun = begun
        self._took: float | None = None
        self._content: bytes | None = None
        self._consumed = False
        self._closed = False
        self._encoding: str | None = None
        self._report: Report | None = None
        self._report_text: str | None = None
        self._status = exchange.status
        self._url = exchange.url
        self._version = exchange.version
        self._headers: Headers | None = None
        self.history = []
        for redirect in exchange.redirects():
            self.history.append(_redirect(request, begun, *redirect))

    # The head.

    @property
    def status_code(self) -> int:
        """The status code."""
        return self._status

    @property
    def reason_phrase(self) -> str:
        """The usual words for the status code."""
        from http import HTTPStatus

        try:
            return HTTPStatus(self._status).phrase
        except ValueError:
            return ""

    @property
    def http_version(self) -> str:
        """``HTTP/1.1`` or ``HTTP/2``."""
        return self._version

    @property
    def url(self) -> str:
        """The URL that it is from: after redirects, and ``https`` where ``http`` was upgraded."""
        return self._url

    @property
    def headers(self) -> Headers:
        """The header fields, as the server sent them."""
        if self._headers is None:
            assert self._exchange is not None
            self._headers = Headers(self._exchange.headers())
        return self._headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that this response sets, whether they were accepted or not."""
        found = {}
        for line in self.headers.get_list("set-cookie"):
            name, separator, value = line.partition(";")[0].partition("=")
            if separator:
                found[name.strip()] = value.strip()
        return found

    @property
    def is_informational(self) -> bool:
        """1xx."""
        return 100 <= self._status <= 199

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self._status <= 299

    @property
    def is_redirect(self) -> bool:
        """3xx."""
        return 300 <= self._status <= 399

    @property
    def has_redirect_location(self) -> bool:
        """A redirect that says where it leads."""
        return self._status in (301, 302, 303, 307, 308) and "location" in self.headers

    @property
    def is_client_error(self) -> bool:
        """4xx."""
        return 400 <= self._status <= 499

    @property
    def is_server_error(self) -> bool:
        """5xx."""
        return 500 <= self._status <= 599

    @property
    def is_error(self) -> bool:
        """4xx and 5xx."""
        return 400 <= self._status <= 599

    def raise_for_status(self) -> typing.Self:
        """Raise :class:`HTTPStatusError` unless the status is 2xx."""
        if self.is_success:
            return self
        error = HTTPStatusError(
            f"{self.url}: the server answered {self.status_code} {self.reason_phrase}".rstrip()
        )
        error.request, error.response, error.ech = self.request, self, self.ech
        raise error

    @property
    def ech(self) -> Report:
        """What its connection offered, showed and got."""
        if self._report is not None:
            return self._report
        from ._report import report

        text = self._report_text
        if text is None:
            assert self._exchange is not None
            text = self._exchange.report()
            assert text is not None
        found = report(text)
        if self._closed:
            # It changes no more.
            self._report = found
        return found

    @property
    def elapsed(self) -> datetime.timedelta:
        """From the request to the end of the response."""
        from datetime import timedelta

        if self._took is None:
            raise RuntimeError("elapsed is known once the response was read or closed")
        return timedelta(seconds=self._took)

    # The body.

    @property
    def is_closed(self) -> bool:
        """Whether it was read or closed."""
        return self._closed

    @property
    def is_stream_consumed(self) -> bool:
        """Whether its body was read, or begun."""
        return self._consumed

    @property
    def content(self) -> bytes:
        """The body."""
        if self._content is None:
            raise ResponseNotRead(f"{self.url}: call read() before the body of a stream is used")
        return self._content

    @property
    def charset_encoding(self) -> str | None:
        """The charset in Content-Type."""
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip("\"'") or None
        return None

    @property
    def encoding(self) -> str:
        """How ``text`` is decoded: as Content-Type says where Python knows that, else as UTF-8. It
        can be set."""
        if self._encoding is None:
            self._encoding = "utf-8"
            charset = self.charset_encoding
            if charset is not None:
                try:
                    codecs.lookup(charset)
                    self._encoding = charset
                except LookupError:
                    pass
        return self._encoding

    @encoding.setter
    def encoding(self, name: str) -> None:
        codecs.lookup(name)
        self._encoding = name

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(self.encoding, errors="replace")

    def json(self, **options: typing.Any) -> typing.Any:
        """The body, read as JSON; ``options`` are those of ``json.loads``."""
        import json

        return json.loads(self.content, **options)

    def read(self) -> bytes:
        """Read what is left of the body, and keep it."""
        if self._content is None:
            self._content = b"".join(self.iter_bytes())
        return self._content

    def iter_bytes(self, chunk_size: int | None = None) -> collections.abc.Iterator[bytes]:
        """The body in parts as they arrive, decompressed, or of ``chunk_size`` bytes."""
        return _rechunked(self._iter_parts(), chunk_size)

    def iter_text(self, chunk_size: int | None = None) -> collections.abc.Iterator[str]:
        """The body as text, in parts."""
        decoder = codecs.getincrementaldecoder(self.encoding)(errors="replace")
        for part in self.iter_bytes(chunk_size):
            if text := decoder.decode(part):
                yield text
        if text := decoder.decode(b"", True):
            yield text

    def iter_lines(self) -> collections.abc.Iterator[str]:
        """The body as lines, without their ends."""
        lines = _Lines()
        for text in self.iter_text():
            yield from lines.of(text)
        yield from lines.last()

    def close(self) -> None:
        """End it. A connection over HTTP/1.1 whose response was not read to its end is closed."""
        if not self._closed:
            self._end()
            if self._exchange is not None:
                self._exchange.close()

    def _iter_parts(self) -> collections.abc.Iterator[bytes]:
        if self._content is not None:
            yield self._content
            return
        exchange = self._begin()
        try:
            while True:
                try:
                    kind, part = exchange.step()
                finally:
                    _log.deliver()
                if kind == "part":
                    assert part is not None
                    yield part
                elif kind == "more":
                    feed(exchange, self._parts)
                else:
                    break
            self._end()
        except RequestError as error:
            error.request = self.request
            raise
        finally:
            self.close()

    async def aread(self) -> bytes:
        """``read`` for an event loop."""
        if self._content is None:
            self._content = b"".join([part async for part in self.aiter_bytes()])
        return self._content

    async def aiter_bytes(
        self, chunk_size: int | None = None
    ) -> collections.abc.AsyncIterator[bytes]:
        """``iter_bytes`` for an event loop."""
        chunks = _Chunks(chunk_size)
        async for part in self._aiter_parts():
            for chunk in chunks.of(part):
                yield chunk
        for chunk in chunks.last():
            yield chunk

    async def aiter_text(self, chunk_size: int | None = None) -> collections.abc.AsyncIterator[str]:
        """``iter_text`` for an event loop."""
        decoder = codecs.getincrementaldecoder(self.encoding)(errors="replace")
        async for part in self.aiter_bytes(chunk_size):
            if text := decoder.decode(part):
                yield text
        if text := decoder.decode(b"", True):
            yield text

    async def aiter_lines(self) -> collections.abc.AsyncIterator[str]:
        """``iter_lines`` for an event loop."""
        lines = _Lines()
        async for text in self.aiter_text():
            for line in lines.of(text):
                yield line
        for line in lines.last():
            yield line

    async def aclose(self) -> None:
        """``close`` for an event loop."""
        self.close()

    async def _aiter_parts(self) -> collections.abc.AsyncIterator[bytes]:
        if self._content is not None:
            yield self._content
            return
        from ._inbox import afeed, inbox

        exchange = self._begin()
        try:
            while True:
                kind, part = await inbox().run(exchange.begin_step)
                if kind == "part":
                    assert part is not None
                    yield part
                elif kind == "more":
                    await afeed(exchange, self._parts)
                else:
                    break
            self._end()
        except RequestError as error:
            error.request = self.request
            raise
        finally:
            self.close()

    def _begin(self) -> _echkit.Exchange:
        if self._consumed:
            raise StreamConsumed(f"{self.url}: the body was read already, and not kept")
        if self._closed or self._exchange is None:
            raise StreamClosed(f"{self.url}: the response was closed before its body was read")
        self._consumed = True
        return self._exchange

    def _end(self) -> None:
        """It has been read, or is given up: what is said about it changes no more."""
        if self._closed:
            return
        exchange = self._exchange
        assert exchange is not None
        self._report_text = exchange.report() or self._report_text
        self._closed = True
        self._took = time.perf_counter() - self._begun

    def _complete(self, content: bytes) -> None:
        """It came as a whole."""
        self._content = content
        self._consumed = self._closed = True
        self._took = time.perf_counter() - self._begun

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> typing.Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Response [{self.status_code} {self.reason_phrase}]>"


def _redirect(
    request: Request,
    begun: float,
    status: int,
    version: str,
    url: str,
    headers: list[tuple[str, str]],
    report: str | None,
) -> Response:
    response = Response.__new__(Response)
    response.request = Request(request.method, url, request.headers)
    response.history = []
    response._exchange = response._parts = response._encoding = response._report = None
    response._begun = begun
    response._status, response._version, response._url = status, version, url
    response._headers = Headers(headers)
    response._report_text = report
    response._took = 0.0
    response._content = b""
    response._consumed = response._closed = True
    return response


def feed(exchange: _echkit.Exchange, parts: Parts | None) -> None:
    """Give the next part of a request's body."""
    assert isinstance(parts, collections.abc.Iterator)
    try:
        exchange.feed(as_bytes(next((part for part in parts if part), None)))
    except BaseException:
        exchange.close()
        raise


def as_bytes(part: typing.Any) -> bytes | None:
    """A part of a body."""
    if part is None or isinstance(part, bytes):
        return part
    if isinstance(part, bytearray | memoryview):
        return bytes(part)
    if isinstance(part, str):
        return part.encode()
    raise TypeError(f"the parts of a body are bytes, not {type(part).__name__}")


class _Chunks:
    """Parts, cut anew."""

    def __init__(self, size: int | None) -> None:
        if size is not None and size < 1:
            raise ValueError("chunk_size is at least 1")
        self._size = size
        self._kept = bytearray()

    def of(self, part: bytes) -> collections.abc.Iterator[bytes]:
        if self._size is None:
            if part:
                yield part
            return
        self._kept += part
        while len(self._kept) >= self._size:
            chunk = bytes(self._kept[: self._size])
            del self._kept[: self._size]
            yield chunk

    def last(self) -> collections.abc.Iterator[bytes]:
        if self._kept:
            yield bytes(self._kept)


def _rechunked(
    parts: collections.abc.Iterator[bytes], size: int | None
) -> collections.abc.Iterator[bytes]:
    chunks = _Chunks(size)
    for part in parts:
        yield from chunks.of(part)
    yield from chunks.last()


class _Lines:
    """Text in parts, as lines."""

    def __init__(self) -> None:
        self._kept: list[str] = []

    def of(self, text: str) -> list[str]:
        if self._kept and self._kept[-1].endswith("\r"):
            text = self._kept.pop() + text
        lines = text.removesuffix("\r").splitlines(keepends=True)
        if not lines or (len(lines) == 1 and not _ends(lines[0])):
            self._kept.append(text)
            return []
        lines[0] = "".join([*self._kept, lines[0]])
        self._kept = [] if _ends(lines[-1]) else [lines.pop()]
        if text.endswith("\r"):
            # A line feed may follow in the next part.
            self._kept = ["".join(self._kept) + "\r"]
        return [line.splitlines()[0] for line in lines]

    def last(self) -> list[str]:
        return "".join(self._kept).splitlines()


def _ends(line: str) -> bool:
    return line.splitlines()[0] != line
