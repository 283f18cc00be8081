"""Products of few rows against float64, and what is made of them."""

from typing import Any

import pytest
import torch
from tests.kernels.conftest import Implementation, empty_like
from tests.kernels.test_experts import RULES, activated, run
from tests.kernels.test_experts import expected as expected_of_experts

from streamcore.kernels import LinearWeight
from streamcore.operands import Expert, ExpertRule

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


def narrow_experts(
    implementation: Implementation, hidden: int, inter: int, dtype: torch.dtype
) -> list[Expert]:
    """Six experts, every other one with biases."""

    def weight(num_outputs: int, num_inputs: int, seed: int) -> LinearWeight:
        data = implementation.random(num_outputs, num_inputs, dtype=dtype, seed=seed) * num_inputs**-0.5
        return LinearWeight(data, num_outputs, num_inputs, packed=False)

    def bias(size: int, seed: int) -> torch.Tensor | None:
        return implementation.random(size, dtype=dtype, seed=seed) if seed % 2 else None

    return [
        Expert(
            weight(2 * inter, hidden, seed),
            bias(2 * inter, seed),
            weight(hidden, inter, 10 + seed),
            bias(hidden, seed),
        )
        for seed in range(6)
    ]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("num_tokens", [1, 9, 70])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
def test_narrow_experts(
    implementation: Implementation, rule: ExpertRule, num_tokens: int, dtype: torch.dtype
) -> None:
    """Which expert a token takes is settled without the host: a share or a row of another token is an answer that looks
    like one.
    """
    hidden, inter = 200, 136
    experts = narrow_experts(implementation, hidden, inter, dtype)
    x = implementation.random(num_tokens, hidden, dtype=dtype)
    # No two are equal, which torch orders as it likes.
    ranks = implementation.random(num_tokens, 6, seed=1).argsort(-1)
    scores = (ranks - 2.5).to(dtype) / 2
    if num_tokens > 32:
        # One expert has more rows than are multiplied together.
        scores[:, 2] = 3
    actual = run(implementation.operations.ops, x, scores, experts, rule)
    implementation.assert_near(actual, expected_of_experts(x, scores, experts, rule))


def test_a_token_does_not_depend_on_its_neighbours(implementation: Implementation) -> None:
    """Experts deal out the rows of a batch, and must not deal out answers."""
    if not implementation.is_cuda:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    experts = narrow_experts(implementation, 72, 40, torch.bfloat16)
    x = implementation.random(41, 72, dtype=torch.bfloat16)
    scores = implementation.random(41, 6, dtype=torch.bfloat16, seed=1)
    ops, rule = implementation.operations.ops, RULES["over all"]
    together = run(ops, x, scores, experts, rule)
    for rows in (slice(0, 1), slice(7, 19), slice(40, 41)):
        assert torch.equal(run(ops, x[rows].clone(), scores[rows].clone(), experts, rule), together[rows])
