"""The surroundings of the command's process: the signals that end it, and standard streams that are
closed.

Imported before all else, so it imports next to nothing.
"""

import os
import signal
import sys
from itertools import pairwise

from streamcore import _core


def prepare(arguments: list[str]) -> None:
    """Bring the process into the state that all else relies on, as its command line wants it."""
    _open_standard_streams()
    numbers = ending_signals()
    if signal.SIGINT in numbers:
        # Else Python raises in whatever runs, which may swallow it, while a thread ends the
        # process.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _core.end_on_signals(numbers, log_format_of(arguments))


def log_format_of(arguments: list[str]) -> str:
    """Finds the form of the log on a command line, before it is known whether all else there can be
    understood.
    """
    chosen = "text"
    for argument, following in pairwise([*arguments, ""]):
        if argument == "--log-format":
            chosen = following
        elif argument.startswith("--log-format="):
            chosen = argument.partition("=")[2]
    return "json" if chosen == "json" else "text"


def ending_signals() -> list[int]:
    """Lists the signals that ask for an end: Ctrl-C, `kill`, and the terminal that is closed.

    One that was ignored when the program was started stays so: `nohup` means it, and a shell that
    starts a job in the background of a script.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        numbers.append(signal.SIGHUP)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _open_standard_streams() -> None:
    """Have those that are closed lead nowhere.

    Else the next socket gets the number, and its client all that is written there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python has none for a number that was closed.
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    # A name that the terminal has no letters for is no reason to end.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
