"""`streamcore replay`: makes the calls of a trace again and compares the plans."""

from pathlib import Path

from streamcore import _core
from streamcore.console import write_output


def replay(trace: Path) -> int:
    """Replay a trace and say how far it was the same; returns the exit status.

    Raises:
        OSError: there is no such file.
        TraceError: names the first line that cannot be read or whose plan differs, and what
            differs.
    """
    num_calls, num_steps, is_cut_off = _core.replay(trace)
    write_output(f"all {num_steps} steps are equal ({num_calls} calls)\n")
    if is_cut_off:
        write_output("the last line was incomplete and is left out: its writer was killed or its disk full\n")
    return 0
