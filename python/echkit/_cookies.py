"""The cookies of a client."""

from __future__ import annotations

import collections.abc
import typing

from . import _echkit


class Cookie(typing.NamedTuple):
    """One cookie."""

    domain: str
    """The host; with a dot in front where hosts below it get the cookie too."""
    path: str
    secure: bool
    expires: int | None
    """Seconds since 1970; ``None`` where it ends with the session."""
    name: str
    value: str


class Cookies(collections.abc.Mapping[str, str]):
    """The cookies of a client, by their names. It shows no values in its ``repr``."""

    def __init__(self, client: _echkit.HttpClient) -> None:
        self._client = client

    @property
    def jar(self) -> list[Cookie]:
        """All of them."""
        found = []
        for line in self._client.cookies().splitlines():
            line = line.removeprefix("#HttpOnly_")
            if not line or line.startswith("#"):
                continue
            domain, _, path, secure, expires, name, value = line.split("\t")
            ends = int(expires) or None
            found.append(Cookie(domain, path, secure == "TRUE", ends, name, value))
        return found

    def get(  # type: ignore[override]
        self,
        name: str,
        default: str | None = None,
        domain: str | None = None,
        path: str | None = None,
    ) -> str | None:
        """The value of a cookie; ``domain`` and ``path`` choose among several."""
        for cookie in self.jar:
            if cookie.name != name:
                continue
            if domain is not None and cookie.domain.lstrip(".") != domain.lstrip("."):
                continue
            if path is not None and cookie.path != path:
                continue
            return cookie.value
        return default

    def set(self, name: str, value: str, domain: str, path: str = "/") -> None:
        """Add a cookie for a host; with a dot in front of it for hosts below it too."""
        below = "TRUE" if domain.startswith(".") else "FALSE"
        if any(character in text for character in "\t\r\n;" for text in (name, value, domain, path)):
            raise ValueError("a cookie has no tabs, line breaks or semicolons")
        self._client.add_cookies(f"{domain}\t{below}\t{path}\tFALSE\t0\t{name}\t{value}\n")

    def clear(self) -> None:
        """Forget all of them."""
        self._client.clear_cookies()

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> collections.abc.Iterator[str]:
        return iter({cookie.name: None for cookie in self.jar})

    def __len__(self) -> int:
        return len({cookie.name for cookie in self.jar})

    def __repr__(self) -> str:
        return f"Cookies({len(self)})"


def header(cookies: collections.abc.Mapping[str, str]) -> str:
    """The field ``Cookie`` of these."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())
