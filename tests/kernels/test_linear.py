"""The projection with packed weights against float64."""

from dataclasses import replace

import pytest
import torch

from streamcore import kernels
from streamcore.kernels import Checked, LinearWeight, native

OPS = Checked(native.ops_for(torch.device("cpu")))


def linear(x: torch.Tensor, weight: LinearWeight, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The product in a tensor of its own."""
    out = torch.full((x.shape[0], weight.num_outputs), torch.nan, dtype=x.dtype)
    OPS.linear(out, x, weight, bias)
    return out


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 4, 7, 8, 9, 31, 128])
@pytest.mark.parametrize(
    ("num_outputs", "num_inputs"), [(1, 1), (32, 16), (31, 33), (33, 7), (512, 512), (130, 1344), (16, 1000)]
)
@pytest.mark.parametrize("round_x", [False, True], ids=["exact", "rounded"])
def test_linear(num_tokens: int, num_outputs: int, num_inputs: int, round_x: bool) -> None:
    """Nine tenths of a model are projections; a column packed to the wrong place
    garbles all of it.
    """
    generator = torch.Generator().manual_seed(num_outputs)
    weight = torch.randn(num_outputs, num_inputs, generator=generator).bfloat16()
    x = torch.randn(num_tokens, num_inputs, generator=generator)
    x = x.bfloat16().float() if round_x else x
    prepared = replace(kernels.pack_linear_weight(weight, torch.float32, exact=False), round_x=round_x)
    actual = linear(x, prepared)
    assert actual.is_contiguous()
    torch.testing.assert_close(actual.double(), x.double() @ weight.double().T, rtol=1e-5, atol=1e-4)


def test_linear_takes_rows_of_a_wider_tensor() -> None:
    """The MLP may read half of a fused tensor: a row stride taken for the width mixes tokens."""
    weight = torch.randn(40, 24).bfloat16()
    x = torch.randn(5, 50).bfloat16().float()[:, 10:34]
    actual = linear(x, kernels.pack_linear_weight(weight, torch.float32, exact=False))
    torch.testing.assert_close(actual.double(), x.double() @ weight.double().T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("round_x", [False, True], ids=["exact", "rounded"])
def test_a_row_does_not_depend_on_its_neighbours(round_x: bool) -> None:
    """The same token must give the same bits alone and in any batch, or answers would
    not repeat.
    """
    weight = replace(
        kernels.pack_linear_weight(torch.randn(300, 96).bfloat16(), torch.float32, exact=False),
        round_x=round_x,
    )
    if not weight.packed:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    x = torch.randn(15, 96)
    together = linear(x, weight)
    alone = torch.cat([linear(x[i : i + 1], weight) for i in range(15)])
    assert torch.equal(together, alone)


def test_rounding_rounds_to_nearest() -> None:
    """Truncated activations would bias every layer towards zero."""
    weight = kernels.pack_linear_weight(torch.ones(1, 1).bfloat16(), torch.float32, exact=False)
    if not weight.packed:
        pytest.skip("torch does not round")
    x = torch.tensor([[1 + 3 / 512], [1 + 1 / 512], [-1 - 3 / 512]])
    exact = linear(x, replace(weight, round_x=False))
    assert torch.equal(exact, x)
    rounded = linear(x, replace(weight, round_x=True))
    # A processor without such products keeps the activations exact.
    assert torch.equal(rounded, x.bfloat16().float()) or torch.equal(rounded, x)


@pytest.mark.parametrize("num_tokens", [1, 2, 5, 9, 40])
@pytest.mark.parametrize(("num_outputs", "num_inputs"), [(1, 1), (31, 33), (130, 1344), (512, 512)])
def test_float32_weights_stay_float32(num_tokens: int, num_outputs: int, num_inputs: int) -> None:
    """A float32 checkpoint must not be rounded to bfloat16 behind the user's back; a bias is added
    once.
    """
    generator = torch.Generator().manual_seed(num_outputs)
    weight, bias = torch.randn(num_outputs, num_inputs, generator=generator), torch.randn(num_outputs)
    x = torch.randn(num_tokens, num_inputs, generator=generator)
    actual = linear(x, kernels.pack_linear_weight(weight, torch.float32, exact=False), bias)
    torch.testing.assert_close(actual.double(), x.double() @ weight.double().T + bias, rtol=1e-5, atol=1e-4)


def test_float16_weights_stay_with_torch() -> None:
    """There is no kernel for them, and torch's is exact."""
    weight = torch.randn(8, 4).half()
    prepared = kernels.pack_linear_weight(weight, torch.float16, exact=False)
    assert not prepared.packed
    x = torch.randn(3, 4).half()
    assert torch.equal(linear(x, prepared), x @ weight.T)


def test_wrong_activations_are_refused() -> None:
    """A kernel believes its arguments: a wrong one would read foreign memory."""
    weight = kernels.pack_linear_weight(torch.randn(8, 4).bfloat16(), torch.float32, exact=False)
    if not weight.packed:
        pytest.skip("torch checks its own arguments")
    with pytest.raises(ValueError, match=r"`x` must be \[num_tokens, 4\]"):
        linear(torch.randn(3, 5), weight)
    with pytest.raises(ValueError, match="`x` must be float32"):
        linear(torch.randn(3, 4).bfloat16(), weight)
