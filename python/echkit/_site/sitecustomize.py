"""Has the children of ``python -m echkit`` do as it does. What would have been found without this file is
run after it."""

import importlib.machinery
import importlib.util
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))


def _next() -> None:
    """The ``sitecustomize`` that this one hides."""
    others = [path for path in sys.path if os.path.abspath(path) != _here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _inject() -> None:
    try:
        import echkit
    except ImportError:
        return  # another environment's interpreter
    echkit.inject_into_ssl()


if __name__ == "sitecustomize":
    _inject()
    _next()
