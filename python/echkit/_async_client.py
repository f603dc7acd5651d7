"""``AsyncClient``: the HTTP client for asyncio."""

from __future__ import annotations

import collections.abc
import contextlib
import time
import typing

from . import _fork as _fork
from ._exceptions import RequestError
from ._inbox import afeed, inbox
from ._options import ClientBase, Prepared, RequestOptions
from ._response import Response


class AsyncClient(ClientBase):
    """An HTTP client with Encrypted Client Hello, for asyncio.

    It keeps connections and cookies between requests. A task that is cancelled ends its request.
    """

    async def request(self, method: str, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a request, and read its response."""
        return await self._send(self._prepare(method, url, **options), stream=False)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: str, **options: typing.Unpack[RequestOptions]
    ) -> collections.abc.AsyncIterator[Response]:
        """Send a request; its response is read by the caller, and closed at the end of ``with``."""
        response = await self._send(self._prepare(method, url, **options), stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def get(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a GET request."""
        return await self.request("GET", url, **options)

    async def options(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send an OPTIONS request."""
        return await self.request("OPTIONS", url, **options)

    async def head(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a HEAD request."""
        return await self.request("HEAD", url, **options)

    async def post(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a POST request."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a PUT request."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a PATCH request."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: typing.Unpack[RequestOptions]) -> Response:
        """Send a DELETE request."""
        return await self.request("DELETE", url, **options)

    async def aclose(self) -> None:
        """Close its connections."""
        self._client.close()

    async def _send(self, prepared: Prepared, stream: bool) -> Response:
        request, exchange, parts = prepared
        begun = time.perf_counter()
        events = inbox()
        try:
            if parts is None and not stream:
                _, content = await events.run(exchange.begin_whole)
                response = Response(request, exchange, None, begun)
                response._complete(content or b"")
                return response
            while (await events.run(exchange.begin_step))[0] == "more":
                await afeed(exchange, parts)
        except RequestError as error:
            error.request = request
            raise
        except BaseException:
            # A body that failed, or a task that was cancelled.
            exchange.close()
            raise
        response = Response(request, exchange, parts, begun)
        if not stream:
            await response.aread()
        return response

    async def __aenter__(self) -> typing.Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
