"""What was made from values and files, kept so that it is not made again for each connection."""

from __future__ import annotations

import collections
import os
import re
import threading
import typing

from . import _echkit


class Cache:
    """A bounded table of what was made from values, the least recently used going first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._table: collections.OrderedDict[typing.Any, typing.Any] = collections.OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            # Another thread may hold the lock when the process is forked.
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def get(self, key: typing.Any, make: typing.Callable[[], typing.Any]) -> typing.Any:
        """What is kept under ``key``, made now if there is nothing."""
        with self._lock:
            if key in self._table:
                self._table.move_to_end(key)
                return self._table[key]
        value = make()
        with self._lock:
            self._table[key] = value
            while len(self._table) > self._size:
                self._table.popitem(last=False)
        return value

    def __contains__(self, key: typing.Any) -> bool:
        with self._lock:
            return key in self._table


Items = tuple[tuple[bytes, ...], tuple[bytes, ...]]
"""Certificates and revocation lists, in DER."""

_files = Cache(64)
_folders = Cache(16)


def fingerprint(path: str) -> tuple[typing.Any, ...]:
    """What tells whether a file or folder has changed."""
    found = os.stat(path)
    return (path, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def is_known(path: str) -> bool:
    """Whether a file is kept as it is now."""
    try:
        return fingerprint(path) in _files
    except OSError:
        return False


def read(path: str) -> bytes:
    """A file's bytes."""
    with open(path, "rb") as file:
        return file.read()


def items_of_text(text: bytes) -> Items:
    """What a PEM text holds."""
    certificates, crls = _echkit.pem_items(text)
    return tuple(certificates), tuple(crls)


def items_of_file(path: str) -> Items:
    """What a PEM file holds; it is parsed again only when it has changed."""
    return typing.cast(
        Items, _files.get(fingerprint(path), lambda: items_of_text(read(path)))
    )


def items_of_folder(path: str) -> Items:
    """The certificates under OpenSSL's hashed names."""

    def make() -> Items:
        certificates: list[bytes] = []
        crls: list[bytes] = []
        for name in sorted(os.listdir(path)):
            if not re.fullmatch(r"[0-9a-f]{8}\.r?[0-9]+", name):
                continue
            try:
                found = items_of_file(os.path.join(path, name))
            except OSError:
                continue
            certificates += found[0]
            crls += found[1]
        return tuple(dict.fromkeys(certificates)), tuple(dict.fromkeys(crls))

    try:
        return typing.cast(Items, _folders.get(fingerprint(path), make))
    except OSError:
        return (), ()


def ech_key_files(path: str) -> tuple[tuple[str, bytes], ...]:
    """The files with ECH keys at a path, the newest first."""
    if not os.path.isdir(path):
        return ((path, read(path)),)
    found = []
    for name in os.listdir(path):
        file = os.path.join(path, name)
        if not name.endswith((".ech", ".pem")) or not os.path.isfile(file):
            continue
        text = read(file)
        if name.endswith(".ech") or b"-----BEGIN ECHCONFIG-----" in text:
            found.append((os.stat(file).st_mtime_ns, file, text))
    return tuple((file, text) for _, file, text in sorted(found, reverse=True))
