"""What a step costs between Python and the engine: `next_step` into the columns, then `complete_step`.

    python benches/crossing.py [--rows 256] [--steps 2000]

No model and no torch: the columns are plain memory, and every sequence draws the same token. Build the extension with
optimisations (`maturin develop --release`); the goal is at most 20 µs at 256 rows.
"""

import argparse
import ctypes
import statistics
import time
from typing import Any

from streamcore import _core
from streamcore.console import complain_of_development_build

BLOCK_SIZE = 16
PROMPT_LEN = 16
WARM_UP_STEPS = 20
GOAL_US = 20.0
CTYPES: dict[str, Any] = {"int32": ctypes.c_int32, "int64": ctypes.c_int64, "float32": ctypes.c_float}


def place(column: "ctypes.Array[Any]") -> tuple[int, int]:
    """Address and number of elements."""
    return ctypes.addressof(column), len(column)


def measure(rows: int, steps: int) -> list[float]:
    """The time of each decode step of `rows` sequences, in microseconds."""
    max_len = PROMPT_LEN + WARM_UP_STEPS + steps
    config = _core.EngineConfig(
        block_size=BLOCK_SIZE,
        num_blocks=rows * -(-max_len // BLOCK_SIZE),
        max_num_batched_tokens=rows * PROMPT_LEN,
        max_num_seqs=rows,
        max_model_len=max_len,
    )
    columns = [(CTYPES[dtype] * length)() for _, dtype, length in config.step_columns()]
    buffers = _core.StepBuffers(config, [place(column) for column in columns])
    sampled = (ctypes.c_int32 * rows)(*[7] * rows)
    scheduler = _core.Scheduler(config)
    for row in range(rows):
        prompt = range(row * PROMPT_LEN, (row + 1) * PROMPT_LEN)
        scheduler.add_request(row, list(prompt), max_tokens=WARM_UP_STEPS + steps, temperature=0.8, seed=row)
    times: list[float] = []
    for _ in range(WARM_UP_STEPS + steps):
        started = time.perf_counter_ns()
        plan = scheduler.next_step(buffers)
        assert plan is not None
        assert plan.num_samples == rows
        scheduler.complete_step(plan.id, place(sampled))
        times.append((time.perf_counter_ns() - started) / 1000)
        scheduler.drain_events()
    return times[WARM_UP_STEPS:]


def main() -> None:
    """Read the command line and print the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    complain_of_development_build()
    times = measure(arguments.rows, arguments.steps)
    median, least = statistics.median(times), min(times)
    print(f"{arguments.rows} rows: median {median:.1f} µs, least {least:.1f} µs (goal {GOAL_US:.0f} µs)")


if __name__ == "__main__":
    main()
