"""What one connection takes from its context, as values."""

from __future__ import annotations

import collections
import ssl as _std

from . import _echkit, _files

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing

    # An `SSLContext` of `echkit.ssl`, whose stub hides what is read here.
    _Context = typing.Any

OP_ECH_GREASE = _std.Options(1 << 37)

_stores = _files.Cache(64)
_shared = _files.Shared()


if TYPE_CHECKING:

    class _Fields(typing.NamedTuple):
        server_side: bool
        verify_mode: int
        check_hostname: bool
        flags: int
        versions: tuple[bool, bool]
        curve: str | None
        tickets: int
        stateful: bool
        client_order: bool
        ignore_eof: bool
        ech: _echkit.EchConfigList | None
        outer_name: str | None
        grease: bool
        alpn: tuple[bytes, ...]
        ciphers: tuple[int, ...] | None
        keylog: typing.Any
        # Which file that was when it was set: another one under the same path is another log.
        keylog_file: tuple[int, int] | None
        trust: _files.Items

else:
    # `typing` and the module of data classes take as long to import as `ssl`.
    _Fields = collections.namedtuple(
        "_Fields",
        "server_side verify_mode check_hostname flags versions curve tickets stateful "
        "client_order ignore_eof ech outer_name grease alpn ciphers keylog keylog_file "
        "trust",
    )


class Values(_Fields):
    """The settings of one connection. Equal values share what is made from them.

    The identities and ECH keys count by their digests: a private key is no part of a value.
    """

    __slots__ = ()

    def check_ech(self, opens: bool) -> None:
        """Raise where Encrypted Client Hello is offered, or opened, and TLS 1.3 is disabled."""
        offers = not self.server_side and (self.grease or self.ech is not None)
        if (offers or opens) and not self.versions[1]:
            raise ssl_error("Encrypted Client Hello needs TLS 1.3, which the settings exclude")

    def after_switch(self, other: Values) -> Values:
        """The settings of a connection whose context is replaced by another, with its values.

        OpenSSL copies most settings when a connection is made and looks up the rest in the
        context (``SSL_set_SSL_CTX``). The copied ones stay, and with them everything that decides
        whom the connection lets in but the trusted certificates.
        """
        alpn = other.alpn if self.server_side else self.alpn
        return self._replace(
            alpn=alpn,
            ciphers=other.ciphers,
            keylog=other.keylog,
            keylog_file=other.keylog_file,
            trust=other.trust,
        )


def read(context: _Context, server_side: bool, ech: _echkit.EchConfigList | None) -> Values:
    """The settings of a context as they are now."""
    options = int(context.options)
    certificates = list(context._certificates)
    crls = list(context._crls)
    for folder in context._ca_folders:
        found = _files.items_of_folder(folder)
        certificates += found[0]
        crls += found[1]
    return Values(
        server_side=server_side,
        verify_mode=int(context.verify_mode),
        check_hostname=context.check_hostname,
        flags=int(context.verify_flags),
        versions=_versions(context, options),
        curve=context._curve,
        tickets=context.num_tickets,
        stateful=bool(options & _std.OP_NO_TICKET),
        client_order=not options & _std.OP_CIPHER_SERVER_PREFERENCE,
        ignore_eof=bool(options & getattr(_std, "OP_IGNORE_UNEXPECTED_EOF", 0)),
        ech=ech,
        outer_name=context._outer_name,
        grease=bool(options & OP_ECH_GREASE),
        alpn=context._alpn,
        ciphers=context._ciphers,
        keylog=context.keylog_filename,
        keylog_file=context._keylog_file,
        trust=(tuple(certificates), tuple(crls)),
    )


def _versions(context: _Context, options: int) -> tuple[bool, bool]:
    """Whether TLS 1.2 and TLS 1.3 are enabled."""
    known = _std.TLSVersion
    low, high = context.minimum_version, context.maximum_version
    unlimited = high == known.MAXIMUM_SUPPORTED
    tls12 = low <= known.TLSv1_2 and (unlimited or high >= known.TLSv1_2)
    tls13 = low <= known.TLSv1_3 and (unlimited or high >= known.TLSv1_3)
    tls12 = tls12 and not options & _std.OP_NO_TLSv1_2
    tls13 = tls13 and not options & _std.OP_NO_TLSv1_3
    if context.protocol in (_std.PROTOCOL_TLSv1, _std.PROTOCOL_TLSv1_1):
        return False, False
    return tls12, tls13 and context.protocol != _std.PROTOCOL_TLSv1_2


def made(
    context: _Context, values: Values, ech_keys: _echkit.EchKeys | None
) -> _echkit.Settings:
    """What the extension needs for connections with these values and a context's certificate.

    The context keeps what it has used lately: a session can only be resumed with the very settings
    that it was made with.
    """
    identities = list(context._identities.values())
    # Secrets are compared by digest.
    secrets = tuple(value.digest for value in (*identities, ech_keys) if value is not None)
    key = (values, secrets)

    def make() -> _echkit.Settings:
        trust = values.trust
        store = _stores.get(trust, lambda: _echkit.TrustStore(*map(list, trust)))
        return _echkit.Settings(
            values=values, trust=store, identities=identities, ech_keys=ech_keys
        )

    found = context._made.get(key)
    if found is None:
        found = context._made[key] = _shared.get(key, make)
        _files.shorten(context._made, _MAX_SETTINGS)
    settings: _echkit.Settings = found
    return settings


# How many settings a context keeps: one for each way in which it has been used lately.
_MAX_SETTINGS = 16


def ssl_error(text: str) -> _std.SSLError:
    """An ``SSLError`` of this package's own."""
    error = _std.SSLError(_std.SSL_ERROR_SSL, text)
    error.library = "SSL"
    error.reason = text
    return error
