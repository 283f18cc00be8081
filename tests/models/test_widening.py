"""Quantised matrices against their makers' descriptions: one wrong bit is another model, which
still talks.
"""

import pytest
import torch
from tests.models.format_variants import MATRICES, STACKS
from tests.models.quantised import Quantised
from torch import Tensor

from streamcore.layers.weights import Stack
from streamcore.models.formats import METHODS, parse_format
from streamcore.models.formats.stored import Format, Stored
from streamcore.models.tensor_files import FLOATS

DTYPES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.int8: "I8",
    torch.uint8: "U8",
}

ORDERED = ("gptq order", "gptq 8", "compressed 4 order", "compressed 4 order asymmetric")
"""Formats whose columns are in groups by importance."""


NARROW_BLOCKS = {
    "fp8 blocks": 32,
    "fp8 blocks exponents": 16,
    "fp8 blocks powers": 16,
    "compressed fp8 blocks": 32,
}
"""Formats whose scales are for fewer inputs than a kernel takes, unless there are no more."""


def format_of(form: Quantised) -> Format:
    """As config.json names it."""
    problems: list[str] = []
    weight_format = parse_format({"quantization_config": form.config}, problems)
    assert not problems
    return weight_format


def check(stored: Stored, tensors: dict[str, Tensor], rows: int) -> Tensor:
    """The matrix, widened in pieces, once the tensors are found to be what the format asks for."""
    entries = {
        name: entry for name, entry in stored.entries.items() if name in tensors or not entry.is_optional
    }
    assert entries.keys() == tensors.keys()
    for name, entry in entries.items():
        assert tuple(tensors[name].shape) in entry.shapes
        assert DTYPES[tensors[name].dtype] in entry.dtypes
    assert stored.problem(tensors) is None
    pieces = [stored.widen(tensors, slice(first, min(first + 32, rows))) for first in range(0, rows, 32)]
    whole = torch.cat(pieces)
    assert DTYPES[whole.dtype] == stored.dtype(
        {name: DTYPES[tensor.dtype] for name, tensor in tensors.items()}
    )
    assert DTYPES[whole.dtype] in FLOATS
    return whole


@pytest.mark.parametrize(("rows", "inputs"), [(48, 80), (160, 48), (8, 32), (40, 16), (160, 272)])
@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_is_what_its_format_says(name: str, rows: int, inputs: int) -> None:
    """Nibbles in another order, a zero that is off by one or a scale of the neighbouring group give
    weights that look like weights.
    """
    tensors, expected = MATRICES[name].write(rows, inputs, torch.Generator().manual_seed(rows))
    stored = format_of(MATRICES[name]).matrix("model.layers.0.mlp.up_proj", rows, inputs, {})
    if "weight_scale" in tensors and stored is not None and ".weight_scale_inv" in stored.entries:
        found = {"model.layers.0.mlp.up_proj.weight_scale": None}
        stored = format_of(MATRICES[name]).matrix("model.layers.0.mlp.up_proj", rows, inputs, found)  # type: ignore[arg-type]
    assert stored is not None
    named = {f".{end}": tensor for end, tensor in tensors.items() if end != "bias"}
    whole = check(stored, named, rows)
    assert whole.dtype == expected.dtype
    assert torch.equal(whole, expected)
    grouped = stored.grouped(named)
    # Columns of one group are in order.
    is_narrow = inputs > NARROW_BLOCKS.get(name, inputs)
    assert (grouped is None) == (is_narrow or (name in ORDERED and inputs > 16))
    assert stored.kept in (None, "fp8" if "fp8" in name else "integers")
    assert grouped is None or grouped.form.is_fp8 == ("fp8" in name)
    if grouped is not None:
        assert torch.equal(grouped.values().to(expected.dtype), expected)


@pytest.mark.parametrize("name", STACKS)
def test_an_expert_is_what_its_format_says(name: str) -> None:
    """Experts come in one tensor; each must be its own."""
    written = [STACKS[name].write(64, 96, torch.Generator().manual_seed(seed)) for seed in range(3)]
    stored = format_of(STACKS[name]).stack(Stack("model.layers.0.mlp.experts.gate_up_proj", 3, 64, 96))
    assert stored is not None
    for ending, entry in stored.entries.items():
        assert tuple(torch.stack([tensors[ending[1:]] for tensors, _ in written]).shape) in entry.shapes
    for tensors, expected in written:
        whole = stored.widen({f"_{end}": tensor for end, tensor in tensors.items()}, slice(0, 64))
        assert whole.dtype == expected.dtype
        assert torch.equal(whole, expected)
        grouped = stored.grouped({f"_{end}": tensor for end, tensor in tensors.items()})
        assert grouped is not None
        assert torch.equal(grouped.values(), expected.float())


def test_every_format_is_compared() -> None:
    """A format that nothing compares may be wrong in any way."""
    compared = {form.config["quant_method"] for form in (*MATRICES.values(), *STACKS.values())}
    assert compared == set(METHODS)
