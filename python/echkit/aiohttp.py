"""ECH for aiohttp: a connector for client sessions.

::

    async with aiohttp.ClientSession(connector=echkit.aiohttp.TCPConnector()) as session:
        async with session.get("https://example.com/") as response:
            print(echkit.report_of(response).status)
"""

from __future__ import annotations

import os
import socket
import ssl as _std
import typing

import aiohttp
import aiohttp.client_exceptions

from . import ssl
from ._asyncio import ProxyUnreached, connect
from ._context import DiscoveringSSLContext, create_default_context
from ._dialing import Dialer, checked
from ._proxy_dialogue import ProxyRefusal, Through, refuse_lookups

__all__ = ["TCPConnector"]

_Path = str | os.PathLike[str]


class TCPConnector(aiohttp.TCPConnector):
    """``aiohttp.TCPConnector`` whose TLS connections are made with ECH. Other arguments are aiohttp's;
    its resolver is used for proxies and for ``http`` alone."""

    def __init__(
        self,
        *,
        ech: typing.Literal["prefer", "require"] = "prefer",
        dns: str | None = None,
        dns_cafile: _Path | None = None,
        proxy_resolves: bool = False,
        **kwargs: typing.Any,
    ) -> None:
        checked(kwargs.get("ssl_context"))
        if isinstance(kwargs.get("ssl"), _std.SSLContext):
            checked(kwargs["ssl"])
        super().__init__(**kwargs)
        self._dialer = Dialer(ech, dns, dns_cafile, proxy_resolves=proxy_resolves)
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def _get_ssl_context(self, req: typing.Any) -> typing.Any:
        if not req.is_ssl():
            return None
        chosen = self._ssl if req.ssl is True else req.ssl
        if isinstance(chosen, _std.SSLContext):
            return checked(chosen)
        # As aiohttp makes them, once for each connector.
        verified = chosen is True
        if verified not in self._contexts:
            made: ssl.SSLContext
            if verified:
                made = create_default_context()
            else:
                made = DiscoveringSSLContext(_std.PROTOCOL_TLS_CLIENT)
                made.check_hostname = False
                made.verify_mode = _std.CERT_NONE
            made.set_alpn_protocols(["http/1.1"])
            self._contexts[verified] = made
        return self._contexts[verified]

    async def _create_connection(
        self, req: typing.Any, traces: typing.Any, timeout: aiohttp.ClientTimeout
    ) -> typing.Any:
        if not req.is_ssl():
            return await super()._create_connection(req, traces, timeout)
        key = req.connection_key
        try:
            transport, protocol, report = await connect(
                self._dialer,
                self._factory,
                req.url.raw_host,
                req.port,
                self._get_ssl_context(req),
                timeout=timeout.sock_connect,
                server_name=req.server_hostname,
                through=self._through(req),
                source_address=self._source(),
            )
        except TimeoutError:
            raise
        except _std.SSLCertVerificationError as error:
            raise aiohttp.ClientConnectorCertificateError(key, error) from error
        except _std.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(key, error) from error
        except socket.gaierror as error:
            raise aiohttp.client_exceptions.ClientConnectorDNSError(key, error) from error
        except (ProxyUnreached, ProxyRefusal) as error:
            told = OSError(error.errno, error.strerror or str(error))
            raise aiohttp.ClientProxyConnectionError(key, told) from error
        except OSError as error:
            raise aiohttp.ClientConnectorError(key, error) from error
        protocol.ech_report = report  # type: ignore[attr-defined]
        fingerprint = self._get_fingerprint(req)
        if fingerprint:
            try:
                fingerprint.check(transport)
            except aiohttp.ServerFingerprintMismatch:
                transport.close()
                raise
        return protocol

    def _through(self, req: typing.Any) -> Through | None:
        if req.proxy is None:
            return None
        auth = req.proxy_auth
        if auth is None and req.proxy.user is not None:
            auth = aiohttp.BasicAuth(req.proxy.user, req.proxy.password or "")
        port = req.proxy.port or 1080
        refuse_lookups(req.proxy.scheme, req.proxy.host, port, self._dialer.proxy_resolves)
        headers = tuple(
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in (req.proxy_headers or {}).items()
        )
        return Through(
            req.proxy.scheme,
            req.proxy.host,
            port,
            None if auth is None else (auth.login.encode(), auth.password.encode()),
            headers,
            None,
        )

    def _source(self) -> tuple[str, int] | None:
        if not self._local_addr_infos:
            return None
        address = self._local_addr_infos[0][4]
        return str(address[0]), int(address[1])
