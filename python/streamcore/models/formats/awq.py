"""AWQ (Lin et al. 2024, arXiv:2306.00978) in the order of its product named gemm.

`.qweight` is I32 [inputs, rows / 8], `.qzeros` I32 [groups, rows / 8], `.scales` [groups, rows]:
the matrix lies transposed, and a word holds eight rows of it, in the order 0 2 4 6 1 3 5 7 from its
lowest bits on. A weight is `(q - zero) · scale`, rounded to the dtype of the scales.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.weights import Stack
from streamcore.models.fields import Fields
from streamcore.models.formats.stored import (
    Entry,
    Found,
    Names,
    Stored,
    num_groups,
    num_words,
    parse_bits,
    parse_group_size,
)
from streamcore.models.tensor_files import Kept

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped

_BITS = 4
_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where each of the eight rows of a word lies in it."""


@dataclass(frozen=True, slots=True)
class Awq:
    """See `Format`."""

    group_size: int
    ignored: Names
    title: str = "4-bit AWQ"
    rounds_activations: bool = False
    passed_over: frozenset[str] = frozenset()

    def matrix(self, name: str, rows: int, inputs: int, found: Found) -> Stored | None:
        """See `Format`."""
        return None if self.ignored.have(name) else AwqMatrix(rows, inputs, self.group_size)

    def stack(self, stack: Stack) -> Stored | None:
        """See `Format`."""
        return None


@dataclass(frozen=True, slots=True)
class AwqMatrix:
    """See `Stored`."""

    rows: int
    inputs: int
    group_size: int

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        groups, words = num_groups(self.inputs, self.group_size), num_words(self.rows, _BITS)
        return {
            ".qweight": Entry(((self.inputs, words),), ("I32",)),
            ".qzeros": Entry(((groups, words),), ("I32",)),
            ".scales": Entry(((groups, self.rows),), ("F16", "BF16", "F32")),
        }

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        return "integers"

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return dtypes[".scales"]

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        return None

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        from streamcore.models.formats import arithmetic

        words = slice(rows.start // 8, num_words(rows.stop, _BITS))
        scales = tensors[".scales"][:, rows].t().contiguous()

        def unpacked(name: str) -> "Tensor":
            return arithmetic.unpack_across(tensors[name][:, words], _BITS, _PLACES)[: len(scales)]

        return arithmetic.scaled(unpacked(".qweight"), scales, self.group_size, zeros=unpacked(".qzeros"))

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`."""
        import torch

        from streamcore.models.formats import arithmetic, groups

        def unpacked(rows: slice) -> "Tensor":
            words = tensors[".qweight"][:, rows.start // 8 : num_words(rows.stop, _BITS)]
            return arithmetic.unpack_across(words, _BITS, _PLACES)[: rows.stop - rows.start]

        return groups.integers(
            groups.in_pieces(self.rows, self.inputs, unpacked, torch.uint8),
            tensors[".scales"].t(),
            self.group_size,
            bits=_BITS,
            zeros=arithmetic.unpack_across(tensors[".qzeros"], _BITS, _PLACES)[: self.rows],
        )


def parse(fields: Fields) -> Awq:
    """`quant_method` awq."""
    parse_bits(fields, "bits", _BITS, (_BITS,))
    fields.choice("format" if fields.raw.get("format") else "version", "gemm", ("gemm",))
    if fields.raw.get("backend") == "llm-awq":
        fields.refuse("backend", "llm-awq", "its order of numbers is not supported")
    if not fields.boolean("zero_point", True):
        fields.refuse("zero_point", False, "only true is supported")
    return Awq(parse_group_size(fields, 128), Names.of_parts(fields.texts("modules_to_not_convert")))
