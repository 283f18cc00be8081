"""What the command writes to its standard streams, whatever they lead to."""

import logging
import os
import sys
import threading
import traceback
import warnings
from typing import TextIO

from streamcore import _core

DEVELOPMENT_BUILD = (
    "this is a development build: tokens cost many times as much as in a release, which `make serve` builds"
)

_log_format = "text"


def set_log_format(log_format: str) -> None:
    """Have complaints written as the lines of the log are, tracebacks included if they are JSON."""
    global _log_format
    _log_format = log_format
    if log_format == "json":
        _complain_of_exceptions()


def write_output(text: str) -> None:
    """Writes to standard output.

    Raises:
        BrokenPipeError: its reader has gone.
        OSError: it takes nothing for another reason, which the message names.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise OSError(f"standard output cannot be written: {error.strerror}") from error


def complain(program: str, message: str) -> None:
    """Writes to standard error what is wrong; where that cannot be written, nothing else can be
    done.
    """
    line = _core.json_line("ERROR", message) if _log_format == "json" else f"{program}: {message}\n"
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Lead a stream that cannot be written to nowhere: what is left in its buffer would fail once
    more at the end of the program, and change its status.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def complain_of_development_build() -> None:
    """Say to who measures that these are not the figures of a release."""
    if not _core.is_release:
        complain("streamcore", DEVELOPMENT_BUILD)


def _complain_of_exceptions() -> None:
    """Have Python say in one line what it says in many about exceptions that end a thread, or the
    program.
    """

    def report(error: BaseException | None, where: str = "") -> None:
        if error is not None:
            complain("streamcore", where + "".join(traceback.format_exception(error)).rstrip())

    sys.excepthook = lambda _kind, error, _traceback: report(error)
    sys.unraisablehook = lambda ignored: report(ignored.exc_value, "ignored: ")
    threading.excepthook = lambda ended: report(ended.exc_value, "a thread ended: ")


def log_what_libraries_say() -> None:
    """Make each warning of Python, and what libraries log, a line of the log, which ends nothing.

    `PYTHONWARNINGS=error` is meant for tests, and is inherited by the servers that they start.
    """
    # Python takes any beginning of the word.
    if any("error".startswith(option.partition(":")[0] or "-") for option in sys.warnoptions):
        warnings.simplefilter("default")

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        _core.log("warning", f"{category.__name__}: {message} ({filename}:{lineno})")

    warnings.showwarning = show  # type: ignore[assignment]
    logging.getLogger().addHandler(_ToLog())


class _ToLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _core.log("error" if record.levelno >= logging.ERROR else "warning", self.format(record))
