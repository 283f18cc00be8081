"""What it costs to use the engine from a program of one's own.

    python benches/runner/embedding.py [--rounds 5] [--prompts 256] [--tokens 128]

First `streamcore.Scheduler` without a model: processor time of `next_step`, the columns that a plain runner reads and
`complete_step` for decodes, and of the events; `benches/crossing.py` measures the extension's two calls alone. Then
`LLM.generate` with the demo model against a bare loop over the same engine and runner without text, in turns: its share of
the rate, and the processor time of both. The tables are Markdown.
"""

import argparse
import statistics
import time
from array import array
from collections.abc import Callable
from typing import Any

from streamcore import LLM, SamplingParams, Scheduler, _core
from streamcore.console import complain_of_development_build

PROMPT = "Count from 1 to 1000"
LIMITS: dict[str, Any] = {"num_blocks": 8192, "block_size": 16, "max_num_batched_tokens": 4096}
STEPS = 300


def scheduler_step(rows: int) -> tuple[float, float]:
    """Microseconds of a step by `streamcore.Scheduler` with the columns of a plain runner read, and of its events."""
    scheduler = Scheduler(max_num_seqs=rows, max_model_len=1024, **LIMITS)
    for row in range(rows):
        scheduler.add_request([row + 1] * 8, max_tokens=STEPS + 2)
    tokens = array("i", [7] * rows)
    times, event_times = [], []
    for _ in range(STEPS):
        started = time.thread_time()
        step = scheduler.next_step()
        assert step is not None
        _ = (
            step.token_ids,
            step.positions,
            step.slot_mapping,
            step.query_starts,
            step.context_lens,
            step.seq_rows,
        )
        _ = step.block_places, step.block_ids, step.logits_indices
        scheduler.complete_step(step, tokens)
        middle = time.thread_time()
        scheduler.drain_events()
        times.append(middle - started)
        event_times.append(time.thread_time() - middle)
    return statistics.median(times) * 1e6, statistics.median(event_times) * 1e6


def bare_loop(num_prompts: int, num_tokens: int) -> Callable[[], None]:
    """The engine and the runner of the demo model without text, queue or thread."""
    from streamcore.config import ServeConfig
    from streamcore.models.folder import check_model_folder
    from streamcore.runner.load import load_runner
    from streamcore.scripted import DEMO_MODEL

    loaded = load_runner(ServeConfig(), check_model_folder(DEMO_MODEL))
    config, runner = loaded.engine_config, loaded.runner
    prompt = [703, 350, 220, 16, 287, 220, 16, 15, 15, 15]

    def run() -> None:
        scheduler = _core.Scheduler(config)
        for request in range(num_prompts):
            scheduler.add_request(request, prompt, max_tokens=num_tokens, temperature=1.0, seed=request)
        while (plan := scheduler.next_step(runner.loan)) is not None:
            scheduler.complete_step(plan.id, *runner.execute(plan).places())
            scheduler.drain_events()

    return run


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that pass, and of processor time."""
    wall, processor = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - wall, time.process_time() - processor


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    complain_of_development_build()
    print("| rows | step, µs | its events, µs |\n|---|---|---|")
    for rows in (1, 64, 256):
        step, events = scheduler_step(rows)
        print(f"| {rows} | {step:.1f} | {events:.1f} |", flush=True)
    loop = bare_loop(arguments.prompts, arguments.tokens)
    # The loop's sampling, whatever the model's own is.
    params = SamplingParams(
        temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, max_tokens=arguments.tokens, ignore_eos=True
    )
    with LLM() as llm:

        def generate() -> None:
            llm.generate([PROMPT] * arguments.prompts, params, progress=False)

        rounds = [(timed(loop), timed(generate)) for _ in range(arguments.rounds)]
    bare, ours = (
        [statistics.median(of[which][kind] for of in rounds) for kind in (0, 1)] for which in (0, 1)
    )
    share = statistics.median(of[0][0] / of[1][0] for of in rounds)
    num_tokens = arguments.prompts * arguments.tokens
    print("\n| | tokens/s | share | processor, µs/token |\n|---|---|---|---|")
    print(f"| bare loop | {num_tokens / bare[0]:.0f} | 1 | {bare[1] / num_tokens * 1e6:.0f} |")
    print(f"| `LLM.generate` | {num_tokens / ours[0]:.0f} | {share:.2f} | {ours[1] / num_tokens * 1e6:.0f} |")


if __name__ == "__main__":
    main()
