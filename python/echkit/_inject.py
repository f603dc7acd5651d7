"""The standard module's place taken: programs that know nothing of ECH look up, offer, and connect again."""

from __future__ import annotations

import importlib.abc
import ipaddress
import logging
import os
import socket
import ssl as _std
import sys
import types
import typing

from . import _injected_loops, _injected_proxies, _injected_streams, _reconnect
from ._answers import Answers, Retries, key_of
from ._context import (
    DiscoveringSSLContext,
    DiscoveringSSLObject,
    DiscoveringSSLSocket,
    discovery_error,
)
from ._discovery import look_up, resolver
from .ssl import ECHRejectedError

SWITCH = "ECHKIT_ECH"
"""The environment variable: ``off``, ``prefer`` (also where it is not set) or ``require``."""

_log = logging.getLogger("echkit")
_original = _std.SSLContext
# One memory for all contexts: what is found when a name is resolved counts when TLS begins.
_answers = Answers()
_retries = Retries()
_ALPN = [b"h2", b"http/1.1"]


def mode() -> str:
    """What the environment asks for."""
    chosen = os.environ.get(SWITCH) or "prefer"
    if chosen not in ("off", "prefer", "require"):
        raise ValueError(f"{SWITCH} is off, prefer or require, not {chosen!r}")
    return chosen


class _Socket(DiscoveringSSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        """Perform the TLS handshake; once more with the server's retry configs after a rejection, where
        the connection was for TLS alone."""
        again = None if self.gettimeout() == 0 else _reconnect.fresh(self)
        try:
            super().do_handshake(*((block,) if block else ()))
        except ECHRejectedError as rejected:
            if again is None or not rejected.retry_configs:
                raise
            _reconnect.replace(self, again)
            self._sslobj = self.context._wrap_socket(  # type: ignore[attr-defined]
                self, False, self.server_hostname, owner=self, session=None
            )
            super().do_handshake(*((block,) if block else ()))
        _say(self, self.server_hostname)


class _Object(DiscoveringSSLObject):
    def do_handshake(self) -> None:
        """Perform the TLS handshake."""
        super().do_handshake()
        _say(self, self.server_hostname)


def _say(made: typing.Any, host: str | None) -> None:
    """One line about a client's connection, for those who asked for it."""
    if made.server_side or not _log.isEnabledFor(logging.INFO):
        return
    status = made.get_ech_status().name.removeprefix("ECH_STATUS_").lower().replace("_", " ")
    found = made.ech_discovery
    offered = "no ECH" if found is None or found.ech is None else "ECH"
    _log.info("%s: offered %s, shown %s, %s", host, offered, made.outer_server_hostname, status)


class _Instances(type):
    """Contexts that were made before are contexts still."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _original)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _original)


class InjectedSSLContext(DiscoveringSSLContext, metaclass=_Instances):
    """``ssl.SSLContext``, for as long as ``inject_into_ssl`` holds."""

    # truststore gives each context classes of its own, derived from the standard ones.
    @property
    def sslsocket_class(self) -> type[_Socket]:
        """The class of sockets; of one that is set another is derived, which connects once more."""
        set_one: type[_Socket] | None = self.__dict__.get("_socket_class")
        return set_one or _Socket

    @sslsocket_class.setter
    def sslsocket_class(self, given: type) -> None:
        self.__dict__["_socket_class"] = _derived(given, _Socket)

    @property
    def sslobject_class(self) -> type[_Object]:
        """The class of connections over memory."""
        set_one: type[_Object] | None = self.__dict__.get("_object_class")
        return set_one or _Object

    @sslobject_class.setter
    def sslobject_class(self, given: type) -> None:
        self.__dict__["_object_class"] = _derived(given, _Object)

    def __new__(cls, *args: typing.Any, **kwargs: typing.Any) -> typing.Self:
        self = super().__new__(cls, *args, **kwargs)
        chosen = mode()
        self.ech = "require" if chosen == "require" else "prefer"
        self._answers = _answers
        self._retries = _retries
        return self

    def _ech_for(
        self, sock: typing.Any, server_side: bool, server_hostname: str | None, owner: typing.Any
    ) -> typing.Any:
        if server_side or server_hostname is None or self._has_config or _is_in_dns(server_hostname):
            return super()._ech_for(sock, server_side, server_hostname, owner)
        if self.ech == "require":
            raise discovery_error(f"{server_hostname}: ECH is required, and it is not in DNS", None)
        return None

    @property
    def _has_config(self) -> bool:
        return getattr(self, "_ech_config", None) is not None


def _derived(given: type, ours: type) -> type:
    return given if issubclass(given, ours) else type(given.__name__, (given, ours), {})


# Names.


def _resolves_here(host: object, port: object, kind: int, flags: int) -> bool:
    if not isinstance(host, (str, bytes)) or not host or port in (None, 0, "", "0"):
        return False
    if kind not in (0, socket.SOCK_STREAM) or flags & (socket.AI_PASSIVE | socket.AI_NUMERICHOST):
        return False
    return _is_in_dns(host.decode("ascii", "replace") if isinstance(host, bytes) else host)


def _is_in_dns(name: str) -> bool:
    """Whether DNS is to be asked: not for addresses, and not for the machine itself."""
    try:
        ipaddress.ip_address(name.strip("[]").partition("%")[0])
    except ValueError:
        return name.rstrip(".").lower() not in ("localhost", socket.gethostname().lower())
    return False


def getaddrinfo(
    host: typing.Any,
    port: typing.Any,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[typing.Any]:
    """``socket.getaddrinfo`` by HTTPS records: the addresses and ports of the endpoints, those with
    ECH alone where there are any."""
    if not _resolves_here(host, port, type, flags):
        return _saved.getaddrinfo(host, port, family, type, proto, flags)
    name = host.decode("ascii") if isinstance(host, bytes) else host
    try:
        number = int(port)
    except ValueError:
        number = socket.getservbyname(port.decode() if isinstance(port, bytes) else port)
    asked = resolver(None)
    known = next(_answers.of(key_of(name), fresh=True, port=number), None)
    try:
        answer = known or _answers.keep(
            key_of(name), look_up(asked, name, number, "https", _ALPN, None)
        )
    except ValueError:
        return _saved.getaddrinfo(host, port, family, type, proto, flags)  # no host name
    found = answer.discovery
    endpoints = [e for e in found.endpoints if e.ech_usable] or list(found.endpoints)
    wanted = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(socket.AddressFamily(family), 0)
    results = []
    for endpoint in endpoints:
        for address in endpoint.addresses:
            if wanted in (0, address.version):
                ours = socket.AF_INET6 if address.version == 6 else socket.AF_INET
                where = (str(address), endpoint.port)
                end = (*where, 0, 0) if address.version == 6 else where
                results.append((ours, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", end))
    if results:
        return results
    if asked.uri == "system":
        # Names of the machine's own, which DNS does not have.
        return _saved.getaddrinfo(host, port, family, type, proto, flags)
    raise socket.gaierror(socket.EAI_NONAME, f"{name}: {found.error or 'DNS gives no address'}")


def hides(host: str, port: int) -> bool:
    """Whether ECH can hide a name."""
    return look_up(resolver(None), host, port, "https", _ALPN, None).discovery.ech is not None


class _Saved:
    """What was in the places that are taken."""

    def __init__(self) -> None:
        self.getaddrinfo: typing.Callable[..., list[typing.Any]] = socket.getaddrinfo
        self.patched: list[tuple[typing.Any, str, typing.Any]] = []
        self.active = False


_saved = _Saved()


def _put(where: typing.Any, name: str, value: typing.Any) -> None:
    _saved.patched.append((where, name, vars(where).get(name, _MISSING)))
    setattr(where, name, value)


_MISSING = object()


def _anchor() -> None:
    """Have the standard class mean itself where its setters say ``super(SSLContext, SSLContext)``: the
    name in its module is another class from now on."""
    namespace = {**vars(_std), "SSLContext": _original}

    def anchored(function: typing.Any) -> typing.Any:
        if not isinstance(function, types.FunctionType):
            return function
        return types.FunctionType(
            function.__code__,
            namespace,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )

    for name in (
        "minimum_version",
        "maximum_version",
        "options",
        "verify_flags",
        "verify_mode",
        "_msg_callback",
    ):
        found = vars(_original).get(name)
        if isinstance(found, property):
            _put(_original, name, property(found.fget, anchored(found.fset)))


def _replace_everywhere(old: object, new: object) -> None:
    """What modules imported by name: ``from ssl import SSLContext``."""
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or module is _std:
            continue
        if module.__name__.partition(".")[0] in ("echkit", "_ssl"):
            continue
        for name, value in list(vars(module).items()):
            if value is old:
                _put(module, name, new)


def _patch_streams(module: types.ModuleType) -> None:
    replaced = _injected_streams.patch(_put, module)
    if replaced is not None:
        _replace_everywhere(*replaced)


def inject_into_ssl() -> None:
    """Take the place of the standard ``ssl`` and of ``socket.getaddrinfo`` in this process.

    From now on ``ssl.SSLContext`` looks up how to hide the name of each host. Contexts that were made
    before stay as they are: call it before other libraries are imported. ``ECHKIT_ECH=off`` in the
    environment has it do nothing, ``require`` refuse connections without ECH.
    """
    if _saved.active or mode() == "off":
        return
    import http.client

    if os.environ.get("ECHKIT_LOG"):
        _log_to_stderr()
    _saved.active = True
    _saved.getaddrinfo = socket.getaddrinfo
    _anchor()
    _put(_std, "SSLContext", InjectedSSLContext)
    _put(socket, "getaddrinfo", getaddrinfo)
    _replace_everywhere(_original, InjectedSSLContext)
    _replace_everywhere(_saved.getaddrinfo, getaddrinfo)
    _injected_proxies.guard_tunnels(_put, http.client.HTTPConnection, hides)
    for name in _injected_proxies.MODULES:
        # The tunnels of urllib3's connections are guarded above.
        if name in sys.modules and name != "urllib3.connection":
            _injected_proxies.guard(_put, sys.modules[name], hides)
    for name in _injected_streams.MODULES:
        if name in sys.modules:
            _patch_streams(sys.modules[name])
    _injected_loops.patch(_put, getaddrinfo)
    sys.meta_path.insert(0, _finder)


def extract_from_ssl() -> None:
    """Put back what :func:`inject_into_ssl` replaced. Contexts that were made meanwhile stay as they are."""
    if not _saved.active:
        return
    sys.meta_path.remove(_finder)
    for where, name, value in reversed(_saved.patched):
        if value is _MISSING:
            delattr(where, name)
        else:
            setattr(where, name, value)
    _saved.patched.clear()
    _saved.active = False


def _log_to_stderr() -> None:
    if not _log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("echkit: %(message)s"))
        _log.addHandler(handler)
    _log.setLevel(logging.INFO)


class _Finder(importlib.abc.MetaPathFinder):
    """Patches modules that are imported later."""

    _LATER = {"uvloop", *_injected_proxies.MODULES, *_injected_streams.MODULES}

    def find_spec(self, name: str, path: typing.Any, target: typing.Any = None) -> typing.Any:
        if name not in self._LATER:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                _patch_after(spec.loader)
                return spec
        return None


def _patch_after(loader: typing.Any) -> None:
    execute = loader.exec_module

    def exec_module(module: types.ModuleType) -> None:
        execute(module)
        if not _saved.active:
            return
        if module.__name__ == "uvloop":
            _injected_loops.patch_uvloop(_put, module, getaddrinfo)
        elif module.__name__ in _injected_streams.MODULES:
            _patch_streams(module)
        else:
            _injected_proxies.guard(_put, module, hides)

    loader.exec_module = exec_module


_finder = _Finder()
