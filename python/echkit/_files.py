"""What was made from values and files, kept so that it is not made again for each connection.

Nothing here is secret, and what is made from secrets is held weakly: private keys are read by the
extension, which overwrites them."""

from __future__ import annotations

import collections
import os
import time
from _thread import allocate_lock

from . import _echkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing
    import weakref


def shorten(table: collections.OrderedDict[typing.Any, typing.Any], most: int) -> None:
    """Drop what was put in first, until no more than ``most`` is left. Takes no lock."""
    while len(table) > most:
        try:
            table.popitem(last=False)
        except KeyError:
            break  # other threads made room as well


class Cache:
    """A bounded table of what was made from values, the least recently used going first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._table: collections.OrderedDict[typing.Any, typing.Any] = collections.OrderedDict()
        self._lock = allocate_lock()
        if hasattr(os, "register_at_fork"):
            # Another thread may hold the lock when the process is forked.
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = allocate_lock()

    def get(self, key: typing.Any, make: typing.Callable[[], typing.Any]) -> typing.Any:
        """What is kept under ``key``, made now if there is nothing."""
        with self._lock:
            if key in self._table:
                self._table.move_to_end(key)
                return self._table[key]
        value = make()
        with self._lock:
            self._table[key] = value
            shorten(self._table, self._size)
        return value

    def __contains__(self, key: typing.Any) -> bool:
        with self._lock:
            return key in self._table


class Shared:
    """What was made from values, for as long as somebody else holds it."""

    def __init__(self) -> None:
        # Made when it is first needed: `weakref` takes long to import.
        self._table: weakref.WeakValueDictionary[typing.Any, typing.Any] | None = None
        self._lock = allocate_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = allocate_lock()

    def get(self, key: typing.Any, make: typing.Callable[[], typing.Any]) -> typing.Any:
        """What is in use under ``key``, made now if there is nothing."""
        import weakref

        with self._lock:
            if self._table is None:
                self._table = weakref.WeakValueDictionary()
            table = self._table
            value = table.get(key)
        if value is None:
            value = make()
            with self._lock:
                value = table.setdefault(key, value)
        return value


Items = tuple[tuple[bytes, ...], tuple[bytes, ...]]
"""Certificates and revocation lists, in DER."""

_files = Cache(1024)
_valid = Cache(64)
_folders = Cache(16)


def fingerprint(path: str) -> tuple[typing.Any, ...]:
    """What tells whether a file or folder has changed."""
    found = os.stat(path)
    return (path, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def is_valid(path: str) -> bool:
    """Whether the standard class has read a file as it is now, all of it."""
    try:
        return fingerprint(path) in _valid
    except OSError:
        return False


def note_valid(path: str) -> None:
    """Note that the standard class has read a file."""
    _valid.get(fingerprint(path), lambda: True)


def items_of_text(text: bytes) -> Items:
    """What a PEM text holds."""
    certificates, crls = _echkit.pem_items(text)
    return tuple(certificates), tuple(crls)


def items_of_file(path: str) -> Items:
    """What a PEM file holds; it is parsed again only when it has changed."""

    def make() -> Items:
        certificates, crls = _echkit.pem_items_of_file(path)
        return tuple(certificates), tuple(crls)

    items: Items = _files.get(fingerprint(path), make)
    return items


# How long a folder's files are taken to be what they were. Only whether the folder itself has changed is
# looked at for each connection.
_GLANCE = 1.0
# For each folder: when its files were last looked at, and what told them then.
_seen: dict[str, tuple[float, tuple[typing.Any, ...]]] = {}


def look_again(path: str) -> None:
    """Have a folder's files looked at by the next connection, whenever that was last done."""
    _seen.pop(path, None)


def _files_of_folder(path: str) -> tuple[str, ...]:
    import re

    names = (name for name in os.listdir(path) if re.fullmatch(r"[0-9a-f]{8}\.r?[0-9]+", name))
    return tuple(os.path.join(path, name) for name in sorted(names))


def _fingerprints(path: str) -> tuple[typing.Any, ...]:
    found = [fingerprint(path)]
    for file in _files_of_folder(path):
        try:
            found.append(fingerprint(file))
        except OSError:
            continue  # a link that leads nowhere
    return tuple(found)


def items_of_folder(path: str) -> Items:
    """The certificates under OpenSSL's hashed names. A file that has been rewritten is read again
    after a second at the latest, and at once by a context that the folder is then loaded into."""

    def make() -> Items:
        certificates: list[bytes] = []
        crls: list[bytes] = []
        for file in _files_of_folder(path):
            try:
                found = items_of_file(file)
            except OSError:
                continue
            certificates += found[0]
            crls += found[1]
        return tuple(dict.fromkeys(certificates)), tuple(dict.fromkeys(crls))

    try:
        now = time.monotonic()
        looked, known = _seen.get(path, (0.0, ()))
        if not known or now >= looked + _GLANCE or known[0] != fingerprint(path):
            known = _fingerprints(path)
            _seen[path] = (now, known)
        items: Items = _folders.get(known, make)
        return items
    except OSError:
        return (), ()
