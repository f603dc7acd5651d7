"""A superset of the standard :mod:`ssl` whose connections are made by rustls and can do ECH.

Contexts are real ``ssl.SSLContext`` objects, so that libraries accept them. Every setter still
goes through the standard class, which validates; what a connection uses is read when it is
wrapped. What rustls does not have raises instead of being ignored.

What differs from the standard module is one table in ``docs/python.md``. In short: TLS 1.2 and 1.3 only;
names are matched against ``subjectAltName`` alone; certificates and keys are those that webpki and
rustls take; what OpenSSL decides by settings that rustls does not have raises.
"""

from __future__ import annotations

import collections as _collections
import enum as _enum
import functools as _functools
import operator as _operator
import os as _os
import ssl as _std
import types as _types
import warnings as _warnings

from . import _echkit, _files, _settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as _typing

    from ._attempts import Attempt as _Attempt
del TYPE_CHECKING

# Everything that the standard module has, private names too: this module takes its place.
globals().update(
    {
        name: value
        for name, value in vars(_std).items()
        if not (name.startswith("__") and name.endswith("__"))
    }
)

_ssl = _std._ssl  # type: ignore[attr-defined]
SSLError = _std.SSLError
SSLSession = _echkit.SSLSession


class ECHRejectedError(SSLError):
    """A server, authenticated for the public_name, rejected Encrypted Client Hello.

    Connect again and offer ``retry_configs``, an ECHConfigList. Where it is empty, the server has
    turned ECH off, and says so authentically (RFC 9849 §6.1.6).
    """

    retry_configs: bytes = b""


HAS_ECH = True
HAS_PSK = False
CHANNEL_BINDING_TYPES: list[str] = []

OP_ECH_GREASE = _settings.OP_ECH_GREASE
OP_ECH_TRIALDECRYPT = _std.Options(1 << 38)
OP_ECH_IGNORE_CID = _std.Options(1 << 39)
OP_ECH_GREASE_RETRY_CONFIG = _std.Options(1 << 40)
# OpenSSL below 4 has no such bits, so that they are kept here.
_ECH_OPTIONS = 0b1111 << 37
# Options of OpenSSL that change nothing here: what they allow is never needed (renegotiation in the old
# form, key exchange of resumptions without Diffie-Hellman), what they turn off does not exist
# (encrypt-then-MAC, compression of certificates, DTLS), and what they work around is not done.
_WITHOUT_EFFECT = sum(
    1 << bit
    for bit in (2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 15, 16, 18, 19, 21, 23, 24, 31, 32, 33, 34, 35, 36)
)
_KNOWN_OPTIONS = (
    _functools.reduce(_operator.or_, map(int, _std.Options.__members__.values()))
    | _ECH_OPTIONS
    | _WITHOUT_EFFECT
)
# Known, and not possible with rustls.
_REFUSED_OPTIONS = {
    1 << 0: "rustls always uses the extended master secret (OP_NO_EXTENDED_MASTER_SECRET)",
    1 << 1: "rustls does not overwrite the plaintext that it has delivered (OP_CLEANSE_PLAINTEXT)",
}
_KNOWN_FLAGS = _functools.reduce(_operator.or_, map(int, _std.VerifyFlags.__members__.values()))
_NOT_SUPPORTED = OP_ECH_IGNORE_CID | OP_ECH_GREASE_RETRY_CONFIG | OP_ECH_TRIALDECRYPT


class ECHStatus(_enum.IntEnum):
    """What became of Encrypted Client Hello, with OpenSSL's numbers."""

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


ECH_STATUS_BACKEND = ECHStatus.ECH_STATUS_BACKEND
ECH_STATUS_GREASE_ECH = ECHStatus.ECH_STATUS_GREASE_ECH
ECH_STATUS_GREASE = ECHStatus.ECH_STATUS_GREASE
ECH_STATUS_SUCCESS = ECHStatus.ECH_STATUS_SUCCESS
ECH_STATUS_FAILED = ECHStatus.ECH_STATUS_FAILED
ECH_STATUS_BAD_CALL = ECHStatus.ECH_STATUS_BAD_CALL
ECH_STATUS_NOT_TRIED = ECHStatus.ECH_STATUS_NOT_TRIED
ECH_STATUS_BAD_NAME = ECHStatus.ECH_STATUS_BAD_NAME
ECH_STATUS_NOT_CONFIGURED = ECHStatus.ECH_STATUS_NOT_CONFIGURED
ECH_STATUS_FAILED_ECH = ECHStatus.ECH_STATUS_FAILED_ECH
ECH_STATUS_FAILED_ECH_BAD_NAME = ECHStatus.ECH_STATUS_FAILED_ECH_BAD_NAME


# What an adapter wants offered on a connection to some name; set by the module `_attempts`, when an
# adapter imports it.
_under_way: _typing.Callable[[str | None], _Attempt | None] | None = None


class _EchNames:
    """The names of Encrypted Client Hello on a connection."""

    _sslobj: _typing.Any

    ech_report: _typing.Any = None
    """What an adapter did to make this connection, a ``ConnectionReport``."""

    def _ech_status(self) -> tuple[int, str | None, str | None]:
        if self._sslobj is None:
            return (ECHStatus.ECH_STATUS_NOT_TRIED, None, None)
        status: tuple[int, str | None, str | None] = self._sslobj.get_ech_status()
        return status

    def get_ech_status(self) -> ECHStatus:
        """What became of Encrypted Client Hello on this connection."""
        return ECHStatus(self._ech_status()[0])

    def get_ech_retry_config(self) -> bytes | None:
        """The server's ECHConfigList after an authenticated rejection."""
        if self._sslobj is None:
            return None
        retry_config: bytes | None = self._sslobj.get_ech_retry_config()
        return retry_config

    @property
    def inner_server_hostname(self) -> str | None:
        """The server name inside: at a server what the client asked for, if it could be opened."""
        return self._ech_status()[1]

    @property
    def outer_server_hostname(self) -> str | None:
        """The server name that was sent in the clear, read back from the bytes sent."""
        return self._ech_status()[2]


class SSLObject(_EchNames, _std.SSLObject):
    """The standard ``SSLObject`` with the names of Encrypted Client Hello."""


class SSLSocket(_EchNames, _std.SSLSocket):
    """The standard ``SSLSocket`` with the names of Encrypted Client Hello."""


_Base = _std.SSLContext


class SSLContext(_std.SSLContext):
    """An ``ssl.SSLContext`` whose connections are made by rustls."""

    sslsocket_class = SSLSocket
    sslobject_class = SSLObject

    _certificates: dict[bytes, None]
    _crls: dict[bytes, None]
    _ca_folders: list[str]
    _identities: dict[str, _echkit.Identity]
    _ciphers: tuple[int, ...] | None
    _curve: str | None
    _alpn: tuple[bytes, ...]
    _ech_config: _echkit.EchConfigList | None
    _outer_name: str | None
    _ech_keys: _echkit.EchKeys | None
    _made: _collections.OrderedDict[_typing.Any, _echkit.Settings]
    _ech_options: int
    _keylog_file: tuple[int, int] | None
    _stats: _echkit.Stats

    # Not in __init__, which subclasses need not call: the standard class has none.
    def __new__(cls, *args: _typing.Any, **kwargs: _typing.Any) -> _typing.Self:
        self = super().__new__(cls, *args, **kwargs)
        self._certificates = {}
        self._crls = {}
        self._ca_folders = []
        self._identities = {}
        self._ciphers = None
        self._curve = None
        self._alpn = ()
        self._ech_options = 0
        self._keylog_file = None
        self._ech_config = None
        self._outer_name = None
        self._ech_keys = None
        # Each access is one step of the interpreter. A lock would have to be renewed at a fork.
        self._made = _collections.OrderedDict()
        self._stats = _echkit.Stats()
        return self

    # Settings that rustls has, recorded.

    def _set_alpn_protocols(self, protocols: _typing.Any) -> None:
        super()._set_alpn_protocols(protocols)  # type: ignore[misc]
        wire = bytes(protocols)
        names = []
        while wire:
            names.append(wire[1 : 1 + wire[0]])
            wire = wire[1 + wire[0] :]
        self._alpn = tuple(names)

    def set_ciphers(self, ciphers: str) -> None:
        """Choose ciphers of TLS 1.2 as OpenSSL names them; rustls' own are what is left."""
        super().set_ciphers(ciphers)
        self._ciphers = tuple(suite["id"] & 0xFFFF for suite in self.get_ciphers())

    def set_ecdh_curve(self, name: _typing.Any) -> None:
        """Choose the one group to agree on keys with."""
        super().set_ecdh_curve(name)
        text = name.decode() if isinstance(name, bytes) else name
        _echkit.check_curve(text)
        self._curve = text

    def load_cert_chain(
        self, certfile: _typing.Any, keyfile: _typing.Any = None, password: _typing.Any = None
    ) -> None:
        """Load a certificate chain and its key.

        A password callable is asked where the key is encrypted. Where it is and there is no
        password, ``SSLError`` is raised; there is no prompt at the terminal.
        """
        # Not by the standard class as well: OpenSSL leaves copies of the key behind.
        chain = _os.fsdecode(certfile)
        key = chain if keyfile is None else _os.fsdecode(keyfile)
        identity = _echkit.Identity.load(chain, key, password)
        known = self._identities.get(identity.kind)
        self._identities[identity.kind] = identity
        if known is not None and known.digest != identity.digest:
            # Settings with the old key in them.
            self._made.clear()

    def load_verify_locations(
        self,
        cafile: _typing.Any = None,
        capath: _typing.Any = None,
        cadata: _typing.Any = None,
    ) -> None:
        """Load certificates to trust. A file that has not changed is not parsed again."""
        alone = isinstance(cafile, (str, bytes)) and capath is None and cadata is None
        if not (alone and _files.is_valid(_os.fsdecode(cafile))):
            super().load_verify_locations(cafile, capath, cadata)
        if cafile is not None:
            _files.note_valid(_os.fsdecode(cafile))
        if cafile is not None:
            self._trust(_files.items_of_file(_os.fsdecode(cafile)), _os.fsdecode(cafile))
        if capath is not None:
            self._trust_folders(_os.fsdecode(capath))
        if isinstance(cadata, str):
            self._trust(_files.items_of_text(cadata.encode("ascii")), "cadata")
        elif cadata is not None:
            self._trust((tuple(_echkit.der_items(bytes(cadata))), ()), "cadata")

    def set_default_verify_paths(self) -> None:
        """Trust what OpenSSL would: ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` or its own paths."""
        paths = _std.get_default_verify_paths()
        if paths.cafile is not None:
            try:
                # The standard class says whether the whole file is valid: else nothing of it counts.
                if not _files.is_valid(paths.cafile):
                    _Base(_std.PROTOCOL_TLS_CLIENT).load_verify_locations(paths.cafile)
                    _files.note_valid(paths.cafile)
                self._trust(_files.items_of_file(paths.cafile), paths.cafile)
            except OSError:
                pass
        # `paths.capath` is None where the variable names several folders.
        self._trust_folders(
            _os.environ.get(paths.openssl_capath_env, paths.openssl_capath)
        )

    def _trust_folders(self, folders: str) -> None:
        """Trust what is in these folders, with ``:`` between their names as OpenSSL has it."""
        for folder in filter(None, folders.split(_os.pathsep)):
            if folder not in self._ca_folders:
                self._ca_folders.append(folder)
            _files.look_again(folder)

    def _trust(self, items: _files.Items, file: str) -> None:
        for crl in items[1]:
            _echkit.check_crl(crl, file)
        self._certificates.update(dict.fromkeys(items[0]))
        self._crls.update(dict.fromkeys(items[1]))

    def cert_store_stats(self) -> dict[str, int]:
        """How many certificates and revocation lists were loaded."""
        return {
            "x509": len(self._certificates),
            "crl": len(self._crls),
            "x509_ca": sum(map(_echkit.is_ca, self._certificates)),
        }

    def get_ca_certs(self, binary_form: bool = False) -> list[_typing.Any]:
        """The loaded certificates that may sign others; those of folders are not among them."""
        found = [cert for cert in self._certificates if _echkit.is_ca(cert)]
        return found if binary_form else [_echkit.describe(cert) for cert in found]

    def session_stats(self) -> dict[str, int]:
        """Counts of this context's connections."""
        counts = dict.fromkeys(super().session_stats(), 0)
        counts.update(self._stats.counts())
        return counts

    # Settings that are kept here.

    @property
    def options(self) -> _std.Options:
        """The options, with those of Encrypted Client Hello."""
        kept = _Base.options.__get__(self)  # type: ignore[attr-defined]
        return _std.Options(kept | self._ech_options)

    @options.setter
    def options(self, value: int) -> None:
        value = _operator.index(value)
        if not 0 <= value < 1 << 64:
            # The interpreter's own refusal; 3.11 takes negative numbers.
            _Base.options.__set__(self, value)  # type: ignore[attr-defined]
            self._ech_options = 0
            return
        for option, why in _REFUSED_OPTIONS.items():
            if value & option & ~int(self.options):
                raise NotImplementedError(f"options {option:#x}: {why}")
        unknown = value & ~(int(self.options) | _KNOWN_OPTIONS)
        if unknown:
            raise ValueError(f"unknown options {unknown:#x}")
        ech = value & _ECH_OPTIONS
        if ech & _NOT_SUPPORTED:
            raise NotImplementedError(
                "of the ECH options only OP_ECH_GREASE is supported: rustls has no such setting"
            )
        _Base.options.__set__(self, value ^ ech)  # type: ignore[attr-defined]
        self._ech_options = ech

    @property
    def keylog_filename(self) -> _typing.Any:
        """The file that secrets are written to, for debuggers."""
        return _Base.keylog_filename.__get__(self)  # type: ignore[attr-defined]

    @keylog_filename.setter
    def keylog_filename(self, path: _typing.Any) -> None:
        _Base.keylog_filename.__set__(self, path)  # type: ignore[attr-defined]
        found = None if path is None else _os.stat(path)
        self._keylog_file = None if found is None else (found.st_dev, found.st_ino)

    @property
    def verify_flags(self) -> _std.VerifyFlags:
        """The flags of verification."""
        return _std.VerifyFlags(_Base.verify_flags.__get__(self))  # type: ignore[attr-defined]

    @verify_flags.setter
    def verify_flags(self, value: int) -> None:
        unknown = _operator.index(value) & ~_KNOWN_FLAGS
        if unknown:
            raise ValueError(f"unknown verify_flags {unknown:#x}")
        _Base.verify_flags.__set__(self, value)  # type: ignore[attr-defined]

    @property
    def maximum_version(self) -> _std.TLSVersion:
        """The highest version; below TLS 1.2 there is nothing in rustls."""
        return _std.TLSVersion(_Base.maximum_version.__get__(self))  # type: ignore[attr-defined]

    @maximum_version.setter
    def maximum_version(self, value: int) -> None:
        known = _std.TLSVersion
        if value not in (known.MAXIMUM_SUPPORTED, known.TLSv1_2, known.TLSv1_3):
            raise ValueError("rustls speaks TLS 1.2 and 1.3 only: no lower maximum is possible")
        _Base.maximum_version.__set__(self, value)  # type: ignore[attr-defined]

    @property
    def hostname_checks_common_name(self) -> bool:
        """Always false: names are looked for in ``subjectAltName`` alone."""
        return False

    @hostname_checks_common_name.setter
    def hostname_checks_common_name(self, value: bool) -> None:
        if value:
            raise NotImplementedError("webpki does not look for names in the common name")

    # Settings that rustls does not have.

    def load_dh_params(self, path: _typing.Any) -> None:
        """Raise: rustls has no Diffie-Hellman over finite fields."""
        super().load_dh_params(path)
        raise NotImplementedError("rustls has no Diffie-Hellman over finite fields")

    @property
    def _msg_callback(self) -> None:
        return None

    @_msg_callback.setter
    def _msg_callback(self, callback: _typing.Any) -> None:
        if callback is None:
            return
        if not callable(callback):
            raise TypeError(f"{callback} is not callable.")
        raise NotImplementedError("rustls does not show its handshake messages")

    def set_psk_client_callback(self, callback: _typing.Any) -> None:
        """Raise: rustls has no external pre-shared keys."""
        if callback is not None:
            raise NotImplementedError("rustls has no external pre-shared keys")

    def set_psk_server_callback(
        self, callback: _typing.Any, identity_hint: _typing.Any = None
    ) -> None:
        """Raise: rustls has no external pre-shared keys."""
        if callback is not None:
            raise NotImplementedError("rustls has no external pre-shared keys")

    # Encrypted Client Hello.

    def set_ech_config(self, config: bytes | str | None) -> None:
        """Offer ECH with this ECHConfigList from the next connection on.

        It may be binary, base64, hexadecimal, PEM, an ``ech=`` parameter or an HTTPS record.
        May be called repeatedly: the list that came last is offered, so that a server's retry
        configs take the place of those that it rejected. Raises ``SSLError`` when the list holds
        no config that is usable; what was set before then stays.
        """
        if config is None:
            self._ech_config = None
            return
        if not isinstance(config, (str, bytes, bytearray, memoryview)):
            raise TypeError(
                f"an ECHConfigList is bytes, a string or None, not {type(config).__name__}"
            )
        raw = config.encode() if isinstance(config, str) else bytes(config)
        self._ech_config = _echkit.EchConfigList(raw)

    def set_outer_server_hostname(self, server_hostname: str | None) -> None:
        """Show this name to the network in place of the config's public_name.

        It is the server_name of the outer hello of a real offer; without one, and with GREASE, it does
        nothing. A rejection is still authenticated for the public_name. ``None`` goes back to the
        public_name. Raises ``ValueError`` for an invalid host name, and when the connection is
        made if it is the name that ECH must hide.
        """
        if server_hostname is not None:
            server_hostname = _echkit.outer_name(server_hostname)
        self._outer_name = server_hostname

    def load_ech_keys(self, path: _typing.Any) -> None:
        """Open Encrypted Client Hello with the keys at this path, from the next connection on.

        ``path`` is a file as RFC 9934 has it and ``openssl ech`` writes it, or a folder: its files
        ``*.ech``, and those ``*.pem`` that hold an ECHCONFIG block. All keys open hellos; clients
        that used none of them are sent the configs of the newest file with a key. The keys take
        the place of those that were loaded before: call it again after a rotation.

        The name inside is what ``sni_callback`` is given. A hello that was not opened is answered
        as it came, by the name outside.
        """
        if self.protocol == _std.PROTOCOL_TLS_CLIENT:
            raise _settings.ssl_error("Cannot load ECH keys into a PROTOCOL_TLS_CLIENT context")
        self._ech_keys = _echkit.EchKeys.load(_os.fsdecode(path))
        # Settings with the old keys in them.
        self._made.clear()

    def set_outer_alpn_protocols(self, protocols: _typing.Any) -> None:
        """Raise: rustls offers the same protocols outside as inside."""
        raise NotImplementedError("rustls offers the same protocols outside as inside")

    # Connections.

    def _ech_for(
        self,
        sock: _typing.Any,
        server_side: bool,
        server_hostname: str | None,
        owner: _typing.Any,
    ) -> _echkit.EchConfigList | None:
        """What to offer on one connection; ``sock`` is ``None`` over memory."""
        return self._ech_config

    def _ech_failed(self, offered: _echkit.EchConfigList, retry_configs: bytes | None) -> None:
        """Called when a handshake with an offer has failed; ``retry_configs`` is what an
        authenticated rejection brought."""

    def _connection_settings(
        self, server_side: bool, ech: _echkit.EchConfigList | None = None
    ) -> _echkit.Settings:
        """What a new connection is made with."""
        values = _settings.read(self, server_side, ech)
        keys = self._ech_keys if server_side else None
        values.check_ech(keys is not None)
        return _settings.made(self, values, keys)

    def _switched_settings(self, values: _settings.Values) -> _echkit.Settings:
        """What a connection that was made with ``values`` goes on with when it is given this
        context."""
        own = _settings.read(self, values.server_side, None)
        return _settings.made(self, values.after_switch(own), None)

    def _wrap_socket(
        self,
        sock: _typing.Any,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: _typing.Any = None,
        session: _typing.Any = None,
    ) -> _typing.Any:
        self._check_side(server_side)
        return self._object(
            server_side, server_hostname, owner=owner, session=session, sock=sock
        )

    def _wrap_bio(
        self,
        incoming: _typing.Any,
        outgoing: _typing.Any,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: _typing.Any = None,
        session: _typing.Any = None,
    ) -> _typing.Any:
        self._check_side(server_side)
        if self.check_hostname and server_hostname is None:
            raise ValueError("check_hostname requires server_hostname")
        return self._object(
            server_side,
            server_hostname,
            owner=owner,
            session=session,
            incoming=incoming,
            outgoing=outgoing,
        )

    def _object(
        self,
        server_side: bool,
        server_hostname: str | None,
        *,
        owner: _typing.Any,
        session: _typing.Any,
        sock: _typing.Any = None,
        **memory: _typing.Any,
    ) -> _typing.Any:
        attempt = None if server_side or _under_way is None else _under_way(server_hostname)
        if attempt is None:
            ech = self._ech_for(sock, server_side, server_hostname, owner)
            settings = None
        else:
            ech = attempt.offer
            settings = self._attempt_settings(attempt)
        if not server_side and ech is not None and server_hostname is not None:
            if ech.exposes(server_hostname):
                _warnings.warn(
                    f"the public_name of the ECHConfig is {server_hostname} itself: the name is "
                    "sent in the clear",
                    RuntimeWarning,
                    stacklevel=5,
                )
        made = _echkit.SslObject(
            settings or self._connection_settings(server_side, ech),
            self,
            self._stats,
            server_side=server_side,
            server_hostname=server_hostname,
            owner=owner,
            session=session,
            sock=sock,
            **memory,
        )
        if attempt is not None:
            attempt.made = made
        return made

    def _attempt_settings(self, attempt: _Attempt) -> _echkit.Settings:
        """What an adapter's connection is made with."""
        values = _settings.read(self, False, attempt.offer)
        grease = values.grease or attempt.grease
        values = values._replace(grease=grease and values.versions[1])
        values.check_ech(False)
        return _settings.made(self, values, None)

    def _check_side(self, server_side: bool) -> None:
        if server_side and self.protocol == _std.PROTOCOL_TLS_CLIENT:
            raise _settings.ssl_error("Cannot create a server socket with a PROTOCOL_TLS_CLIENT context")
        if not server_side and self.protocol == _std.PROTOCOL_TLS_SERVER:
            raise _settings.ssl_error("Cannot create a client socket with a PROTOCOL_TLS_SERVER context")


def _rehomed(name: str) -> None:
    """The standard module's function of that name, making this module's contexts."""
    function = getattr(_std, name, None)
    if isinstance(function, _types.FunctionType):
        copy = _types.FunctionType(
            function.__code__,
            globals(),
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        copy.__doc__ = function.__doc__
        globals()[name] = copy


for _name in (
    "create_default_context",
    "_create_unverified_context",
    "wrap_socket",
    "get_server_certificate",
):
    _rehomed(_name)
_create_stdlib_context = globals()["_create_unverified_context"]
_create_default_https_context = globals()["create_default_context"]
del _name
