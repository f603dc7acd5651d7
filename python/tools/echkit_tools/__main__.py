"""``python -m echkit_tools`` is the command ``ech``."""

import sys

from ._command import main

if __name__ == "__main__":
    sys.exit(main())
