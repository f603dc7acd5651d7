"""``python -m echkit SCRIPT``, ``-m MODULE`` and ``-c CODE``: a program as it is, with ECH."""

from __future__ import annotations

import os
import runpy
import sys
import types
import urllib.request

from ._inject import SWITCH, inject_into_ssl, mode


def is_program(arguments: list[str]) -> bool:
    """Whether the arguments name a program of Python's, and not a command of ``ech``.

    A script is known by ``.py`` at its end or a ``/`` in its path, which no command has.
    """
    if not arguments:
        return False
    first = arguments[0]
    return first in ("-m", "-c") or (
        not first.startswith("-") and (first.endswith(".py") or os.sep in first)
    )


def run(arguments: list[str]) -> int:
    """Run a program with the standard ``ssl`` replaced; the exit code where it cannot be begun."""
    first, rest = arguments[0], arguments[1:]
    if first in ("-m", "-c") and not rest:
        print(f"echkit: argument expected for {first}", file=sys.stderr)
        return 2
    try:
        chosen = mode()
    except ValueError as error:
        print(f"echkit: {error}", file=sys.stderr)
        return 2
    if chosen != "off":
        if "https" in urllib.request.getproxies():
            print(
                "echkit: HTTPS_PROXY is set, and programs tell proxies the names that ECH hides; unset "
                f"it, use an adapter, or run without ECH by {SWITCH}=off",
                file=sys.stderr,
            )
            return 2
        _have_children_follow()
        inject_into_ssl()
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path[0] = ""
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    else:
        if not os.path.exists(first):
            print(f"echkit: {first}: no such file", file=sys.stderr)
            return 2
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(first))
        runpy.run_path(first, run_name="__main__")
    return 0


def _have_children_follow() -> None:
    """Interpreters that this one starts find the folder `_site`, whose `sitecustomize` injects."""
    site = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_site")
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if site not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([site, *paths])
