"""Bodies of requests: bytes, forms, files, JSON, and what is made while it is sent."""

from __future__ import annotations

import collections.abc
import os
import typing

PART = 65536
"""How much of a file is read at a time."""

FileContent = bytes | str | typing.IO[bytes]
FileTypes = (
    FileContent
    | tuple[str | None, FileContent]
    | tuple[str | None, FileContent, str | None]
)
ContentTypes = (
    bytes
    | bytearray
    | memoryview
    | str
    | typing.IO[bytes]
    | collections.abc.Iterable[bytes]
    | collections.abc.AsyncIterable[bytes]
)
FormTypes = collections.abc.Mapping[str, typing.Any]
FilesTypes = (
    collections.abc.Mapping[str, FileTypes] | collections.abc.Iterable[tuple[str, FileTypes]]
)

Parts = collections.abc.Iterator[bytes] | collections.abc.AsyncIterator[bytes]


class Content(typing.NamedTuple):
    """A body, in one piece or in parts."""

    body: bytes | None = None
    parts: Parts | None = None
    length: int | None = None
    """How many bytes the parts are, where that is known."""
    type: str | None = None
    """The Content-Type."""


def content_of(
    content: ContentTypes | None,
    data: FormTypes | ContentTypes | None,
    files: FilesTypes | None,
    json: typing.Any,
) -> Content:
    """The body that a caller means; at most one of ``content``, ``json``, and ``data`` with ``files``."""
    if sum(each is not None for each in (content, json, data if files is None else files)) > 1:
        raise TypeError("give one of content, json, and data with files")
    if json is not None:
        from json import dumps

        text = dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return Content(body=text.encode(), type="application/json")
    if files is not None:
        if data is not None and not isinstance(data, collections.abc.Mapping):
            raise TypeError("data is a mapping of form fields where there are files")
        return _multipart(data or {}, files)
    if isinstance(data, collections.abc.Mapping):
        from urllib.parse import urlencode

        form = urlencode(_fields(data), doseq=True).encode()
        return Content(body=form, type="application/x-www-form-urlencoded")
    given = data if content is None else content
    return Content() if given is None else _plain(given)


def _plain(content: ContentTypes) -> Content:
    if isinstance(content, str):
        return Content(body=content.encode(), type="text/plain; charset=utf-8")
    if isinstance(content, bytes | bytearray | memoryview):
        return Content(body=bytes(content))
    if hasattr(content, "read"):
        file = typing.cast(typing.IO[bytes], content)
        return Content(parts=_file(file), length=_length(file))
    if isinstance(content, collections.abc.AsyncIterable):
        return Content(parts=content.__aiter__())
    if isinstance(content, collections.abc.Iterable):
        return Content(parts=iter(content))
    raise TypeError(
        "a body is bytes, str, a binary file, or an iterable of bytes, not "
        f"{type(content).__name__}"
    )


def _fields(data: FormTypes) -> dict[str, typing.Any]:
    """Values as forms show them: true, false, and nothing for ``None``."""
    return {name: _shown(value) for name, value in data.items()}


def _shown(value: typing.Any) -> typing.Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return value


def params_of(params: typing.Any) -> list[tuple[str, str]] | None:
    """Names and values for a URL's query."""
    if params is None:
        return None
    if isinstance(params, str):
        from urllib.parse import parse_qsl

        return parse_qsl(params, keep_blank_values=True)
    given = params.items() if isinstance(params, collections.abc.Mapping) else params
    pairs = []
    for name, value in given:
        for each in value if isinstance(value, list | tuple) else (value,):
            pairs.append((str(name), str(_shown(each))))
    return pairs


def _length(file: typing.IO[bytes]) -> int | None:
    """How much there is from where a file stands; ``None`` for a pipe and the like."""
    try:
        here = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(here)
    except (AttributeError, OSError):
        return None
    return end - here


def _file(file: typing.IO[bytes]) -> collections.abc.Iterator[bytes]:
    while part := file.read(PART):
        if not isinstance(part, bytes):
            raise TypeError("a body is read from a file that was opened in binary mode")
        yield part


def _multipart(data: FormTypes, files: FilesTypes) -> Content:
    """RFC 7578; the whole has a length where each file has one."""
    boundary = os.urandom(16).hex()
    pieces: list[tuple[bytes, FileContent]] = []
    for name, value in _fields(data).items():
        for each in value if isinstance(value, list) else (value,):
            text = each if isinstance(each, bytes) else str(each).encode()
            pieces.append((_head(boundary, name, None, None), text))
    given = files.items() if isinstance(files, collections.abc.Mapping) else files
    for name, file in given:
        filename, body, kind = _file_parts(file)
        pieces.append((_head(boundary, name, filename, kind), body))
    end = f"--{boundary}--\r\n".encode()
    total: int | None = len(end)
    for head, body in pieces:
        if isinstance(body, str):
            size: int | None = len(body.encode())
        elif isinstance(body, bytes):
            size = len(body)
        else:
            size = _length(body)
        total = None if total is None or size is None else total + len(head) + size + 2
    kind = f"multipart/form-data; boundary={boundary}"
    return Content(parts=_pieces(pieces, end), length=total, type=kind)


def _pieces(
    pieces: list[tuple[bytes, FileContent]], end: bytes
) -> collections.abc.Iterator[bytes]:
    for head, body in pieces:
        yield head
        if isinstance(body, str):
            yield body.encode()
        elif isinstance(body, bytes):
            yield body
        else:
            yield from _file(body)
        yield b"\r\n"
    yield end


def _file_parts(file: FileTypes) -> tuple[str | None, FileContent, str | None]:
    kind = None
    if isinstance(file, tuple):
        if len(file) == 3:
            filename, body, kind = file
        else:
            filename, body = file
    else:
        body = file
        name = getattr(file, "name", None)
        filename = os.path.basename(name) if isinstance(name, str) else "upload"
    if not isinstance(body, bytes | str) and not hasattr(body, "read"):
        raise TypeError(f"a file is bytes, str or a binary file, not {type(body).__name__}")
    if kind is None and filename is not None:
        from mimetypes import guess_type

        kind = guess_type(filename)[0] or "application/octet-stream"
    return filename, body, kind


def _head(boundary: str, name: str, filename: str | None, kind: str | None) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
    if filename is not None:
        head += f'; filename="{_quoted(filename)}"'
    if kind is not None:
        if "\r" in kind or "\n" in kind:
            raise ValueError("a file's type has a line break in it")
        head += f"\r\nContent-Type: {kind}"
    return f"{head}\r\n\r\n".encode()


def _quoted(text: str) -> str:
    """As browsers write names (RFC 7578 §2)."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
