"""Products of a device with weights of four and eight bits against float64."""

from typing import Any

import pytest
import torch
from tests.kernels.conftest import Implementation
from tests.kernels.grouped_weights import FORMS, random_weight

from streamcore import kernels
from streamcore.kernels import LinearWeight, groups_on_cuda, native
from streamcore.kernels.grouped import Form, Grouped

forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "f16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The activations."""
    chosen: torch.dtype = request.param
    return chosen


@pytest.fixture
def device_kernels(implementation: Implementation) -> Implementation:
    """The CUDA kernels: the CPU's have tests of their own."""
    if not implementation.is_cuda:
        pytest.skip("other kernels")
    return implementation


def prepared(
    where: Implementation, form: Form, num_outputs: int, num_inputs: int
) -> tuple[Grouped, LinearWeight]:
    """The numbers of a weight whose products are about 1, and how the kernels read it."""
    numbers = random_weight(form, num_outputs, num_inputs, seed=num_outputs).map(
        lambda part: part.to(where.device)
    )
    return numbers, kernels.pack_grouped_weight([numbers], torch.float16, exact=True)


def product(
    where: Implementation, x: torch.Tensor, weight: LinearWeight, bias: torch.Tensor | None
) -> torch.Tensor:
    """The product in a tensor of its own."""
    out = torch.full((x.shape[0], weight.num_outputs), torch.nan, dtype=x.dtype, device=x.device)
    where.operations.ops.linear(out, x, weight, bias)
    return out


def assert_product(
    where: Implementation, form: Form, num_rows: int, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """Compares a product, of rows of a wider tensor, with that of the weight's values in float64."""
    num_outputs, num_inputs = shape
    numbers, weight = prepared(where, form, num_outputs, num_inputs)
    values = numbers.values().double()
    scale = float(values.abs().max()) * num_inputs**0.5
    x = (where.random(num_rows, num_inputs + 8) / scale).to(dtype)[:, 8:]
    bias = where.random(num_outputs, dtype=dtype, seed=2)
    expected = x.double() @ values.T
    where.assert_near(product(where, x, weight, None), expected)
    where.assert_near(product(where, x, weight, bias), expected + bias.double())


@forms
@pytest.mark.parametrize("num_rows", [3, 12, 40])
@pytest.mark.parametrize("shape", [(1, 8), (31, 40), (130, 608)])
def test_products(
    device_kernels: Implementation, dtype: torch.dtype, form: Form, num_rows: int, shape: tuple[int, int]
) -> None:
    """A code that is read for its neighbour, or a scale of another group, garbles the layer."""
    assert_product(device_kernels, form, num_rows, shape, dtype)


def test_products_that_are_split(device_kernels: Implementation, dtype: torch.dtype) -> None:
    """A group of inputs may end in one stretch and begin in another."""
    for name in ("4-bit, zero points", "8-bit, nested minima", "4-bit, a table"):
        assert_product(device_kernels, FORMS[name], 3, (40, 2080), dtype)


@forms
def test_many_rows(
    device_kernels: Implementation, dtype: torch.dtype, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matrix that does not fit is widened in parts: one that is left out is a hole in every row."""
    monkeypatch.setattr(native, "MAX_ROWS_OF_GROUPS", 0)
    monkeypatch.setattr(groups_on_cuda, "_WIDENED_BYTES", 2 * 608 * 64)
    ops: Any = device_kernels.operations.ops
    monkeypatch.setattr(ops._ops, "_widened_memory", groups_on_cuda.WidenedMemory())
    assert_product(device_kernels, form, 5, (130, 608), dtype)


@forms
def test_numbers_are_widened_as_the_format_says(
    device_kernels: Implementation, dtype: torch.dtype, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt and the tokens behind it must be computed with the same weights, to the last bit of each."""
    monkeypatch.setattr(native, "MAX_ROWS_OF_GROUPS", 0)
    numbers, weight = prepared(device_kernels, form, 40, 264)
    x = torch.eye(264, dtype=dtype, device=device_kernels.device)
    actual = product(device_kernels, x, weight, None).T
    assert torch.equal(actual, numbers.values().to(dtype))


@forms
def test_a_row_does_not_depend_on_its_neighbours(device_kernels: Implementation, form: Form) -> None:
    """The same token must give the same bits alone and in any batch of up to 32, or answers of a busy server would not
    repeat.
    """
    if form.bits == 4 and form.group_size < 32:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    _, weight = prepared(device_kernels, form, 130, 1032)
    x = device_kernels.random(32, 1032, dtype=torch.bfloat16)
    together = product(device_kernels, x, weight, None)
    for num_rows in (1, 12, 31):
        for first in (0, 32 - num_rows):
            rows = slice(first, first + num_rows)
            assert torch.equal(product(device_kernels, x[rows], weight, None), together[rows])
