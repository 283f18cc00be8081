"""The CPU's draw of tokens beside torch's.

    python benches/kernels/sampling.py [--vocab 8192 49152 151936] [--rows 1 8 32] [--rounds 20]

Rows of normal logits (flat: thousands of tokens are kept) and of some with twenty that stand out (peaked, as those of trained
models), greedy and with temperature 0.8 and top_p 0.95. The table has the least microseconds of all rounds, and how many tokens
are the same: torch's rule differs where a random number falls on a border. The table is Markdown.
"""

import argparse
import time
from collections.abc import Callable

import torch

from streamcore.console import complain_of_development_build
from streamcore.kernels.native import CpuOps
from streamcore.runner.sampler import SamplingColumns, sample
from streamcore.runner.threads import configure_threads
from streamcore.step import NOT_FINITE


def columns(rows: int, temperature: float) -> SamplingColumns:
    """The same parameters for every row, with random numbers that are spread evenly."""
    off, uniform = torch.zeros(rows), (torch.arange(rows) + 0.5) / rows
    return SamplingColumns(
        torch.full((rows,), temperature), off.int(), torch.full((rows,), 0.95), off, off, uniform
    )


def logits_of(shape: str, rows: int, vocab: int) -> torch.Tensor:
    """Random ones, float32 [rows, vocab]."""
    generator = torch.Generator().manual_seed(vocab + rows)
    if shape == "flat":
        return torch.randn(rows, vocab, generator=generator)
    logits = 2.5 * torch.randn(rows, vocab, generator=generator)
    logits[:, torch.randint(vocab, (20,), generator=generator)] += (
        torch.rand(20, generator=generator) * 12 + 4
    )
    return logits


def least(draw: Callable[[], object], rounds: int) -> float:
    """The microseconds of the fastest call."""
    times: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        draw()
        times.append(time.perf_counter() - started)
    return min(times) * 1e6


def compare(shape: str, name: str, temperature: float, rows: int, vocab: int, rounds: int) -> str:
    """A line of the table."""
    logits, by = logits_of(shape, rows, vocab), columns(rows, temperature)
    tokens, results = torch.empty(2, rows, dtype=torch.int32)
    parameters = {key: getattr(by, key) for key in SamplingColumns.parameters()}
    parameters |= {f"{key}_penalty": torch.zeros(rows) for key in ("repetition", "frequency", "presence")}
    places, ops = torch.arange(rows, dtype=torch.int32), CpuOps()

    def kernel() -> None:
        ops.sample(tokens, results, logits, parameters, places, by.uniform, NOT_FINITE)

    ours, others = least(kernel, rounds), least(lambda: sample(logits, by), max(rounds // 5, 1))
    equal = int((tokens == sample(logits, by)).sum())
    return f"| {name} | {shape} | {vocab} | {rows} | {ours:.1f} | {others:.1f} | {equal} of {rows} |"


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 49152, 151936])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    complain_of_development_build()
    configure_threads()
    print("| | logits | vocabulary | rows | kernel, µs | torch, µs | equal |\n|---|---|---|---|---|---|---|")
    for name, temperature in (("greedy", 0.0), ("temperature 0.8, top_p 0.95", 0.8)):
        for shape in ("flat", "peaked"):
            for vocab in arguments.vocab:
                for rows in arguments.rows:
                    print(compare(shape, name, temperature, rows, vocab, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
