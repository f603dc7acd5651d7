"""``python -m echkit PROGRAM`` runs a program with ECH; everything else is the command ``ech``."""

import sys


def _main(arguments: list[str]) -> int:
    from ._run import is_program

    if is_program(arguments):
        from ._run import run

        return run(arguments)
    from ._tools import require_tools

    try:
        require_tools("the command ech", "cli")
    except ImportError as error:
        print(f"echkit: {error}", file=sys.stderr)
        return 2
    from echkit_tools._command import main

    return main()


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
