"""GPTQ (Frantar et al. 2023, arXiv:2210.17323).

`.qweight` is I32 [inputs · bits / 32, rows], `.qzeros` I32 [groups, rows · bits / 32], `.scales`
[groups, rows], `.g_idx` I32 [inputs] the group of each column: the matrix lies transposed, and a
word holds several columns of it, from its lowest bits on. A weight is `(q - zero) · scale`, rounded
to the dtype of the scales; the first version of the format stores each zero less 1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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

_BITS = (4, 8, 2, 3)
_VERSIONS = {"gptq": 1, "gptq_v2": 0}
"""What is to be added to a zero."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How the matrix of a layer is packed."""

    bits: int
    group_size: int
    is_ordered: bool
    """Whether columns are in groups by importance, so that `.g_idx` must be there."""
    shift: int


@dataclass(frozen=True, slots=True)
class Gptq:
    """See `Format`."""

    packing: Packing
    exceptions: tuple[tuple[Names, Packing | None], ...]
    """Layers that are packed in another way; None: they are not quantised."""
    only: tuple[str, ...]
    """The ends of the names of all layers that are quantised; empty for any."""
    rounds_activations: bool = False
    passed_over: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        """See `Format`."""
        return f"{self.packing.bits}-bit GPTQ"

    def matrix(self, name: str, rows: int, inputs: int, found: Found) -> Stored | None:
        """See `Format`."""
        if self.only and not name.endswith(tuple(f".{end}" for end in self.only)):
            return None
        packing: Packing | None = self.packing
        for names, other in self.exceptions:
            if names.have(name):
                packing = other
                break
        return None if packing is None else GptqMatrix(rows, inputs, packing)

    def stack(self, stack: Stack) -> Stored | None:
        """See `Format`."""
        return None


@dataclass(frozen=True, slots=True)
class GptqMatrix:
    """See `Stored`."""

    rows: int
    inputs: int
    packing: Packing

    @property
    def num_groups(self) -> int:
        """Groups of columns."""
        return num_groups(self.inputs, self.packing.group_size)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        bits, groups = self.packing.bits, self.num_groups
        return {
            ".qweight": Entry(((num_words(self.inputs, bits), self.rows),), ("I32",)),
            ".qzeros": Entry(((groups, num_words(self.rows, bits)),), ("I32",)),
            ".scales": Entry(((groups, self.rows),), ("F16", "BF16", "F32")),
            ".g_idx": Entry(((self.inputs,),), ("I32", "I64"), is_optional=not self.packing.is_ordered),
        }

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        return None if self.packing.is_ordered else "integers"

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return dtypes[".scales"]

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        from streamcore.models.formats import arithmetic

        return arithmetic.outside(tensors[".g_idx"], self.num_groups) if ".g_idx" in tensors else None

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        from streamcore.models.formats import arithmetic

        bits, size = self.packing.bits, self.packing.group_size
        words = slice(rows.start * bits // 32, num_words(rows.stop, bits))
        zeros = arithmetic.unpack(tensors[".qzeros"][:, words], bits, rows.stop - rows.start)
        return arithmetic.scaled(
            arithmetic.unpack(tensors[".qweight"][:, rows].t(), bits, self.inputs),
            tensors[".scales"][:, rows].t(),
            size,
            zeros=zeros.t().float() + self.packing.shift,
            index=arithmetic.order(tensors.get(".g_idx"), size),
        )

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`; columns in groups by importance are widened."""
        import torch

        from streamcore.models.formats import arithmetic, groups

        bits, size = self.packing.bits, self.packing.group_size
        if arithmetic.order(tensors.get(".g_idx"), size) is not None:
            return None

        def unpacked(rows: slice) -> "Tensor":
            return arithmetic.unpack(tensors[".qweight"][:, rows].t(), bits, self.inputs)

        codes = groups.in_pieces(self.rows, self.inputs, unpacked, torch.uint8)
        zeros = arithmetic.unpack(tensors[".qzeros"], bits, self.rows).t().int() + self.packing.shift
        if bits == 8:
            codes, zeros = groups.signed(codes), zeros - 128
        return groups.integers(codes, tensors[".scales"].t(), size, bits=bits, zeros=zeros)


def parse(fields: Fields) -> Gptq:
    """`quant_method` gptq."""
    name = "format" if fields.raw.get("format") else "checkpoint_format"
    shift = _VERSIONS[fields.choice(name, "gptq", tuple(_VERSIONS))]
    if fields.boolean("is_marlin_format", False):
        fields.refuse("is_marlin_format", True, "weights in the order of one kernel are not supported")
    packing = _parse_packing(fields, Packing(4, 128, False, shift))
    return Gptq(packing, tuple(_parse_exceptions(fields, packing)), _parse_only(fields))


def _parse_packing(fields: Fields, default: Packing) -> Packing:
    return replace(
        default,
        bits=parse_bits(fields, "bits", default.bits, _BITS),
        group_size=parse_group_size(fields, default.group_size),
        is_ordered=fields.boolean("desc_act", default.is_ordered),
    )


def _parse_exceptions(fields: Fields, packing: Packing) -> Sequence[tuple[Names, Packing | None]]:
    """`dynamic` of GPTQModel: `-:` before a pattern leaves layers out, `+:` gives them other
    fields.
    """
    found: list[tuple[Names, Packing | None]] = []
    for key, said in fields.mapping("dynamic").items():
        pattern = key[2:] if key.startswith(("-:", "+:")) else key
        try:
            re.compile(pattern)
        except re.error as error:
            fields.refuse("dynamic", key, f"it must be a regular expression: {error}")
            continue
        if not isinstance(said, dict):
            fields.refuse("dynamic", said, "it must hold objects")
        elif key.startswith("-:"):
            found.append((Names.of([f"re:{pattern}"]), None))
        else:
            found.append(
                (Names.of([f"re:{pattern}"]), _parse_packing(fields.inside(f"dynamic.{key}", said), packing))
            )
    return found


def _parse_only(fields: Fields) -> tuple[str, ...]:
    """`modules_in_block_to_quantize`: lists of names within a layer."""
    value: Any = fields.raw.get("modules_in_block_to_quantize")
    if value is None:
        return ()
    lists = value if isinstance(value, list) else [value]
    names = [name for part in lists for name in (part if isinstance(part, list) else [part])]
    if all(isinstance(name, str) for name in names):
        return tuple(names)
    fields.refuse("modules_in_block_to_quantize", value, "it must be a list of lists of names")
    return ()
