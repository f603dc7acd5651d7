"""Header fields by their names, in any case."""

from __future__ import annotations

import collections.abc
import typing

HeaderTypes = (
    collections.abc.Mapping[str, str]
    | collections.abc.Iterable[tuple[str, str]]
    | None
)

_SECRET = ("authorization", "cookie", "proxy-authorization", "set-cookie")


class Headers(collections.abc.Mapping[str, str]):
    """Header fields in order. Names fit in any case; a field given more than once reads as one, with
    commas between its values."""

    __slots__ = ("_index", "_pairs")

    def __init__(self, headers: HeaderTypes = None) -> None:
        self._pairs = pairs_of(headers)
        self._index: dict[str, list[str]] | None = None

    def _named(self) -> dict[str, list[str]]:
        if self._index is None:
            self._index = {}
            for name, value in self._pairs:
                self._index.setdefault(name.lower(), []).append(value)
        return self._index

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._named()[name.lower()])

    def __iter__(self) -> collections.abc.Iterator[str]:
        return iter(self._named())

    def __len__(self) -> int:
        return len(self._named())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._named()

    def get_list(self, name: str) -> list[str]:
        """The values of each field of that name."""
        return list(self._named().get(name.lower(), ()))

    def multi_items(self) -> list[tuple[str, str]]:
        """Every field, in order."""
        return list(self._pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, collections.abc.Mapping):
            return NotImplemented
        theirs = other if isinstance(other, Headers) else Headers(other)
        return self._named() == theirs._named()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = {name: "[secret]" if name in _SECRET else value for name, value in self.items()}
        return f"Headers({shown})"


def pairs_of(headers: HeaderTypes) -> list[tuple[str, str]]:
    """Fields as they are given, as pairs of text."""
    if headers is None:
        return []
    if isinstance(headers, Headers):
        return headers.multi_items()
    given: typing.Iterable[tuple[str, str]]
    given = headers.items() if isinstance(headers, collections.abc.Mapping) else headers
    pairs = []
    for name, value in given:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(
                f"header {name!r}: names and values are str, not {type(name).__name__} and "
                f"{type(value).__name__}"
            )
        pairs.append((name, value))
    return pairs
