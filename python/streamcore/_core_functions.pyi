"""Functions of `streamcore._core` about the process: its log, its metrics, the signals that end it. A page of the stub alone."""

from typing import Literal

def metrics_reference() -> list[tuple[str, str, str, str]]:
    """Every metric: its name, its type, vLLM's name of the same thing or nothing, and what it says."""

def init_logging(format: str, filter: str) -> None:  # noqa: A002
    """Send the log to standard error. The first call in a process counts, later ones change nothing.

    Raises:
        ValueError: `format` or `filter` cannot be understood.
    """

def close_log() -> None:
    """Have the last lines of the log written; at the very end, since later lines are lost."""

def flush_log() -> None:
    """Wait until the log so far is written, so that what comes next stands behind it; a second at most if nobody reads it."""

def json_line(level: Literal["INFO", "WARN", "ERROR"], message: str, **fields: str) -> str:
    """One line in the form of the log as JSON, for what is written where no log is open."""

def end_on_signals(numbers: list[int], format: str) -> None:  # noqa: A002
    """Have the first of these signals end the process at once, by one line and with the status that a shell gives to such an end.

    It does not wait for the interpreter. A handler that Python installs later takes its signal over.

    Args:
        numbers: the signals.
        format: "text" or "json", the form of the line.

    Raises:
        OSError: a signal cannot be caught.
    """

def log(level: Literal["info", "warning", "error"], message: str) -> None:
    """Write one line to the log.

    Raises:
        ValueError: there is no such level.
    """
