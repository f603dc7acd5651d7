"""``python -m echkit`` is the command ``ech``."""

import sys

from ._command import main

sys.exit(main())
