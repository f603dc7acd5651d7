"""Every stack as client and as server, as short as it shows anything; ``make soak-python-loads`` is the long one.

Each is a process of its own: gevent and eventlet replace parts of the standard library.
"""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

LOADS = str(pathlib.Path(__file__).with_name("loads.py"))
LIBRARY = {"anyio-trio": "anyio"}
# Much more than is ever needed on a busy machine.
LIMIT = 300


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(
    "stack", ["asyncio", "uvloop", "trio", "anyio", "anyio-trio", "gevent", "eventlet"]
)
def test_a_stack_loses_nothing_never_hangs_and_stops_a_flood(stack, side):
    if importlib.util.find_spec(LIBRARY.get(stack, stack)) is None:
        pytest.skip(f"{stack} is not installed")
    ran = subprocess.run(
        # eventlet warns that it is deprecated.
        [sys.executable, "-W", "ignore", LOADS, stack, side, "4", "20"],
        capture_output=True, text=True, timeout=LIMIT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "all 40 connections ended" in ran.stdout


HALF_CLOSE = str(pathlib.Path(__file__).with_name("half_close.py"))


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(
    "stack", ["asyncio", "uvloop", "trio", "anyio", "anyio-trio", "gevent", "eventlet"]
)
def test_a_peer_that_has_said_goodbye_is_answered_as_with_the_standard_module(stack, side):
    if importlib.util.find_spec(LIBRARY.get(stack, stack)) is None:
        pytest.skip(f"{stack} is not installed")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", HALF_CLOSE, stack, side],
        capture_output=True, text=True, timeout=LIMIT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # asyncio closes when the peer does (`can_write_eof()` is false over TLS).
    answer = "" if stack in ("asyncio", "uvloop") else "and this"
    told = f'["all of it", "{answer}", "goodbye"]'
    assert ran.stdout.splitlines() == [
        f"{module} {version} {told}" for version in ("1.2", "1.3") for module in ("ssl", "echkit.ssl")
    ]


WEB = str(pathlib.Path(__file__).with_name("loads_web.py"))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("library", "side"),
    [
        ("aiohttp", "client"),
        ("aiohttp", "server"),
        ("uvicorn", "server"),
        ("hypercorn", "server"),
        ("websockets", "client"),
        ("websockets", "server"),
    ],
)
def test_a_web_library_loses_nothing_never_hangs_and_stops_a_flood(library, side, loop):
    for needed in {library, loop, "aiohttp"}:
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", WEB, library, side, loop, "4", "20"],
        capture_output=True, text=True, timeout=LIMIT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "closes in flight, a flood" in ran.stdout
