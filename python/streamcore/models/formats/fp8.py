"""fp8 as DeepSeek, Qwen, Mistral, Meta and NVIDIA publish it.

`.weight` is F8_E4M3 [rows, inputs]; `.weight_scale_inv` or `.weight_scale` is one number, one for
each row, or one for each block of rows and columns. A weight is their product in float32, in spite
of a name that says inverse. What follows activations (`.activation_scale`, `.input_scale`) is for
products in fp8.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.weights import Stack
from streamcore.models.fields import Fields
from streamcore.models.formats.plain import Plain
from streamcore.models.formats.stored import Entry, Format, Found, Names, Stored
from streamcore.models.tensor_files import Kept

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped

_BLOCK = (128, 128)
_SCALES = ("F32", "BF16", "F16", "F8_E8M0", "U8")
_PASSED_OVER = frozenset(
    {"activation_scale", "input_scale", "input_scale_ub", "k_scale", "v_scale", "q_scale"}
)


@dataclass(frozen=True, slots=True)
class Fp8:
    """See `Format`."""

    blocks: tuple[tuple[int, int] | None, ...]
    """The block sizes that a layer may have; None for one scale of all, or of each row."""
    ignored: Names
    title: str = "fp8"
    rounds_activations: bool = True
    passed_over: frozenset[str] = _PASSED_OVER

    def matrix(self, name: str, rows: int, inputs: int, found: Found) -> Stored | None:
        """See `Format`."""
        if self.ignored.have(name):
            return None
        scale = ".weight_scale" if f"{name}.weight_scale" in found else ".weight_scale_inv"
        return Fp8Matrix(rows, inputs, scale, self.blocks)

    def stack(self, stack: Stack) -> Stored | None:
        """See `Format`."""
        return None


@dataclass(frozen=True, slots=True)
class Fp8Matrix:
    """See `Stored`."""

    rows: int
    inputs: int
    scale: str
    blocks: tuple[tuple[int, int] | None, ...]

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        shapes: tuple[tuple[int, ...], ...] = ()
        for block in self.blocks:
            shapes += (self._grid(block),) if block else ((), (1,), (self.rows, 1), (self.rows,))
        return {
            ".weight": Entry(((self.rows, self.inputs),), ("F8_E4M3",)),
            self.scale: Entry(shapes, _SCALES),
        }

    def _grid(self, block: tuple[int, int]) -> tuple[int, int]:
        return math.ceil(self.rows / block[0]), math.ceil(self.inputs / block[1])

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        return "fp8"

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return "F32"

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        return None

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        from streamcore.models.formats import arithmetic

        scales, width = self._scales(tensors, rows)
        return arithmetic.scaled(arithmetic.fp8(tensors[".weight"][rows]), scales, width)

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`."""
        from streamcore.models.formats import groups

        scales, width = self._scales(tensors, slice(0, self.rows))
        return groups.floats(tensors[".weight"], scales, width)

    def _scales(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "tuple[Tensor, int]":
        """float32 [rows, groups], and how many columns a group has; -1 for all."""
        from streamcore.models.formats import arithmetic

        scales = tensors[self.scale]
        scales = scales.float() if scales.is_floating_point() else arithmetic.exponents(scales)
        if scales.numel() == 1:
            return scales.reshape(1, 1).expand(rows.stop - rows.start, 1), -1
        if scales.numel() == self.rows == scales.shape[0]:
            return scales.reshape(-1, 1)[rows], -1
        height, width = next(block for block in self.blocks if block is not None)
        return arithmetic.rows_of_blocks(scales, rows, height), width


def parse(fields: Fields) -> Fp8:
    """`quant_method` fp8."""
    fields.choice("activation_scheme", "dynamic", ("dynamic", "static"))
    fields.choice("scale_fmt", "float", ("float", "ue8m0"))
    fields.choice("expert_dtype", "fp8", ("fp8",))
    fields.choice("fmt", "e4m3", ("e4m3",))
    ignored = (*fields.texts("modules_to_not_convert"), *fields.texts("ignored_layers"))
    return Fp8(_parse_blocks(fields), Names.of_parts(ignored))


def _parse_blocks(fields: Fields) -> tuple[tuple[int, int] | None, ...]:
    if "weight_block_size" not in fields.raw:
        return (_BLOCK, None)
    value = fields.raw["weight_block_size"]
    if value is None:
        return (None,)
    if isinstance(value, list) and len(value) == 2 and all(type(size) is int and size > 0 for size in value):
        return ((value[0], value[1]),)
    fields.refuse("weight_block_size", value, "it must be a list of two positive integers, or null")
    return (None,)


def parse_rows(fields: Fields) -> Fp8:
    """`quant_method` fbgemm_fp8: a scale for each row."""
    return Fp8((None,), Names.of_parts(fields.texts("modules_to_not_convert")))


def parse_modelopt(fields: Fields) -> Format:
    """`quant_method` modelopt, of which fp8 with one scale for each matrix is read, and folders in
    which only keys and values are to be quantised.
    """
    if "quant_algo" in fields.raw and fields.raw["quant_algo"] is None:
        return Plain(passed_over=_PASSED_OVER)
    fields.choice("quant_algo", None, ("FP8",))
    ignored = (*fields.texts("exclude_modules"), *fields.texts("ignore"))
    return Fp8((None,), Names.of_parts(ignored))
