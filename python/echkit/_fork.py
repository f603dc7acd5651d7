"""What a forked child forgets: the threads of the extension's runtime are not there."""

import os

from . import _echkit

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_echkit.after_fork)
