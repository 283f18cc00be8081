"""Shows on a terminal how far loading has come."""

import sys
from typing import TextIO

from streamcore.models.load import Progress


def terminal_progress(stream: TextIO = sys.stderr) -> Progress | None:
    """A line that rewrites itself, or None where it is no terminal: a log file should not fill with
    it.
    """
    if not stream.isatty():
        return None
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total
        if percent == shown:
            return
        shown = percent
        end = "\n" if done == total else ""
        stream.write(f"\rloading weights {percent:3d} % of {total / 1e9:.2f} GB{end}")
        stream.flush()

    return show
