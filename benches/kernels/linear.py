"""The packed projection beside torch's float32 and bfloat16 ones, on the shapes of the `tiny` model.

    python benches/kernels/linear.py [--rounds N] [--threads N]
    python benches/kernels/linear.py --groups [--activations int8] [--rounds N] [--threads N]

The candidates take turns (A B C A B C …) over as many copies of the weight as the model has layers, so that
neither noise nor a warm cache favours one; ours are recorded and carried out in one call, as in a step. The table
shows medians: of the kernel that this processor has, and ratios above 1 where it is faster. GB/s counts the bytes
of the packed weight.

With `--groups` the packed bfloat16 projection is compared with weights of eight and four bits in groups, whose activations are
rounded as those of bfloat16 weights are, or with `--activations int8` to eight bits; that table shows the least times, since
what a shared machine adds to them is no property of the kernels.
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
from streamcore.kernels import grouped
from streamcore.kernels.recorder import Recorder

SHAPES = [(1024, 512), (512, 512), (2688, 512), (512, 1344), (8192, 512)]
SHAPES_OF_GROUPS = [(1536, 896), (9728, 896), (896, 4864)]
ROWS = [1, 8, 32, 128, 512]
LAYERS = 8
PAUSE_S = 0.02


def measure(
    candidates: list[Callable[[], None]],
    rounds: int,
    typical: Callable[[list[float]], float] = statistics.median,
) -> list[float]:
    """The median seconds of each candidate, taking turns, or what else is `typical`."""
    times: list[list[float]] = [[] for _ in candidates]
    for _ in range(rounds):
        for candidate, spent in zip(candidates, times, strict=True):
            settle()
            candidate()
            start = time.perf_counter()
            candidate()
            spent.append(time.perf_counter() - start)
    return [typical(spent) for spent in times]


def settle() -> None:
    """Waits until the threads of the candidate before have gone to sleep: torch's look out for more work for milliseconds.

    This thread stays awake: Linux may wake the threads of one that has slept on the same core, and takes
    milliseconds to move them to the other.
    """
    until = time.perf_counter() + PAUSE_S
    while time.perf_counter() < until:
        pass


def recorded(weights: list[kernels.LinearWeight], x: Tensor, num_outputs: int) -> Callable[[], None]:
    """The products with all weights, in one call."""
    recorder, out = Recorder(), torch.empty(len(x), num_outputs)
    for weight in weights:
        recorder.linear(out, x, weight, None)

    def run() -> None:
        # The recorder has addresses alone: what is at them must live as long as this function.
        recorder.carry_out(min(map(len, (x, out))), 0, 0)

    return run


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

    ours, torch_f32, torch_bf16 = measure(
        [recorded(packed, x, num_outputs), over(wide, x), over(narrow, narrow_x)], rounds
    )
    products = 2 * num_rows * num_outputs * num_inputs * copies / 1e9
    gigabytes = 2 * num_outputs * num_inputs * copies / 1e9
    return (
        f"{num_rows:5} {num_inputs:5} x {num_outputs:<5} {ours / copies * 1e6:9.1f} {gigabytes / ours:7.1f} "
        f"{products / ours:8.1f} {products / torch_f32:9.1f} {products / torch_bf16:10.1f} "
        f"{torch_f32 / ours:8.2f} {torch_bf16 / ours:8.2f}"
    )


FORMS = {
    "Q8_0": grouped.Form(8, 32, torch.float16),
    "Q4_0": grouped.Form(4, 32, torch.float16),
    "AWQ": grouped.Form(4, 128, torch.float16, "zeros"),
    "Q4_K": grouped.Form(4, 32, torch.float16, "minima", is_nested=True, table=grouped.UNSIGNED),
    "Q6_K": grouped.Form(8, 16, torch.float16, is_nested=True),
}
"""Forms of files, by the name of one that has it."""


def random_weight(
    form: grouped.Form, num_outputs: int, num_inputs: int, quantize_x: bool
) -> kernels.LinearWeight:
    """A weight of a form; what its numbers are does not matter."""
    shape = (-(-num_outputs // grouped.TILE), -(-num_inputs // form.span), form.span_bytes)
    data = torch.randint(0, 60, shape, dtype=torch.uint8)
    rounds = kernels.pack_linear_weight(torch.zeros(32, 32).bfloat16(), torch.float32, exact=False).round_x
    return kernels.LinearWeight(
        data, num_outputs, num_inputs, packed=True, round_x=rounds, quantize_x=quantize_x, form=form
    )


def row_of_groups(num_rows: int, num_outputs: int, num_inputs: int, rounds: int, quantize_x: bool) -> str:
    """One line of the table of weights in groups."""
    x, copies = torch.randn(num_rows, num_inputs), LAYERS if num_outputs < 8192 else 1
    plain = torch.randn(num_outputs, num_inputs).bfloat16()
    packed = [kernels.pack_linear_weight(plain, torch.float32, exact=False) for _ in range(copies)]
    groups = [
        [random_weight(form, num_outputs, num_inputs, quantize_x) for _ in range(copies)]
        for form in FORMS.values()
    ]
    runs = [recorded(weights, x, num_outputs) for weights in [packed, *groups]]
    bfloat16, *times = measure(runs, rounds, typical=min)
    cells = " ".join(
        f"{spent / copies * 1e6:7.1f} {weights[0].num_bytes * copies / spent / 1e9:5.1f} {bfloat16 / spent:5.2f}"
        for weights, spent in zip(groups, times, strict=True)
    )
    return f"{num_rows:5} {num_inputs:5} x {num_outputs:<5} {bfloat16 / copies * 1e6:9.1f} {cells}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--groups", action="store_true")
    parser.add_argument("--activations", choices=("float", "int8"), default="float")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kernels.set_num_threads(arguments.threads)
    print_line = sys.stdout.write
    print_line(f"{kernels.description(torch.bfloat16)}\n")
    if arguments.groups:
        names = "".join(f"{name:>14}     x" for name in FORMS)
        print_line(f" rows   in  x  out   bf16 us   us and GB/s of each, times as fast:\n{'':24}{names}\n")
        for num_rows in ROWS:
            for num_outputs, num_inputs in SHAPES_OF_GROUPS:
                quantize_x = arguments.activations == "int8"
                line = row_of_groups(num_rows, num_outputs, num_inputs, arguments.rounds, quantize_x)
                print_line(line + "\n")
        return
    print_line(" rows   in  x  out   us/call    GB/s  GFLOP/s  torch f32 torch bf16    x f32   x bf16\n")
    for num_rows in ROWS:
        for num_outputs, num_inputs in SHAPES:
            print_line(row(num_rows, num_outputs, num_inputs, arguments.rounds) + "\n")


if __name__ == "__main__":
    main()
