#!/usr/bin/env python3
"""Tries each way into the Python packages as a newcomer does, and times it.

For each way: a fresh virtual environment, no compiler on the PATH, `pip install` of the wheels in dist/ (with the
extras that the way needs, from an index), and the lines of the documents. Prints a table, and exits with 1
where something fails or takes more than five minutes.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import snippets  # noqa: E402

LIMIT = 300.0

# Calls the functions of a document's block for a host that the testbed hides.
CALL = """
import asyncio, inspect, os, runpy
from echkit.testing import Testbed
with Testbed(only=["nominal"]) as testbed:
    case = testbed.case("nominal")
    os.environ.update(ECHKIT_DNS=testbed.dns, SSL_CERT_FILE=testbed.ca_file, REQUESTS_CA_BUNDLE=testbed.ca_file)
    called = 0
    for block in {blocks!r}:
        for name, function in runpy.run_path(block).items():
            if name.startswith("status_with_"):
                ported = "port" in function.__annotations__
                found = function(case.host, case.port) if ported else function(case.url)
                found = asyncio.run(found) if inspect.iscoroutine(found) else found
                assert found == "accepted", (name, found)
                called += 1
    assert called
    testbed.quiet()
    assert not any(case.host in sent for sent in testbed.captures())
"""

AS_IT_IS = """
import os, subprocess, sys
from echkit.testing import Testbed
with Testbed(only=["nominal"]) as testbed:
    ours = dict(os.environ, ECHKIT_DNS=testbed.dns, SSL_CERT_FILE=testbed.ca_file)
    page = subprocess.run(
        [sys.executable, "-m", "echkit", "program.py", testbed.url("nominal") + "?format=json"],
        env=ours, check=True, capture_output=True, text=True,
    ).stdout
    assert '"accepted"' in page, page
"""
PROGRAM = "import sys, urllib.request\nprint(urllib.request.urlopen(sys.argv[1]).read().decode())\n"


@dataclasses.dataclass
class Way:
    name: str
    extras: str
    document: str
    code: str = ""
    """What is run; else the blocks of the document that use a testbed."""


WAYS = [
    Way("the HTTP client", "testing", "docs/python-client.md"),
    Way("echkit.ssl", "testing", "README.md"),
    Way("urllib3", "testing,urllib3", "docs/python/urllib3.md", CALL),
    Way("requests", "testing,requests", "docs/python/requests.md", CALL),
    Way("http.client and urllib.request", "testing", "docs/python/http-client.md", CALL),
    Way("httpx", "testing,httpx,http2", "docs/python/httpx.md", CALL),
    Way("aiohttp", "testing,aiohttp", "docs/python/aiohttp.md", CALL),
    Way("asyncio and websockets", "testing,websockets", "docs/python/asyncio.md", CALL),
    Way("a program as it is", "testing", "docs/python/without-changes.md", AS_IT_IS),
]


def main() -> int:
    wheels = sorted((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 2:
        sys.exit("try-python: `make wheel` leaves two wheels in dist/")
    slow = 0
    for way in WAYS:
        with tempfile.TemporaryDirectory() as home:
            begun = time.monotonic()
            parts = attempt(way, pathlib.Path(home))
            took = time.monotonic() - begun
        slow += took > LIMIT
        print(f"{way.name:32} {took:6.1f} s   ({parts})", flush=True)
    print(f"{len(WAYS)} passed, {slow} failed")
    return 1 if slow else 0


def attempt(way: Way, home: pathlib.Path) -> str:
    """What it takes to make one way work, part by part."""
    environment = {**os.environ, "PATH": str(home / "env/bin")}
    parts = []

    def step(name: str, *command: str) -> None:
        begun = time.monotonic()
        ran = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(f"try-python: {way.name}: {name} failed:\n{ran.stdout}{ran.stderr}")
        parts.append(f"{name} {time.monotonic() - begun:.1f} s")

    blocks = [b for b in snippets.all_blocks() if (b.document, b.language) == (way.document, "python")]
    for block in blocks:
        (home / f"line_{block.line}.py").write_text(block.text)
    (home / "program.py").write_text(PROGRAM)
    names = [f"line_{block.line}.py" for block in blocks]
    step("venv", sys.executable, "-m", "venv", str(home / "env"))
    python = str(home / "env/bin/python")
    none = "import shutil, sys; sys.exit(any(map(shutil.which, ['cc', 'gcc', 'clang', 'cargo', 'rustc'])))"
    step("no compiler", python, "-c", none)
    wanted = [f"echkit[{way.extras}]"]
    find = ["--find-links", str(ROOT / "dist"), "--only-binary", ":all:"]
    step("pip install", python, "-m", "pip", "install", "--no-cache-dir", *find, *wanted)
    if way.code:
        step("run", python, "-c", way.code.replace("{blocks!r}", repr(names)))
    else:
        for block, name in zip(blocks, names):
            if "Testbed" in block.text:
                step("run", python, name)
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
