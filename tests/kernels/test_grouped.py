"""Products with weights of four and eight bits against float64."""

from dataclasses import replace

import pytest
import torch
from tests.kernels.grouped_weights import FORMS, SHAPES, random_weight

from streamcore import kernels
from streamcore.kernels import Checked, LinearWeight, grouped, native
from streamcore.kernels.grouped import Form
from streamcore.kernels.recorder import Recorder

OPS = Checked(native.ops_for(torch.device("cpu")))
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
rounding = pytest.mark.parametrize("round_x", [False, True], ids=["exact", "rounded"])


def prepared(form: Form, num_outputs: int, num_inputs: int, round_x: bool) -> LinearWeight:
    """A weight of that form."""
    weight = random_weight(form, num_outputs, num_inputs, seed=num_outputs)
    return replace(kernels.pack_grouped_weight([weight], torch.float32, exact=True), round_x=round_x)


def distance_of_rounding(x: torch.Tensor, form: Form, magnitudes: torch.Tensor) -> torch.Tensor:
    """How far products may be from those of activations that were not rounded to eight bits: half a
    step for each, where a step is the 127th part of the greatest of the inputs that share it.
    """
    stretch = max(form.group_size, 32)
    filled = torch.nn.functional.pad(x.double().abs(), (0, -x.shape[1] % stretch))
    steps = filled.view(x.shape[0], -1, stretch).amax(-1).repeat_interleave(stretch, dim=1) / 127
    return 0.501 * steps[:, : x.shape[1]] @ magnitudes.T


def linear(x: torch.Tensor, weight: LinearWeight, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The product in a tensor of its own."""
    out = torch.full((x.shape[0], weight.num_outputs), torch.nan)
    OPS.linear(out, x, weight, bias)
    return out


@forms
@pytest.mark.parametrize(("num_outputs", "num_inputs"), SHAPES)
def test_packing_loses_nothing(form: Form, num_outputs: int, num_inputs: int) -> None:
    """A number in another place, or a scale of another group, would garble the layer."""
    weight = random_weight(form, num_outputs, num_inputs)
    back = grouped.unpack(grouped.pack(weight), form, num_outputs, num_inputs)
    for name in ("codes", "scales", "offsets", "outer_scales", "outer_offsets"):
        before, after = getattr(weight, name), getattr(back, name)
        assert (before is None and after is None) or torch.equal(before, after), name
    assert torch.equal(back.values(), weight.values())


@forms
@rounding
@pytest.mark.parametrize("num_tokens", [1, 2, 5, 9, 17, 40])
@pytest.mark.parametrize(("num_outputs", "num_inputs"), SHAPES)
def test_linear(form: Form, round_x: bool, num_tokens: int, num_outputs: int, num_inputs: int) -> None:
    """A product must be that of the values which the files define, within the rounding of float32
    sums: each of `n` additions adds at most 2^-24 of the sum of the magnitudes.
    """
    generator = torch.Generator().manual_seed(num_inputs)
    weight = random_weight(form, num_outputs, num_inputs, seed=num_outputs)
    packed = prepared(form, num_outputs, num_inputs, round_x)
    x = torch.randn(num_tokens, num_inputs, generator=generator)
    x = x.bfloat16().float() if round_x else x
    bias = torch.randn(num_outputs, generator=generator)
    scales = weight.values().double()
    expected = x.double() @ scales.T + bias.double()
    magnitudes = weight.values().double().abs()
    if weight.offsets is not None:
        # The two sums of a group are larger than their difference.
        plain = replace(weight, offsets=None, outer_offsets=None, form=replace(form, offsets="none"))
        product = plain.values().double().abs()
        magnitudes = 2 * product + magnitudes
    bound = (num_inputs + 8) * 2**-24 * (x.double().abs() @ magnitudes.T + bias.double().abs())
    actual = linear(x, packed, bias)
    assert bool(((actual.double() - expected).abs() <= bound).all())


@forms
@pytest.mark.parametrize("num_tokens", [1, 3, 17, 40])
@pytest.mark.parametrize(("num_outputs", "num_inputs"), SHAPES)
def test_activations_in_eight_bits(form: Form, num_tokens: int, num_outputs: int, num_inputs: int) -> None:
    """Nothing may be lost but what the rounding of activations takes."""
    generator = torch.Generator().manual_seed(num_inputs)
    weight = random_weight(form, num_outputs, num_inputs, seed=num_outputs)
    packed = replace(prepared(form, num_outputs, num_inputs, False), quantize_x=True)
    x = torch.randn(num_tokens, num_inputs, generator=generator)
    expected = x.double() @ weight.values().double().T
    magnitudes = weight.values().double().abs()
    bound = distance_of_rounding(x, form, magnitudes)
    if weight.offsets is not None:
        plain = replace(weight, offsets=None, outer_offsets=None, form=replace(form, offsets="none"))
        magnitudes = 2 * plain.values().double().abs() + magnitudes
    bound += (num_inputs + 8) * 2**-24 * (x.double().abs() @ magnitudes.T)
    actual = linear(x, packed)
    assert bool(((actual.double() - expected).abs() <= bound).all())
    assert (
        num_inputs == 1
        or not packed.packed
        or not torch.equal(actual, linear(x, prepared(form, num_outputs, num_inputs, False)))
    )


@forms
@rounding
def test_a_row_does_not_depend_on_its_neighbours(form: Form, round_x: bool) -> None:
    """The same token must give the same bits alone and in any batch, or answers would not repeat."""
    weight = prepared(form, 300, 352, round_x)
    if not weight.packed:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    x = torch.randn(75, 352)
    together = linear(x, weight)
    for first, end in ((0, 1), (74, 75), (3, 5), (10, 17), (5, 21), (20, 37), (1, 49), (8, 72)):
        assert torch.equal(linear(x[first:end], weight), together[first:end]), (first, end)


@forms
def test_a_row_in_eight_bits_does_not_depend_on_its_neighbours(form: Form) -> None:
    """Few rows and many are multiplied by different instructions: they must agree in every bit."""
    weight = replace(prepared(form, 300, 352, False), quantize_x=True)
    if not weight.packed:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    x = torch.randn(150, 352)
    together = linear(x, weight)
    for num_rows in range(1, 41):
        assert torch.equal(linear(x[150 - num_rows :], weight), together[150 - num_rows :]), num_rows


@forms
def test_a_recorded_product_is_the_same(form: Form) -> None:
    """A step that was written down must answer as one that was not."""
    weight = prepared(form, 96, 320, True)
    if not weight.packed:
        pytest.skip("torch cannot be recorded")
    x, out = torch.randn(5, 320), torch.zeros(5, 96)
    recorder = Recorder()
    recorder.linear(out, x, weight, None)
    recorder.carry_out(5, 1, 5)
    assert torch.equal(out, linear(x, weight))


def test_outputs_may_lie_in_a_wider_row() -> None:
    """Projections of different forms share the rows of one tensor."""
    weight = prepared(FORMS["4-bit, nested"], 40, 256, False)
    if not weight.packed:
        pytest.skip("torch writes where it is told to")
    x, out = torch.randn(3, 256), torch.zeros(3, 100)
    native.ops_for(torch.device("cpu")).linear(out[:, 30:70], x, weight, None)
    assert torch.equal(out[:, 30:70], linear(x, weight))
    assert not out[:, :30].any()
    assert not out[:, 70:].any()
