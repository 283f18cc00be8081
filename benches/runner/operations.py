"""Where each microsecond of a step goes on the CPU, operation by operation: one decode of each row, or whole prompts.

    python benches/runner/operations.py FOLDER [--rows 1 32] [--context 128] [--rounds 200]
    python benches/runner/operations.py FOLDER --prompts 8 [--context 128] [--rounds 20]

FOLDER is a checkpoint in Hugging Face layout, a GGUF file, or a name such as org/name; `--quantize-activations int8` is that of
the server. Of each operation of the recorded forward pass: the
bytes of weights and of the KV cache that it must read, the time that this takes at the bandwidth that as many threads reach with
plain reads, and the time that it took. Each is the least of all rounds, operation by operation, because on a busy machine a whole
step is hardly ever undisturbed. Where the host of a virtual machine changes its pace, a share of the bandwidth means something
only if both were measured at once: the last line has passes and plain reads in turns, a few dozen of each, and the median of the
turns' shares. The table is Markdown.
"""

import argparse
import ctypes
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from streamcore import _core
from streamcore.config import ServeConfig
from streamcore.console import complain_of_development_build
from streamcore.kernels.library import DTYPE_CODES, Operation
from streamcore.models.folder import check_model_folder
from streamcore.models.hub import find_model
from streamcore.runner.load import load_runner

BYTES = {code: dtype.itemsize for dtype, code in DTYPE_CODES.items()}
MIN_READ_BYTES = 8 << 20
PIECE_BYTES = 2 << 20
# Forward passes, or reads of as many bytes, before the turn of the others: both find in the
# third cache what it keeps.
TURN = 20
WARM_UP_STEPS = 3
SPARE_TOKENS = 64


@dataclass
class Line:
    """Calls of one operation with one shape."""

    num_calls: int = 0
    num_bytes: int = 0
    num_products: int = 0
    seconds: float = 0.0


def read_bandwidth(num_bytes: int, num_threads: int, rounds: int) -> float:
    """Bytes per second that threads read, each its part of `num_bytes`; like the operations by pieces, each at its best."""
    parts = torch.ones(max(num_bytes, MIN_READ_BYTES) // 8, dtype=torch.float64).chunk(num_threads)
    torch.set_num_threads(1)

    def seconds(part: torch.Tensor) -> float:
        pieces = torch.split(part, PIECE_BYTES // 8)
        least = [float("inf")] * len(pieces)
        for _ in range(rounds):
            for number, piece in enumerate(pieces):
                started = time.perf_counter()
                piece.sum()
                least[number] = min(least[number], time.perf_counter() - started)
        return sum(least)

    with ThreadPoolExecutor(num_threads) as pool:
        bandwidth = sum(part.nbytes / s for part, s in zip(parts, pool.map(seconds, parts), strict=True))
    torch.set_num_threads(num_threads)
    return bandwidth


class Reads:
    """Threads that read memory over and over, each its part."""

    def __init__(self, num_bytes: int, num_threads: int) -> None:
        self._num_threads = num_threads
        self._parts = torch.ones(num_bytes // 8, dtype=torch.float64).chunk(num_threads)
        self._begin = threading.Barrier(len(self._parts))

    def seconds(self) -> float:
        """What one reading of all takes, in the mean of a turn."""
        torch.set_num_threads(1)
        with ThreadPoolExecutor(len(self._parts)) as pool:
            rates = list(pool.map(self._rate, self._parts))
        torch.set_num_threads(self._num_threads)
        return sum(part.nbytes for part in self._parts) / sum(rates)

    def _rate(self, part: torch.Tensor) -> float:
        self._begin.wait()
        started = time.perf_counter()
        for _ in range(TURN):
            part.sum()
        return TURN * part.nbytes / (time.perf_counter() - started)


def in_turns(loop: "Loop", size: "Size", num_bytes: int, num_turns: int) -> str:
    """The row of forward passes in turns with plain reads of as many bytes."""
    recording = loop.runner.recording
    assert recording is not None
    reads = Reads(num_bytes, torch.get_num_threads())
    floors, passes = [], []
    for _ in range(num_turns):
        floors.append(reads.seconds())
        started = time.perf_counter()
        for _ in range(TURN):
            recording.run(size.tokens, size.seqs, size.seqs)
        passes.append((time.perf_counter() - started) / TURN)
    shares = [floor / seconds for floor, seconds in zip(floors, passes, strict=True)]
    floor, seconds = statistics.median(floors), statistics.median(passes)
    title = f"forward pass, in turns with reads at {num_bytes / floor / 1e9:.1f} GB/s"
    numbers = (
        f"{num_bytes / 1e6:.2f} | {floor * 1e6:.1f} | {seconds * 1e6:.1f} | {statistics.median(shares):.2f}"
    )
    return f"| {title} | | {numbers} | |"


class Loop:
    """A model that decodes `rows` sequences, a step at a time, with the limits of a server."""

    def __init__(self, folder: Path, rows: int, context: int, rounds: int, quantize_activations: str) -> None:
        # The prompts may come one by one.
        num_steps = rows + WARM_UP_STEPS + rounds
        config = ServeConfig(
            max_num_seqs=rows,
            max_num_batched_tokens=max(rows * context, 16),
            # The engine keeps some blocks in hand.
            max_model_len=context + num_steps + SPARE_TOKENS,
            quantize_activations=quantize_activations,
        )
        loaded = load_runner(config, check_model_folder(find_model(folder).path))
        self.runner = loaded.runner
        self.scheduler = _core.Scheduler(loaded.engine_config)
        for row in range(rows):
            self.scheduler.add_request(row, [5 + row] * context, max_tokens=num_steps)
        self.parts: dict[str, float] = {}

    def step(self) -> tuple[int, int]:
        """Runs one, and keeps the least seconds of its parts; its tokens and sequences."""
        clock = [time.perf_counter()]
        plan = self.scheduler.next_step(self.runner.loan)
        clock.append(time.perf_counter())
        assert plan is not None
        output = self.runner.execute(plan)
        clock.append(time.perf_counter())
        self.scheduler.complete_step(plan.id, *output.places())
        self.scheduler.drain_events()
        clock.append(time.perf_counter())
        for name, start, end in zip(("plan", "run", "complete"), clock, clock[1:], strict=False):
            self.parts[name] = min(self.parts.get(name, end - start), end - start)
        return plan.num_tokens, plan.num_seqs


@dataclass(frozen=True)
class Size:
    """Of a step: its tokens, the sequences, the keys that are there, and the pairs of a token and a key that it sees."""

    tokens: int
    seqs: int
    keys: int
    pairs: int

    @classmethod
    def of_decodes(cls, rows: int, context: int) -> "Size":
        """One token of each row."""
        return cls(rows, rows, rows * context, rows * context)

    @classmethod
    def of_prompts(cls, prompts: int, context: int) -> "Size":
        """All tokens of each prompt."""
        return cls(prompts * context, prompts, prompts * context, prompts * context * (context + 1) // 2)


def bytes_of(linear: Any, num_weights: int) -> int:
    """Bytes of a weight; in few bits, of its numbers, and the scales and offsets of its groups."""
    if not linear.form:
        return num_weights * BYTES[linear.weight_dtype]
    # As the kernels have them, `rust/kernels/src/cpu/grouped/form.rs`.
    bits, group_size, _, offsets, is_nested = (ctypes.c_uint32 * 5).from_address(linear.form)
    group_bytes = (1 if is_nested else 2) * (2 if offsets else 1)
    return num_weights * bits // 8 + num_weights // group_size * group_bytes


def work_of(operation: Operation, arguments: Any, size: Size, rows: int) -> tuple[str, int, int]:
    """Name, bytes of weights and cache that an operation on some rows reads, and its products."""
    name = operation.name
    if name == "Linear":
        num_weights = arguments.num_inputs * arguments.num_outputs
        # Of builds that activate a product by another operation the struct has no such field.
        end = ", activated" if getattr(arguments, "activation", 0) else ""
        shape = f"{name} {arguments.num_inputs} to {arguments.num_outputs}{end}"
        return shape, bytes_of(arguments, num_weights), num_weights * rows
    if name == "PagedAttention":
        num_bytes = 2 * size.keys * arguments.num_kv_heads * arguments.head_dim * BYTES[arguments.cache_dtype]
        return name, num_bytes, 2 * size.pairs * arguments.num_heads * arguments.head_dim
    if name == "Embed":
        return name, rows * arguments.width * BYTES[arguments.table_dtype], 0
    if name == "RmsNorm":
        return name, arguments.hidden * BYTES[arguments.dtype], 0
    return name, 0, 0


def profile(folder: Path, size: Size, context: int, rounds: int, quantize_activations: str) -> None:
    """Prints the table of one kind of step."""
    loop = Loop(folder, size.seqs, context, rounds, quantize_activations)
    recording = loop.runner.recording
    if recording is None:
        raise SystemExit("the forward pass of this model is not recorded")
    while loop.step() != (size.tokens, size.seqs):
        pass
    loop.parts.clear()
    least = [float("inf")] * len(recording.recorder.written)
    forward = float("inf")
    # The last step's columns again: the same keys go to the same slots.
    for _ in range(rounds):
        times = recording.recorder.carry_out_timed(size.tokens, size.seqs, size.seqs)
        least = [min(pair) for pair in zip(least, times, strict=True)]
        started = time.perf_counter()
        recording.run(size.tokens, size.seqs, size.seqs)
        forward = min(forward, time.perf_counter() - started)
        if size.tokens == size.seqs:
            loop.step()
    lines: dict[str, Line] = {}
    rows, work = size.tokens, size
    for (operation, arguments), seconds in zip(recording.recorder.written, least, strict=True):
        name, num_bytes, num_products = work_of(operation, arguments, work, rows)
        if operation.name == "Take":
            # From here on there is one row of each sequence, which sees all of its keys.
            rows, work = size.seqs, Size(size.seqs, size.seqs, size.keys, size.keys)
        line = lines.setdefault(name, Line())
        line.num_calls += 1
        line.num_bytes += num_bytes
        line.num_products += num_products
        line.seconds += seconds
    print_table(lines, forward, rounds, f"{size.tokens} tokens of {size.seqs} sequences")
    print(
        in_turns(loop, size, sum(line.num_bytes for line in lines.values()), max(rounds // 4, 1)), flush=True
    )
    for name, part in {
        "plan": "plan",
        "run": "columns, forward pass, draw",
        "complete": "complete, events",
    }.items():
        if name in loop.parts:
            print(f"| {part} | | | | {loop.parts[name] * 1e6:.1f} | | |", flush=True)


def print_table(lines: dict[str, Line], forward: float, rounds: int, title: str) -> None:
    """Prints the lines beside what memory allows."""
    num_bytes = sum(line.num_bytes for line in lines.values())
    num_products = sum(line.num_products for line in lines.values())
    total = Line(
        sum(line.num_calls for line in lines.values()),
        num_bytes,
        num_products,
        sum(line.seconds for line in lines.values()),
    )
    bandwidth = read_bandwidth(num_bytes, torch.get_num_threads(), rounds)
    print(f"\n{title}, {bandwidth / 1e9:.1f} GB/s read\n")
    print(
        "| | calls | MB | floor, µs | took, µs | share of the bandwidth | GFLOP/s |\n|---|---|---|---|---|---|---|"
    )
    for name, line in [*lines.items(), ("all operations, each at its best", total)]:
        print(row_of(name, line, bandwidth))
    whole = Line(0, num_bytes, num_products, forward)
    print(row_of("forward pass, at its best", whole, bandwidth), flush=True)


def row_of(name: str, line: Line, bandwidth: float) -> str:
    """One row of the table."""
    floor = line.num_bytes / bandwidth
    return (
        f"| {name} | {line.num_calls or ''} | {line.num_bytes / 1e6:.2f} | {floor * 1e6:.1f} | {line.seconds * 1e6:.1f} | "
        f"{floor / line.seconds:.2f} | {2e-9 * line.num_products / line.seconds:.0f} |"
    )


def main() -> None:
    """Reads the command line and prints a table for each number of rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--prompts", type=int, nargs="+", default=[])
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--quantize-activations", choices=["none", "int8"], default="none")
    arguments = parser.parse_args()
    complain_of_development_build()
    sizes = [Size.of_prompts(prompts, arguments.context) for prompts in arguments.prompts]
    for size in sizes or [Size.of_decodes(rows, arguments.context) for rows in arguments.rows]:
        profile(arguments.folder, size, arguments.context, arguments.rounds, arguments.quantize_activations)


if __name__ == "__main__":
    main()
