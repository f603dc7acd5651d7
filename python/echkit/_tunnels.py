"""CONNECT requests of ``http.client`` that name an address in place of a hidden host."""

from __future__ import annotations

import http.client
import typing


class TunnelsByAddress(http.client.HTTPConnection):
    """Asks an HTTP proxy for ``echkit_destination`` where that is set."""

    echkit_destination: tuple[str, int] | None = None
    _tunnel_host: str | None
    _tunnel_port: int | None
    _tunnel_headers: typing.Any

    def _tunnel(self) -> None:
        told = self.echkit_destination
        if told is None:
            super()._tunnel()  # type: ignore[misc]
            return
        named = self._tunnel_host, self._tunnel_port, self._tunnel_headers
        # http.client of 3.12 and later sends Host as well; what a caller set there names the host too.
        headers = {k: v for k, v in dict(self._tunnel_headers).items() if k.lower() != "host"}
        host = f"[{told[0]}]" if ":" in told[0] else told[0]
        headers["Host"] = f"{host}:{told[1]}"
        self._tunnel_host, self._tunnel_port, self._tunnel_headers = host, told[1], headers
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self._tunnel_host, self._tunnel_port, self._tunnel_headers = named
