"""Products with weights in fp8 against float64, and what is made of them."""

from typing import Any

import pytest
import torch
from tests.kernels.conftest import Implementation, empty_like
from tests.kernels.grouped_weights import random_fp8
from tests.kernels.test_experts import RULES, activated, run
from tests.kernels.test_experts import expected as expected_of_experts

from streamcore import kernels
from streamcore.kernels import LinearWeight, grouped, groups_on_cuda, native
from streamcore.kernels.grouped import Form, Grouped
from streamcore.operands import Expert

scales = pytest.mark.parametrize("is_whole", [False, True], ids=["blocks", "rows"])


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "f16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The activations."""
    chosen: torch.dtype = request.param
    return chosen


def prepared(
    where: Implementation, num_outputs: int, num_inputs: int, *, is_whole: bool, seed: int = 0
) -> tuple[Grouped, LinearWeight]:
    """The numbers of a weight, and how the kernels read it."""
    numbers = random_fp8(num_outputs, num_inputs, is_whole=is_whole, seed=seed)
    numbers = numbers.map(lambda part: part.to(where.device))
    return numbers, kernels.pack_grouped_weight([numbers], torch.float16, exact=True)


def product(
    where: Implementation, x: torch.Tensor, weight: LinearWeight, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The product in a tensor of its own."""
    out = empty_like(x.new_empty(x.shape[0], weight.num_outputs))
    where.operations.ops.linear(out, x, weight, bias)
    return out


@scales
@pytest.mark.parametrize(("num_outputs", "num_inputs"), [(1, 16), (70, 144), (130, 272)])
def test_packing_loses_nothing(num_outputs: int, num_inputs: int, is_whole: bool) -> None:
    """A scale that belongs to another row is of the right size, and wrong."""
    numbers = random_fp8(num_outputs, num_inputs, is_whole=is_whole)
    packed = grouped.pack(numbers)
    assert packed.nbytes == numbers.codes.nbytes + numbers.scales.nbytes
    back = grouped.unpack(packed, numbers.form, num_outputs, num_inputs)
    assert torch.equal(back.codes, numbers.codes)
    assert torch.equal(back.scales, numbers.scales)


@scales
@pytest.mark.parametrize("num_rows", [1, 9, 32, 40, 300])
@pytest.mark.parametrize(("num_outputs", "num_inputs"), [(1, 16), (70, 144), (130, 528), (64, 2048)])
def test_products(
    implementation: Implementation,
    dtype: torch.dtype,
    num_rows: int,
    num_outputs: int,
    num_inputs: int,
    is_whole: bool,
) -> None:
    """A code that is read for its neighbour, or a scale of another block, garbles the layer."""
    numbers, weight = prepared(implementation, num_outputs, num_inputs, is_whole=is_whole)
    x = implementation.random(num_rows, num_inputs + 8, dtype=dtype)[:, 8:]
    bias = implementation.random(num_outputs, dtype=dtype, seed=2)
    expected = x.double() @ numbers.values().double().T
    implementation.assert_near(product(implementation, x, weight), expected)
    implementation.assert_near(product(implementation, x, weight, bias), expected + bias.double())


@scales
@pytest.mark.parametrize("num_rows", [1, 9, 40])
def test_the_middle_of_an_mlp(
    implementation: Implementation, dtype: torch.dtype, num_rows: int, is_whole: bool
) -> None:
    """A gate that meets the scale of what it multiplies is noise that no single number shows."""
    numbers, weight = prepared(implementation, 2 * 50, 272, is_whole=is_whole)
    x = implementation.random(num_rows, 272, dtype=dtype)
    gate_up, out = empty_like(x.new_empty(num_rows, 100)), empty_like(x.new_empty(num_rows, 50))
    implementation.operations.ops.gated_linear(out, gate_up, x, weight, None, "silu")
    both = x.double() @ numbers.values().double().T
    implementation.assert_near(out, torch.stack([activated(row, "silu") for row in both]))


def test_matrices_of_several_forms_are_joined(implementation: Implementation, dtype: torch.dtype) -> None:
    """A gate with a scale for each row and what it multiplies with one for each block are two products in one row."""
    numbers = [
        random_fp8(50, 272, is_whole=is_whole).map(lambda part: part.to(implementation.device))
        for is_whole in (False, True)
    ]
    weight = kernels.pack_grouped_weight(numbers, torch.float16, exact=True)
    assert len(weight.parts) == 2
    x = implementation.random(9, 272, dtype=dtype)
    gate_up, out = empty_like(x.new_empty(9, 100)), empty_like(x.new_empty(9, 50))
    implementation.operations.ops.gated_linear(out, gate_up, x, weight, None, "silu")
    both = x.double() @ torch.cat([part.values() for part in numbers]).double().T
    implementation.assert_near(out, torch.stack([activated(row, "silu") for row in both]))


@scales
@pytest.mark.parametrize("most", [0, 256], ids=["widened", "as they are"])
def test_weights_are_what_the_format_says(
    implementation: Implementation,
    dtype: torch.dtype,
    is_whole: bool,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A prompt and the tokens behind it must be computed with the same weights, to the last bit of each: those that
    widening the folder gives.
    """
    monkeypatch.setattr(native, "MAX_ROWS_OF_GROUPS", most)
    numbers, weight = prepared(implementation, 70, 144, is_whole=is_whole)
    x = torch.eye(144, dtype=dtype, device=implementation.device)
    actual = product(implementation, x, weight).T
    assert torch.equal(actual, numbers.values().to(dtype))


def test_what_is_no_number_stays_none(implementation: Implementation, dtype: torch.dtype) -> None:
    """A folder that is broken must not answer as if it were not."""
    if not implementation.is_cuda:
        pytest.skip("torch's own conversion")
    codes = torch.arange(256, device=implementation.device).to(torch.uint8).view(16, 16)
    scale = torch.full((16, 1), 0.37, device=implementation.device)
    numbers = Grouped(Form(8, 16, torch.float32, is_fp8=True), codes, scale)
    weight = kernels.pack_grouped_weight([numbers], torch.float16, exact=True)
    widened = codes.new_empty(16, 16, dtype=dtype)
    cuda: Any = implementation.operations.ops._ops
    cuda._widen(widened, weight, 0)
    expected = numbers.values().to(dtype)
    assert int(expected.isnan().sum()) == 2
    assert torch.equal(widened.isnan(), expected.isnan())
    assert torch.equal(widened.nan_to_num(7.0), expected.nan_to_num(7.0))


def test_a_matrix_is_widened_in_parts(
    implementation: Implementation, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that is left out is a hole in every row."""
    if not implementation.is_cuda:
        pytest.skip("other kernels")
    ops: Any = implementation.operations.ops
    monkeypatch.setattr(native, "MAX_ROWS_OF_GROUPS", 0)
    monkeypatch.setattr(groups_on_cuda, "_WIDENED_BYTES", 2 * 272 * 64)
    monkeypatch.setattr(ops._ops, "_widened_memory", groups_on_cuda.WidenedMemory())
    numbers, weight = prepared(implementation, 130, 272, is_whole=False)
    x = implementation.random(5, 272, dtype=dtype)
    implementation.assert_near(product(implementation, x, weight), x.double() @ numbers.values().double().T)


@scales
def test_a_row_does_not_depend_on_its_neighbours(implementation: Implementation, is_whole: bool) -> None:
    """The same token must give the same bits alone and in any batch of up to 32, or answers of a busy server would not
    repeat.
    """
    if not implementation.is_cuda:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    _, weight = prepared(implementation, 130, 1040, is_whole=is_whole)
    x = implementation.random(32, 1040, dtype=torch.bfloat16)
    together = product(implementation, x, weight)
    for num_rows in (1, 12, 31):
        for first in (0, 32 - num_rows):
            rows = slice(first, first + num_rows)
            assert torch.equal(product(implementation, x[rows], weight), together[rows])


@scales
@pytest.mark.parametrize("num_tokens", [1, 9, 70])
def test_experts(implementation: Implementation, dtype: torch.dtype, num_tokens: int, is_whole: bool) -> None:
    """Each expert has scales of its own, behind its own numbers."""
    hidden, inter = 208, 144
    experts, plain = [], []
    for seed in range(4):
        pairs = [
            prepared(implementation, *shape, is_whole=is_whole, seed=seed)
            for shape in ((2 * inter, hidden), (hidden, inter))
        ]
        values = [
            LinearWeight(part.values(), part.codes.shape[0], part.codes.shape[1], packed=False)
            for part, _ in pairs
        ]
        experts.append(Expert(pairs[0][1], None, pairs[1][1], None))
        plain.append(Expert(values[0], None, values[1], None))
    x = implementation.random(num_tokens, hidden, dtype=dtype)
    # No two are equal, which torch orders as it likes.
    scores = (implementation.random(num_tokens, 4, seed=1).argsort(-1) - 1.5).to(dtype) / 2
    rule = RULES["over all"]
    actual = run(implementation.operations.ops, x, scores, experts, rule)
    implementation.assert_near(actual, expected_of_experts(x, scores, plain, rule))


def test_experts_of_several_forms_are_torchs(implementation: Implementation) -> None:
    """A format may leave one expert as it was: its numbers must not be read as fp8."""
    if not implementation.is_cuda:
        pytest.skip("other kernels")
    ops: Any = implementation.operations.ops
    numbers = [prepared(implementation, *shape, is_whole=True)[1] for shape in ((64, 32), (32, 32))]
    plain = [
        LinearWeight(implementation.random(*shape, dtype=torch.bfloat16), *shape, packed=False)
        for shape in ((64, 32), (32, 32))
    ]
    alike = [Expert(numbers[0], None, numbers[1], None)] * 2
    mixed = [alike[0], Expert(plain[0], None, plain[1], None)]
    assert ops._ops._expert_memory.are_alike(alike)
    assert not ops._ops._expert_memory.are_alike(mixed)
