"""A superset of the standard ``ssl``: what is not here is the standard module's own."""

import collections.abc
import enum
import os
import socket
import ssl as _ssl
import sys
import typing
from ssl import (
    ALERT_DESCRIPTION_ACCESS_DENIED as ALERT_DESCRIPTION_ACCESS_DENIED,
    ALERT_DESCRIPTION_BAD_CERTIFICATE as ALERT_DESCRIPTION_BAD_CERTIFICATE,
    ALERT_DESCRIPTION_BAD_CERTIFICATE_HASH_VALUE as ALERT_DESCRIPTION_BAD_CERTIFICATE_HASH_VALUE,
    ALERT_DESCRIPTION_BAD_CERTIFICATE_STATUS_RESPONSE as ALERT_DESCRIPTION_BAD_CERTIFICATE_STATUS_RESPONSE,
    ALERT_DESCRIPTION_BAD_RECORD_MAC as ALERT_DESCRIPTION_BAD_RECORD_MAC,
    ALERT_DESCRIPTION_CERTIFICATE_EXPIRED as ALERT_DESCRIPTION_CERTIFICATE_EXPIRED,
    ALERT_DESCRIPTION_CERTIFICATE_REVOKED as ALERT_DESCRIPTION_CERTIFICATE_REVOKED,
    ALERT_DESCRIPTION_CERTIFICATE_UNKNOWN as ALERT_DESCRIPTION_CERTIFICATE_UNKNOWN,
    ALERT_DESCRIPTION_CERTIFICATE_UNOBTAINABLE as ALERT_DESCRIPTION_CERTIFICATE_UNOBTAINABLE,
    ALERT_DESCRIPTION_CLOSE_NOTIFY as ALERT_DESCRIPTION_CLOSE_NOTIFY,
    ALERT_DESCRIPTION_DECODE_ERROR as ALERT_DESCRIPTION_DECODE_ERROR,
    ALERT_DESCRIPTION_DECOMPRESSION_FAILURE as ALERT_DESCRIPTION_DECOMPRESSION_FAILURE,
    ALERT_DESCRIPTION_DECRYPT_ERROR as ALERT_DESCRIPTION_DECRYPT_ERROR,
    ALERT_DESCRIPTION_HANDSHAKE_FAILURE as ALERT_DESCRIPTION_HANDSHAKE_FAILURE,
    ALERT_DESCRIPTION_ILLEGAL_PARAMETER as ALERT_DESCRIPTION_ILLEGAL_PARAMETER,
    ALERT_DESCRIPTION_INSUFFICIENT_SECURITY as ALERT_DESCRIPTION_INSUFFICIENT_SECURITY,
    ALERT_DESCRIPTION_INTERNAL_ERROR as ALERT_DESCRIPTION_INTERNAL_ERROR,
    ALERT_DESCRIPTION_NO_RENEGOTIATION as ALERT_DESCRIPTION_NO_RENEGOTIATION,
    ALERT_DESCRIPTION_PROTOCOL_VERSION as ALERT_DESCRIPTION_PROTOCOL_VERSION,
    ALERT_DESCRIPTION_RECORD_OVERFLOW as ALERT_DESCRIPTION_RECORD_OVERFLOW,
    ALERT_DESCRIPTION_UNEXPECTED_MESSAGE as ALERT_DESCRIPTION_UNEXPECTED_MESSAGE,
    ALERT_DESCRIPTION_UNKNOWN_CA as ALERT_DESCRIPTION_UNKNOWN_CA,
    ALERT_DESCRIPTION_UNKNOWN_PSK_IDENTITY as ALERT_DESCRIPTION_UNKNOWN_PSK_IDENTITY,
    ALERT_DESCRIPTION_UNRECOGNIZED_NAME as ALERT_DESCRIPTION_UNRECOGNIZED_NAME,
    ALERT_DESCRIPTION_UNSUPPORTED_CERTIFICATE as ALERT_DESCRIPTION_UNSUPPORTED_CERTIFICATE,
    ALERT_DESCRIPTION_UNSUPPORTED_EXTENSION as ALERT_DESCRIPTION_UNSUPPORTED_EXTENSION,
    ALERT_DESCRIPTION_USER_CANCELLED as ALERT_DESCRIPTION_USER_CANCELLED,
    AlertDescription as AlertDescription,
    CERT_NONE as CERT_NONE,
    CERT_OPTIONAL as CERT_OPTIONAL,
    CERT_REQUIRED as CERT_REQUIRED,
    CertificateError as CertificateError,
    DER_cert_to_PEM_cert as DER_cert_to_PEM_cert,
    DefaultVerifyPaths as DefaultVerifyPaths,
    HAS_ALPN as HAS_ALPN,
    HAS_ECDH as HAS_ECDH,
    HAS_NEVER_CHECK_COMMON_NAME as HAS_NEVER_CHECK_COMMON_NAME,
    HAS_NPN as HAS_NPN,
    HAS_SNI as HAS_SNI,
    HAS_SSLv2 as HAS_SSLv2,
    HAS_SSLv3 as HAS_SSLv3,
    HAS_TLSv1 as HAS_TLSv1,
    HAS_TLSv1_1 as HAS_TLSv1_1,
    HAS_TLSv1_2 as HAS_TLSv1_2,
    HAS_TLSv1_3 as HAS_TLSv1_3,
    MemoryBIO as MemoryBIO,
    OPENSSL_VERSION as OPENSSL_VERSION,
    OPENSSL_VERSION_INFO as OPENSSL_VERSION_INFO,
    OPENSSL_VERSION_NUMBER as OPENSSL_VERSION_NUMBER,
    OP_ALL as OP_ALL,
    OP_CIPHER_SERVER_PREFERENCE as OP_CIPHER_SERVER_PREFERENCE,
    OP_ENABLE_MIDDLEBOX_COMPAT as OP_ENABLE_MIDDLEBOX_COMPAT,
    OP_IGNORE_UNEXPECTED_EOF as OP_IGNORE_UNEXPECTED_EOF,
    OP_NO_COMPRESSION as OP_NO_COMPRESSION,
    OP_NO_RENEGOTIATION as OP_NO_RENEGOTIATION,
    OP_NO_SSLv2 as OP_NO_SSLv2,
    OP_NO_SSLv3 as OP_NO_SSLv3,
    OP_NO_TICKET as OP_NO_TICKET,
    OP_NO_TLSv1 as OP_NO_TLSv1,
    OP_NO_TLSv1_1 as OP_NO_TLSv1_1,
    OP_NO_TLSv1_2 as OP_NO_TLSv1_2,
    OP_NO_TLSv1_3 as OP_NO_TLSv1_3,
    OP_SINGLE_DH_USE as OP_SINGLE_DH_USE,
    OP_SINGLE_ECDH_USE as OP_SINGLE_ECDH_USE,
    Options as Options,
    PEM_FOOTER as PEM_FOOTER,
    PEM_HEADER as PEM_HEADER,
    PEM_cert_to_DER_cert as PEM_cert_to_DER_cert,
    PROTOCOL_SSLv2 as PROTOCOL_SSLv2,
    PROTOCOL_SSLv23 as PROTOCOL_SSLv23,
    PROTOCOL_SSLv3 as PROTOCOL_SSLv3,
    PROTOCOL_TLS as PROTOCOL_TLS,
    PROTOCOL_TLS_CLIENT as PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER as PROTOCOL_TLS_SERVER,
    PROTOCOL_TLSv1 as PROTOCOL_TLSv1,
    PROTOCOL_TLSv1_1 as PROTOCOL_TLSv1_1,
    PROTOCOL_TLSv1_2 as PROTOCOL_TLSv1_2,
    Purpose as Purpose,
    RAND_add as RAND_add,
    RAND_bytes as RAND_bytes,
    RAND_status as RAND_status,
    SOCK_STREAM as SOCK_STREAM,
    SOL_SOCKET as SOL_SOCKET,
    SO_TYPE as SO_TYPE,
    SSLCertVerificationError as SSLCertVerificationError,
    SSLEOFError as SSLEOFError,
    SSLError as SSLError,
    SSLErrorNumber as SSLErrorNumber,
    SSLSyscallError as SSLSyscallError,
    SSLWantReadError as SSLWantReadError,
    SSLWantWriteError as SSLWantWriteError,
    SSLZeroReturnError as SSLZeroReturnError,
    SSL_ERROR_EOF as SSL_ERROR_EOF,
    SSL_ERROR_INVALID_ERROR_CODE as SSL_ERROR_INVALID_ERROR_CODE,
    SSL_ERROR_SSL as SSL_ERROR_SSL,
    SSL_ERROR_SYSCALL as SSL_ERROR_SYSCALL,
    SSL_ERROR_WANT_CONNECT as SSL_ERROR_WANT_CONNECT,
    SSL_ERROR_WANT_READ as SSL_ERROR_WANT_READ,
    SSL_ERROR_WANT_WRITE as SSL_ERROR_WANT_WRITE,
    SSL_ERROR_WANT_X509_LOOKUP as SSL_ERROR_WANT_X509_LOOKUP,
    SSL_ERROR_ZERO_RETURN as SSL_ERROR_ZERO_RETURN,
    TLSVersion as TLSVersion,
    VERIFY_ALLOW_PROXY_CERTS as VERIFY_ALLOW_PROXY_CERTS,
    VERIFY_CRL_CHECK_CHAIN as VERIFY_CRL_CHECK_CHAIN,
    VERIFY_CRL_CHECK_LEAF as VERIFY_CRL_CHECK_LEAF,
    VERIFY_DEFAULT as VERIFY_DEFAULT,
    VERIFY_X509_PARTIAL_CHAIN as VERIFY_X509_PARTIAL_CHAIN,
    VERIFY_X509_STRICT as VERIFY_X509_STRICT,
    VERIFY_X509_TRUSTED_FIRST as VERIFY_X509_TRUSTED_FIRST,
    VerifyFlags as VerifyFlags,
    VerifyMode as VerifyMode,
    cert_time_to_seconds as cert_time_to_seconds,
    get_default_verify_paths as get_default_verify_paths,
    get_protocol_name as get_protocol_name,
    socket_error as socket_error,
)

from typing_extensions import Buffer as _Buffer

from . import _echkit
from ._attempts import Attempt as _Attempt
from ._connection_report import ConnectionReport
from ._echkit import SSLSession as SSLSession

if sys.version_info >= (3, 12):
    from ssl import OP_ENABLE_KTLS as OP_ENABLE_KTLS
    from ssl import OP_LEGACY_SERVER_CONNECT as OP_LEGACY_SERVER_CONNECT
else:
    from ssl import RAND_pseudo_bytes as RAND_pseudo_bytes
    from ssl import match_hostname as match_hostname

_Path: typing.TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_under_way: typing.Callable[[str | None], _Attempt | None] | None
HAS_ECH: bool
HAS_PSK: bool
CHANNEL_BINDING_TYPES: list[str]
OP_ECH_GREASE: typing.Final[_ssl.Options]
OP_ECH_TRIALDECRYPT: typing.Final[_ssl.Options]
OP_ECH_IGNORE_CID: typing.Final[_ssl.Options]
OP_ECH_GREASE_RETRY_CONFIG: typing.Final[_ssl.Options]

class ECHRejectedError(_ssl.SSLError):
    retry_configs: bytes

class ECHStatus(enum.IntEnum):
    ECH_STATUS_BACKEND = 4
    ECH_STATUS_GREASE_ECH = 3
    ECH_STATUS_GREASE = 2
    ECH_STATUS_SUCCESS = 1
    ECH_STATUS_FAILED = 0
    ECH_STATUS_BAD_CALL = -100
    ECH_STATUS_NOT_TRIED = -101
    ECH_STATUS_BAD_NAME = -102
    ECH_STATUS_NOT_CONFIGURED = -103
    ECH_STATUS_FAILED_ECH = -105
    ECH_STATUS_FAILED_ECH_BAD_NAME = -106

ECH_STATUS_BACKEND: typing.Final = ECHStatus.ECH_STATUS_BACKEND
ECH_STATUS_GREASE_ECH: typing.Final = ECHStatus.ECH_STATUS_GREASE_ECH
ECH_STATUS_GREASE: typing.Final = ECHStatus.ECH_STATUS_GREASE
ECH_STATUS_SUCCESS: typing.Final = ECHStatus.ECH_STATUS_SUCCESS
ECH_STATUS_FAILED: typing.Final = ECHStatus.ECH_STATUS_FAILED
ECH_STATUS_BAD_CALL: typing.Final = ECHStatus.ECH_STATUS_BAD_CALL
ECH_STATUS_NOT_TRIED: typing.Final = ECHStatus.ECH_STATUS_NOT_TRIED
ECH_STATUS_BAD_NAME: typing.Final = ECHStatus.ECH_STATUS_BAD_NAME
ECH_STATUS_NOT_CONFIGURED: typing.Final = ECHStatus.ECH_STATUS_NOT_CONFIGURED
ECH_STATUS_FAILED_ECH: typing.Final = ECHStatus.ECH_STATUS_FAILED_ECH
ECH_STATUS_FAILED_ECH_BAD_NAME: typing.Final = ECHStatus.ECH_STATUS_FAILED_ECH_BAD_NAME

class SSLObject(_ssl.SSLObject):
    ech_report: ConnectionReport | None
    def get_ech_status(self) -> ECHStatus: ...
    def get_ech_retry_config(self) -> bytes | None: ...
    @property
    def inner_server_hostname(self) -> str | None: ...
    @property
    def outer_server_hostname(self) -> str | None: ...

class SSLSocket(_ssl.SSLSocket):
    # Where the standard class keeps them; subclasses in this package need them.
    do_handshake_on_connect: bool
    _connected: bool
    _session: SSLSession | None
    _sslobj: typing.Any
    ech_report: ConnectionReport | None
    def get_ech_status(self) -> ECHStatus: ...
    def get_ech_retry_config(self) -> bytes | None: ...
    @property
    def inner_server_hostname(self) -> str | None: ...
    @property
    def outer_server_hostname(self) -> str | None: ...

_SniCallback = collections.abc.Callable[[typing.Any, typing.Any, typing.Any], int | None]

class SSLContext(_ssl.SSLContext):
    sslobject_class: type[SSLObject]
    sslsocket_class: type[SSLSocket]
    _alpn: tuple[bytes, ...]
    def __new__(cls, *args: typing.Any, **kwargs: typing.Any) -> typing.Self: ...
    @property
    def options(self) -> _ssl.Options: ...
    @options.setter
    def options(self, value: int) -> None: ...
    @property
    def keylog_filename(self) -> str: ...
    @keylog_filename.setter
    def keylog_filename(self, path: str) -> None: ...
    @property
    def verify_flags(self) -> _ssl.VerifyFlags: ...
    @verify_flags.setter
    def verify_flags(self, value: int) -> None: ...
    @property
    def maximum_version(self) -> _ssl.TLSVersion: ...
    @maximum_version.setter
    def maximum_version(self, value: int) -> None: ...
    @property
    def hostname_checks_common_name(self) -> bool: ...
    @hostname_checks_common_name.setter
    def hostname_checks_common_name(self, value: bool) -> None: ...
    # The standard stub has functions of an `ssl.SSLObject` alone; sockets give an `SSLSocket`.
    @property
    def sni_callback(self) -> _SniCallback | None: ...
    @sni_callback.setter
    def sni_callback(self, value: _SniCallback | None) -> None: ...
    def set_ciphers(self, ciphers: str) -> None: ...
    def set_ecdh_curve(self, name: str | bytes) -> None: ...
    def load_cert_chain(
        self,
        certfile: _Path,
        keyfile: _Path | None = None,
        password: collections.abc.Callable[[], str | _Buffer] | str | _Buffer | None = None,
    ) -> None: ...
    def load_verify_locations(
        self,
        cafile: _Path | None = None,
        capath: _Path | None = None,
        cadata: str | _Buffer | None = None,
    ) -> None: ...
    def load_dh_params(self, path: _Path) -> typing.NoReturn: ...
    def set_psk_client_callback(self, callback: typing.Any) -> None: ...
    def set_psk_server_callback(
        self, callback: typing.Any, identity_hint: typing.Any = None
    ) -> None: ...
    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,  # type: ignore[override]
    ) -> SSLSocket: ...
    def wrap_bio(
        self,
        incoming: _ssl.MemoryBIO,
        outgoing: _ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,  # type: ignore[override]
    ) -> SSLObject: ...
    def set_ech_config(self, config: bytes | str | None) -> None: ...
    def set_outer_server_hostname(self, server_hostname: str | None) -> None: ...
    def set_outer_alpn_protocols(self, protocols: typing.Any) -> typing.NoReturn: ...
    def load_ech_keys(self, path: _Path) -> None: ...
    def _ech_for(
        self,
        sock: typing.Any,
        server_side: bool,
        server_hostname: str | None,
        owner: typing.Any,
    ) -> _echkit.EchConfigList | None: ...

def create_default_context(
    purpose: _ssl.Purpose = ...,
    *,
    cafile: _Path | None = None,
    capath: _Path | None = None,
    cadata: str | _Buffer | None = None,
) -> SSLContext: ...
def get_server_certificate(
    addr: tuple[str, int],
    ssl_version: int = ...,
    ca_certs: str | None = None,
    timeout: float = ...,
) -> str: ...

if sys.version_info < (3, 12):
    def wrap_socket(
        sock: socket.socket,
        keyfile: _Path | None = None,
        certfile: _Path | None = None,
        server_side: bool = False,
        cert_reqs: int = ...,
        ssl_version: int = ...,
        ca_certs: str | None = None,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        ciphers: str | None = None,
    ) -> SSLSocket: ...

