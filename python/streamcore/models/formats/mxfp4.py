"""MXFP4 as gpt-oss publishes its experts (Rouhani et al. 2023, arXiv:2310.10537).

Behind the name of a stack, `_blocks` is U8 [num_experts, rows, inputs / 32, 16] with two numbers of
four bits in a byte, `_scales` U8 [num_experts, rows, inputs / 32] with the exponents of powers of
two, plus 127. A weight is their product, which bfloat16 holds exactly. The matrices are not
transposed, unlike those of the unquantised folder.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.weights import Stack
from streamcore.models.fields import Fields
from streamcore.models.formats.stored import Entry, Found, Names, Stored
from streamcore.models.tensor_files import Kept

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped

_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Mxfp4:
    """See `Format`."""

    ignored: Names
    title: str = "MXFP4"
    rounds_activations: bool = False
    passed_over: frozenset[str] = frozenset()

    def matrix(self, name: str, rows: int, inputs: int, found: Found) -> Stored | None:
        """See `Format`."""
        return None

    def stack(self, stack: Stack) -> Stored | None:
        """See `Format`."""
        return None if self.ignored.have(stack.name) else Mxfp4Stack(stack)


@dataclass(frozen=True, slots=True)
class Mxfp4Stack:
    """See `Stored`."""

    stack: Stack

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        groups = (self.stack.num_experts, self.stack.rows, math.ceil(self.stack.inputs / _BLOCK))
        return {
            "_blocks": Entry(((*groups, _BLOCK // 2),), ("U8",)),
            "_scales": Entry((groups,), ("U8",)),
        }

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        return "integers"

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return "BF16"

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        return None

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        from streamcore.models.formats import arithmetic

        scales = arithmetic.exponents(tensors["_scales"][rows])
        numbers = arithmetic.fp4(tensors["_blocks"][rows]) * scales.unsqueeze(-1)
        return numbers.flatten(-2)[:, : self.stack.inputs].bfloat16()

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`."""
        import torch

        from streamcore.kernels.grouped import Form, Grouped
        from streamcore.models.formats import arithmetic

        pairs = tensors["_blocks"]
        codes = torch.stack([pairs & 15, pairs >> 4], dim=-1).flatten(1)[:, : self.stack.inputs]
        form = Form(4, _BLOCK, torch.bfloat16, table=arithmetic.FP4)
        return Grouped(form, codes, arithmetic.exponents(tensors["_scales"]).bfloat16())


def parse(fields: Fields) -> Mxfp4:
    """`quant_method` mxfp4."""
    return Mxfp4(Names.of_parts(fields.texts("modules_to_not_convert")))
