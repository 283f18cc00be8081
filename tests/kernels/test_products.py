"""Products of few rows against float64, and what is made of them."""

from typing import Any

import pytest
import torch
from tests.kernels.conftest import Implementation, empty_like
from tests.kernels.test_experts import activated

from streamcore.kernels import LinearWeight

ACTIVATIONS: list[Any] = ["silu", "gelu_tanh", "clamped"]


def make(
    implementation: Implementation, num_rows: int, num_outputs: int, num_inputs: int, dtype: torch.dtype
) -> tuple[torch.Tensor, LinearWeight, torch.Tensor]:
    """Rows of a wider tensor, a weight whose products are about 1, and a bias that would be missed."""
    x = implementation.random(num_rows, num_inputs + 8, dtype=dtype)[:, 8:]
    weight = implementation.random(num_outputs, num_inputs, dtype=dtype, seed=1) * num_inputs**-0.5
    bias = implementation.random(num_outputs, dtype=dtype, seed=2)
    return x, LinearWeight(weight, num_outputs, num_inputs, packed=False), bias


def product(implementation: Implementation, x: Any, weight: LinearWeight, bias: Any = None) -> torch.Tensor:
    """The product in a tensor of its own."""
    out = empty_like(x.new_empty(x.shape[0], weight.num_outputs))
    implementation.operations.ops.linear(out, x, weight, bias)
    return out


@pytest.mark.parametrize("num_rows", [1, 8, 9, 17, 32, 33])
@pytest.mark.parametrize(
    ("num_outputs", "num_inputs"), [(1, 8), (64, 64), (130, 520), (31, 1000), (200, 2048)]
)
def test_products(
    implementation: Implementation, dtype: torch.dtype, num_rows: int, num_outputs: int, num_inputs: int
) -> None:
    """Nine tenths of a model are products; an input that is left out or a row too many garbles all of it."""
    x, weight, bias = make(implementation, num_rows, num_outputs, num_inputs, dtype)
    expected = x.double() @ weight.data.double().T
    implementation.assert_near(product(implementation, x, weight), expected)
    implementation.assert_near(product(implementation, x, weight, bias), expected + bias.double())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("num_rows", [1, 9, 33])
@pytest.mark.parametrize(("inter", "num_inputs"), [(1, 8), (33, 520), (96, 1024)])
def test_the_middle_of_an_mlp(
    implementation: Implementation,
    dtype: torch.dtype,
    activation: Any,
    num_rows: int,
    inter: int,
    num_inputs: int,
) -> None:
    """A gate that meets another output's number is noise that no single number shows."""
    x, weight, bias = make(implementation, num_rows, 2 * inter, num_inputs, dtype)
    gate_up = empty_like(x.new_empty(num_rows, 2 * inter))
    for added in (None, bias):
        out = empty_like(x.new_empty(num_rows, inter))
        implementation.operations.ops.gated_linear(out, gate_up, x, weight, added, activation)
        both = x.double() @ weight.data.double().T + (0 if added is None else added.double())
        expected = torch.stack([activated(row, activation) for row in both])
        implementation.assert_near(out, expected)


def test_a_row_does_not_depend_on_its_neighbours(implementation: Implementation) -> None:
    """The same token must give the same bits alone and in any batch that the kernel takes, or answers of a busy server
    would not repeat.
    """
    if not implementation.is_cuda:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    x, weight, bias = make(implementation, 32, 130, 1032, torch.bfloat16)
    together = product(implementation, x, weight, bias)
    for num_rows in (1, 5, 12, 31):
        for first in (0, 32 - num_rows):
            rows = slice(first, first + num_rows)
            assert torch.equal(product(implementation, x[rows], weight, bias), together[rows])
