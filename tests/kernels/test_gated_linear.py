"""The first half of an MLP on the CPU, one operation, against the two that it stands for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.kernels.conftest import empty_like
from tests.kernels.grouped_weights import FORMS, random_weight

from streamcore import kernels
from streamcore.kernels import Checked, LinearWeight, library, native
from streamcore.kernels.recorder import Recorder
from streamcore.kernels.scratch import Scratch
from streamcore.layers.linear import Linear
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.step import Step

pytestmark = pytest.mark.skipif(not library.packs_weights(), reason="torch multiplies here")

OPS = Checked(native.ops_for(torch.device("cpu")))
NUM_INPUTS = 160


def plain(
    num_outputs: int, dtype: torch.dtype, num_inputs: int = NUM_INPUTS, *, exact: bool = False
) -> LinearWeight:
    """A packed weight whose products are about 1."""
    generator = torch.Generator().manual_seed(num_outputs)
    numbers = torch.randn(num_outputs, num_inputs, generator=generator) * num_inputs**-0.5
    return kernels.pack_linear_weight(numbers.to(dtype), torch.float32, exact=exact)


def in_groups(num_outputs: int, *names: str) -> LinearWeight:
    """Weights in groups of these forms, one after another."""
    parts = [random_weight(FORMS[name], num_outputs // len(names), NUM_INPUTS) for name in names]
    return kernels.pack_grouped_weight(parts, torch.float32, exact=False)


WEIGHTS: dict[str, Callable[[int], LinearWeight]] = {
    "bfloat16": lambda n: plain(n, torch.bfloat16),
    "bfloat16, rounded": lambda n: replace(plain(n, torch.bfloat16), round_x=True),
    "bfloat16, exact": lambda n: plain(n, torch.bfloat16, exact=True),
    "float32": lambda n: plain(n, torch.float32),
    "groups": lambda n: in_groups(n, "4-bit, symmetric"),
    "groups, 8-bit activations": lambda n: replace(in_groups(n, "8-bit, symmetric"), quantize_x=True),
    "groups of two forms": lambda n: in_groups(n, "4-bit, symmetric", "8-bit, zero points"),
}
ACTIVATIONS: list[Any] = ["silu", "gelu_tanh", "clamped"]


def as_two(x: torch.Tensor, weight: LinearWeight, bias: Any, activation: Any) -> torch.Tensor:
    """A product, then its activation."""
    gate_up = empty_like(x.new_empty(x.shape[0], weight.num_outputs))
    out = empty_like(x.new_empty(x.shape[0], weight.num_outputs // 2))
    OPS.linear(gate_up, x, weight, bias)
    OPS.gated(out, gate_up, activation)
    return out


@pytest.mark.parametrize("make", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("num_rows", [1, 17, 70])
@pytest.mark.parametrize("inter", [96, 45])
def test_one_operation_is_the_two(make: Callable[[int], LinearWeight], num_rows: int, inter: int) -> None:
    """A model must answer the same on processors that have the operation and on those that do not, recorded or not."""
    weight, bias = make(2 * inter), torch.randn(2 * inter)
    x = torch.randn(num_rows, NUM_INPUTS + 8)[:, 8:]
    gate_up = torch.empty(num_rows, weight.gate_up_width)
    for activation in ACTIVATIONS:
        for added in (None, bias):
            expected = as_two(x, weight, added, activation)
            OPS.gated_linear(out := empty_like(expected), gate_up, x, weight, added, activation)
            assert torch.equal(out, expected)
            recorder = Recorder()
            recorder.gated_linear(recorded := empty_like(expected), gate_up, x, weight, added, activation)
            recorder.carry_out(num_rows, 1, 1)
            assert torch.equal(recorded, expected)


@pytest.mark.parametrize("make", WEIGHTS.values(), ids=WEIGHTS)
def test_an_mlp_takes_the_memory_that_its_weight_asks_for(make: Callable[[int], LinearWeight]) -> None:
    """Memory for a product that is nowhere written is memory that the KV cache does not get."""
    weight, down = make(192), plain(NUM_INPUTS, torch.bfloat16, 96)
    mlp = GatedMlp(Linear(weight), Linear(down))
    scratch = Scratch(torch.float32, torch.device("cpu"))
    mlp(torch.randn(5, NUM_INPUTS), Step(OPS, torch.zeros(5), torch.zeros(5), [], scratch))
    assert scratch.num_bytes == 5 * 4 * (weight.gate_up_width + 96 + NUM_INPUTS)


def test_memory_that_is_missing_is_refused() -> None:
    """The kernel believes its arguments: it would write a product to foreign memory."""
    weight = plain(96, torch.float32)
    with pytest.raises(ValueError, match=r"`gate_up` must be \[3, 96\], got \[3, 0\]"):
        OPS.gated_linear(
            torch.empty(3, 48), torch.empty(3, 0), torch.randn(3, NUM_INPUTS), weight, None, "silu"
        )
    with pytest.raises(ValueError, match=r"`out` \[num_tokens, 48\]"):
        OPS.gated_linear(
            torch.empty(3, 96), torch.empty(3, 96), torch.randn(3, NUM_INPUTS), weight, None, "silu"
        )
