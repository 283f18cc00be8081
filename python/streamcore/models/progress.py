"""Shows how far loading, or a download, has come."""

import sys
from collections.abc import Callable
from typing import TextIO, TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes that there are."""

_STEP_PERCENT = 10


def terminal_progress(
    stream: TextIO = sys.stderr, activity: str = "loading weights"
) -> "TerminalProgress | None":
    """A line that rewrites itself, or None where it is no terminal: a log file should not fill with
    it.
    """
    return TerminalProgress(stream, activity) if stream.isatty() else None


class TerminalProgress:
    """A `Progress` that is one line of a terminal."""

    def __init__(self, stream: TextIO, activity: str) -> None:
        self._stream = stream
        self._activity = activity
        self._shown = -1
        self._is_open = False

    def __call__(self, done: int, total: int) -> None:
        """Shows how far it is, where that is another number of percent than before."""
        percent = 100 * done // total
        if percent == self._shown:
            return
        self._shown = percent
        self._is_open = True
        self._stream.write(f"\r{self._activity} {percent:3d} % of {total / 1e9:.2f} GB")
        if done == total:
            self.end()
        self._stream.flush()

    def end(self) -> None:
        """Ends the line if that has not been done, so that what is said next has one of its own."""
        if self._is_open:
            self._is_open = False
            self._stream.write("\n")
            self._stream.flush()


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
