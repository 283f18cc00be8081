"""The cost of one decode step of a model on the CPU: plan, forward pass, draw, completion.

    python benches/runner/step.py FOLDER [--rows 8 32] [--steps 100]

FOLDER is a checkpoint in Hugging Face layout, or a name such as org/name. Processor time of one thread, so that a busy machine
matters less. To compare two commits, run them in turns. The table is Markdown.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from streamcore import _core
from streamcore.console import complain_of_development_build
from streamcore.models.folder import check_model_folder
from streamcore.models.hub import find_model
from streamcore.models.load import load_model
from streamcore.runner.memory import allocate_kv_cache
from streamcore.runner.model_runner import ModelRunner

CPU = torch.device("cpu")
PROMPT_LEN = 16
WARM_UP_STEPS = 3
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {},
    "temperature 0.8, top_p 0.95": {"temperature": 0.8, "top_p": 0.95},
}


def measure(folder: Path, rows: int, steps: int, sampling: dict[str, Any]) -> list[float]:
    """The processor time of each decode step of `rows` sequences, in milliseconds."""
    checked = check_model_folder(find_model(folder).path)
    max_len = PROMPT_LEN + steps + WARM_UP_STEPS + 1
    model = load_model(checked, CPU, torch.float32)
    model.prepare(max_len)
    num_blocks = rows * -(-max_len // 16)
    config = _core.EngineConfig(
        block_size=16,
        num_blocks=num_blocks,
        max_num_batched_tokens=rows * PROMPT_LEN,
        max_num_seqs=rows,
        max_model_len=max_len,
    )
    caches = allocate_kv_cache(model, block_size=16, num_blocks=num_blocks)
    runner = ModelRunner(model, caches, config)
    scheduler = _core.Scheduler(config)
    for row in range(rows):
        scheduler.add_request(row, [5 + row] * PROMPT_LEN, max_tokens=steps + WARM_UP_STEPS, **sampling)
    times: list[float] = []
    while True:
        started = time.process_time()
        plan = scheduler.next_step(runner.loan)
        if plan is None:
            return times[WARM_UP_STEPS:]
        scheduler.complete_step(plan.id, *runner.execute(plan).places())
        scheduler.drain_events()
        times.append((time.process_time() - started) * 1000)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    complain_of_development_build()
    torch.set_num_threads(1)
    print("| | rows | median, ms | least, ms |\n|---|---|---|---|")
    for name, sampling in SAMPLING.items():
        for rows in arguments.rows:
            times = measure(arguments.folder, rows, arguments.steps, sampling)
            print(f"| {name} | {rows} | {statistics.median(times):.2f} | {min(times):.2f} |", flush=True)


if __name__ == "__main__":
    main()
