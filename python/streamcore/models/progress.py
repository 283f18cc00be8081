"""Shows how far loading, or a download, has come."""

import sys
from collections.abc import Callable
from typing import TextIO, TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes that there are."""

_STEP_PERCENT = 10


def terminal_progress(stream: TextIO = sys.stderr, activity: str = "loading weights") -> Progress | None:
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
        stream.write(f"\r{activity} {percent:3d} % of {total / 1e9:.2f} GB{end}")
        stream.flush()

    return show


def logged_progress(log: Callable[[str], None], activity: str) -> Progress:
    """A line of the log for each tenth."""
    logged = 0

    def show(done: int, total: int) -> None:
        nonlocal logged
        percent = 100 * done // total // _STEP_PERCENT * _STEP_PERCENT
        if percent > logged:
            logged = percent
            log(f"{activity} {percent} % of {total / 1e9:.2f} GB")

    return show
