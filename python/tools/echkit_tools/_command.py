"""The command ``ech``."""

import signal
import sys

from . import _echkit_tools


def main() -> int:
    """Run ``ech`` with this process's arguments, and return its exit code."""
    # Python's handler would only run once the command is over: Ctrl-C ends it as it ends others.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # No folder of the moment is searched for the package (-P).
    program = [sys.executable, "-P", "-m", "echkit_tools"]
    return _echkit_tools.command(["ech", *sys.argv[1:]], program)
