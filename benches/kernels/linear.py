"""The packed projection beside torch's float32 and bfloat16 ones, on the shapes of the `tiny` model.

    python benches/kernels/linear.py [--rounds N] [--threads N]

The candidates take turns (A B C A B C …) over as many copies of the weight as the model has layers, so that
neither noise nor a warm cache favours one. The table shows medians: of the kernel as it was chosen by
measurement, and ratios above 1 where it is faster. GB/s counts the bytes of the packed weight.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from streamcore import kernels

SHAPES = [(1024, 512), (512, 512), (2688, 512), (512, 1344), (8192, 512)]
ROWS = [1, 8, 32, 128]
LAYERS = 8


def measure(candidates: list[Callable[[], None]], rounds: int) -> list[float]:
    """The median seconds of each candidate, taking turns."""
    times: list[list[float]] = [[] for _ in candidates]
    for _ in range(rounds):
        for candidate, spent in zip(candidates, times, strict=True):
            candidate()
            start = time.perf_counter()
            candidate()
            spent.append(time.perf_counter() - start)
    return [statistics.median(spent) for spent in times]


def row(num_rows: int, num_outputs: int, num_inputs: int, rounds: int) -> str:
    """One line of the table."""
    x = torch.randn(num_rows, num_inputs)
    narrow_x = x.bfloat16()
    copies = LAYERS if num_outputs < 8192 else 1
    narrow = [torch.randn(num_outputs, num_inputs).bfloat16() for _ in range(copies)]
    wide = [weight.float() for weight in narrow]
    packed = [kernels.pack_linear_weight(weight, torch.float32, exact=False) for weight in narrow]

    def over(weights: list[Tensor], activations: Tensor) -> Callable[[], None]:
        def run() -> None:
            for weight in weights:
                linear(activations, weight)

        return run

    ops, out = kernels.ops_for(x.device), torch.empty(num_rows, num_outputs)

    def kernel() -> None:
        for weight in packed:
            ops.linear(out, x, weight, None)

    ours, torch_f32, torch_bf16 = measure([kernel, over(wide, x), over(narrow, narrow_x)], rounds)
    products = 2 * num_rows * num_outputs * num_inputs * copies / 1e9
    gigabytes = 2 * num_outputs * num_inputs * copies / 1e9
    return (
        f"{num_rows:5} {num_inputs:5} x {num_outputs:<5} {ours / copies * 1e6:9.1f} {gigabytes / ours:7.1f} "
        f"{products / ours:8.1f} {products / torch_f32:9.1f} {products / torch_bf16:10.1f} "
        f"{torch_f32 / ours:8.2f} {torch_bf16 / ours:8.2f}"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kernels.set_num_threads(arguments.threads)
    print_line = sys.stdout.write
    print_line(f"{kernels.description(torch.bfloat16)}\n")
    print_line(" rows   in  x  out   us/call    GB/s  GFLOP/s  torch f32 torch bf16    x f32   x bf16\n")
    for num_rows in ROWS:
        for num_outputs, num_inputs in SHAPES:
            print_line(row(num_rows, num_outputs, num_inputs, arguments.rounds) + "\n")


if __name__ == "__main__":
    main()
