"""``python -m echkit PROGRAM`` runs a program with ECH; everything else is the command ``ech``."""

import sys

if __name__ == "__main__":
    from ._run import is_program

    if is_program(sys.argv[1:]):
        from ._run import run

        sys.exit(run(sys.argv[1:]))
    from ._command import main

    sys.exit(main())
