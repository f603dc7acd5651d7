"""The HTTP client: ``echkit.get`` and the like, and ``Client``."""

from __future__ import annotations

import collections.abc
import contextlib
import time
import typing

from . import _fork as _fork, _log
from ._exceptions import RequestError
from ._options import CallOptions, ClientBase, ClientOptions, Prepared, RequestOptions
from ._response import Response, feed


class Client(ClientBase):
    """An HTTP client with Encrypted Client Hello, for threads.

    It keeps connections and cookies between requests; threads may share it.
    """

    def request(self, method: str, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a request, and read its response."""
        return self._send(self._prepare(method, url, **options), stream=False)

    @contextlib.contextmanager
    def stream(
        self, method: str, url: str, **options: typing.Unpack[RequestOptions]
    ) -> collections.abc.Iterator[Response]:
        """Send a request; its response is read by the caller, and closed at the end of ``with``."""
        response = self._send(self._prepare(method, url, **options), stream=True)
        try:
            yield response
        finally:
            response.close()

    def get(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a GET request."""
        return self.request("GET", url, **options)

    def options(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send an OPTIONS request."""
        return self.request("OPTIONS", url, **options)

    def head(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a HEAD request."""
        return self.request("HEAD", url, **options)

    def post(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a POST request."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a PUT request."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a PATCH request."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a DELETE request."""
        return self.request("DELETE", url, **options)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _send(self, prepared: Prepared, stream: bool) -> Response:
        request, exchange, parts = prepared
        if isinstance(parts, collections.abc.AsyncIterator):
            exchange.close()
            raise TypeError("an asynchronous body needs an AsyncClient")
        begun = time.perf_counter()
        _log.follow()
        try:
            if parts is None and not stream:
                _, content = exchange.whole()
                response = Response(request, exchange, None, begun)
                response._complete(content or b"")
                return response
            while exchange.step()[0] == "more":
                feed(exchange, parts)
        except RequestError as error:
            error.request = request
            raise
        except BaseException:
            # A body that failed, or Ctrl-C.
            exchange.close()
            raise
        finally:
            _log.deliver()
        response = Response(request, exchange, parts, begun)
        if not stream:
            response.read()
        return response

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_CLIENT = frozenset(ClientOptions.__annotations__)


def _split(options: collections.abc.Mapping[str, typing.Any]) -> tuple[typing.Any, typing.Any]:
    """Those of a client alone, and those of the request."""
    client = {name: options[name] for name in options if name in _CLIENT}
    return client, {name: options[name] for name in options if name not in client}


def request(method: str, url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one request over a connection of its own. It takes what :class:`Client` takes too."""
    settings, own = _split(options)
    with Client(**settings) as client:
        return client.request(method, url, **own)


@contextlib.contextmanager
def stream(
    method: str, url: str, **options: typing.Unpack[CallOptions]
) -> collections.abc.Iterator[Response]:
    """Send one request; its response is read by the caller, and closed at the end of ``with``."""
    settings, own = _split(options)
    with Client(**settings) as client, client.stream(method, url, **own) as response:
        yield response


def get(url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one GET request."""
    return request("GET", url, **options)


def options(url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one OPTIONS request."""
    return request("OPTIONS", url, **options)


def head(url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one HEAD request."""
    return request("HEAD", url, **options)


def post(url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one POST request."""
    return request("POST", url, **options)


def put(url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one PUT request."""
    return request("PUT", url, **options)


def patch(url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one PATCH request."""
    return request("PATCH", url, **options)


def delete(url: str, **options: typing.Unpack[CallOptions]) -> Response:
    """Send one DELETE request."""
    return request("DELETE", url, **options)
