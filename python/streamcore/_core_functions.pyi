"""Functions of `streamcore._core` about the process: its log, its metrics, the signals that end it.
A page of the stub alone.
"""

from os import PathLike
from typing import Literal

def metrics_reference() -> list[tuple[str, str, str, str]]:
    """Every metric: its name, its type, vLLM's name of the same thing or nothing, and
    what it says.
    """

def parser_names() -> tuple[list[str], list[str]]:
    """The names of the parsers of calls, and of those of reasoning; "auto" and "none" are among
    both.
    """

def harmless_text(text: str) -> str:
    """Untrusted text with harmful characters as `\\u001b`; line feeds and tabs are kept."""

def init_logging(format: str, filter: str) -> None:  # noqa: A002
    """Send the log to standard error. The first call in a process counts, later ones change
    nothing.

    Raises:
        ValueError: `format` or `filter` cannot be understood.
    """

def close_log() -> None:
    """Have the last lines of the log written; at the very end, since later lines are lost."""

def flush_log() -> None:
    """Wait until the log so far is written, so that what comes next stands behind it; a second at
    most if it is not read.
    """

def json_line(level: Literal["INFO", "WARN", "ERROR"], message: str, **fields: str) -> str:
    """One line in the form of the log as JSON, for what is written where no log is open."""

def end_on_signals(numbers: list[int], format: str) -> None:  # noqa: A002
    """Have the first of these signals end the process at once, by one line and with the status that
    a shell gives to such an end.

    It does not wait for the interpreter. A handler that Python installs later takes its signal
    over.

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

def replay(path: str | PathLike[str]) -> tuple[int, int, bool]:
    """Make the calls of a trace again.

    Returns:
        How many calls there were, how many plans, all as in the trace, and whether the last line
        was incomplete.

    Raises:
        OSError: there is no such file.
        TraceError: names the first line that cannot be read or whose plan differs, and what
            differs.
    """

def trace_model(path: str | PathLike[str]) -> tuple[str, int, int] | None:
    """Read the model of a trace: its name, the numbers in its weights, those in the keys and values
    of one token.

    None: the trace names none, as that of a script. Raises what `replay` raises.
    """

def simulate(settings: str) -> str:
    """Run a simulation, see `docs/simulation.md`. Settings and report are JSON, as `streamcore
    simulate --json` shows them.

    Raises what `replay` raises, and ConfigError where a setting cannot be.
    """

def row_parameters() -> list[tuple[str, str, str]]:
    """The numbers that a row keeps while its sequence runs: name, dtype of the column, and what
    each does.
    """

def step_table() -> tuple[list[tuple[str, str]], list[tuple[str, str, list[str], int, str]]]:
    """The table of a plan's parts.

    Returns:
        The sizes: name, and what each counts. The columns in their order: name, dtype, the sizes
        that say together how many elements a plan fills, how many more, and what its elements are.
    """
