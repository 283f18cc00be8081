"""The command `streamcore`, which is `python -m streamcore`: a process of its own."""

import sys


def run() -> int:
    """Runs the command line of this process; returns the exit status."""
    # A handler must stand before anything slow is imported.
    from streamcore.process import prepare

    prepare(sys.argv[1:])
    from streamcore.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
