"""compressed-tensors, as llm-compressor writes it.

config.json groups layers by `targets`; the weights of a group have a type, a number of bits, and
scales for the matrix, for each row (`channel`), each group of columns or each block.

    float-quantized, int-quantized   .weight F8_E4M3 or I8 [rows, inputs]
    pack-quantized                   .weight_packed I32 [rows, inputs · bits / 32], each number plus
                                     half its range; .weight_shape; .weight_zero_point packed along
                                     the rows

A weight is `(q - zero) · scale`, in the dtype of the scales. `.weight_g_idx` has the group of each
column where groups are by importance; -1 in it says that they are not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from streamcore.layers.weights import Stack
from streamcore.models.fields import Fields, shown
from streamcore.models.formats.stored import Entry, Found, Stored, Targets, num_groups, num_words, parse_bits
from streamcore.models.tensor_files import Kept

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped

_FLOATS = ("BF16", "F16", "F32")
_PASSED_OVER = frozenset(
    {f"{what}_{kind}" for what in ("input", "output", "k", "v", "q") for kind in ("scale", "zero_point")}
)

Packing: TypeAlias = Literal["float", "int", "packed"]
_PACKINGS: Mapping[str, Packing | None] = {
    "dense": None,
    "float-quantized": "float",
    "int-quantized": "int",
    "naive-quantized": "int",
    "pack-quantized": "packed",
}
"""By `format`; None: nothing is quantised."""
_MIXED = "mixed-precision"
_BITS: Mapping[Packing, tuple[int, ...]] = {"float": (8,), "int": (8, 4), "packed": (4, 8, 2)}
_STRATEGIES = ("tensor", "channel", "group", "block")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the matrices of a group of layers are stored."""

    packing: Packing
    bits: int
    is_symmetric: bool
    group_size: int
    """Columns that share a scale; -1 for all."""
    block: tuple[int, int] | None
    is_whole: bool
    """Whether the matrix has one scale."""
    is_ordered: bool

    def scale_shapes(self, rows: int, inputs: int) -> tuple[tuple[int, ...], ...]:
        """The shapes that the scales of a matrix may have."""
        if self.is_whole:
            return (1,), (), (1, 1)
        if self.block is not None:
            return ((math.ceil(rows / self.block[0]), math.ceil(inputs / self.block[1])),)
        groups = num_groups(inputs, self.group_size)
        return ((rows, groups), (rows,)) if groups == 1 else ((rows, groups),)

    def of_rows(self, values: "Tensor", rows: slice) -> "Tensor":
        """The scales or zeros of some rows, [rows, num_groups]."""
        from streamcore.models.formats import arithmetic

        if self.is_whole:
            return values.reshape(1, 1).expand(rows.stop - rows.start, 1)
        if self.block is not None:
            return arithmetic.rows_of_blocks(values, rows, self.block[0])
        return values.reshape(values.shape[0], -1)[rows]

    def widen(
        self, numbers: "Tensor", rows: slice, tensors: "Mapping[str, Tensor]", zeros: "Tensor | None"
    ) -> "Tensor":
        """Some rows of a matrix from their numbers and zeros."""
        from streamcore.models.formats import arithmetic

        size = self.group_size if self.block is None else self.block[1]
        scales = self.of_rows(tensors[".weight_scale"], rows)
        index = arithmetic.order(tensors.get(".weight_g_idx"), size)
        return arithmetic.scaled(numbers, scales, size, zeros=zeros, index=index)

    def grouped(
        self,
        codes: "Tensor",
        bits: int,
        tensors: "Mapping[str, Tensor]",
        inputs: int,
        zeros: "Tensor | None",
    ) -> "Grouped | None":
        """A matrix from its numbers and zeros, as they are; None where columns are in groups by
        importance.
        """
        from streamcore.models.formats import arithmetic, groups

        size = self.group_size if self.block is None else self.block[1]
        if arithmetic.order(tensors.get(".weight_g_idx"), size) is not None:
            return None
        scales = self.of_rows(tensors[".weight_scale"], slice(0, codes.shape[0]))
        return groups.integers(codes, scales, size, bits=bits, zeros=zeros)

    def floats(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """The same of a matrix in fp8."""
        from streamcore.models.formats import arithmetic, groups

        size = self.group_size if self.block is None else self.block[1]
        if arithmetic.order(tensors.get(".weight_g_idx"), size) is not None:
            return None
        weight = tensors[".weight"]
        return groups.floats(weight, self.of_rows(tensors[".weight_scale"], slice(0, weight.shape[0])), size)


@dataclass(frozen=True, slots=True)
class CompressedTensors:
    """See `Format`."""

    groups: tuple[tuple[Targets, Scheme | None], ...]
    """How the layers of each are stored; None: they are not quantised."""
    ignored: Targets
    rounds_activations: bool
    passed_over: frozenset[str] = _PASSED_OVER

    @property
    def title(self) -> str | None:
        """See `Format`."""
        kinds = {
            "fp8" if scheme.packing == "float" else f"{scheme.bits}-bit"
            for _, scheme in self.groups
            if scheme is not None
        }
        return " and ".join(sorted(kinds)) + " compressed-tensors" if kinds else None

    def matrix(self, name: str, rows: int, inputs: int, found: Found) -> Stored | None:
        """See `Format`."""
        scheme = None if self.ignored.have(name) else self._scheme(name)
        if scheme is None:
            return None
        return (
            PackedMatrix(rows, inputs, scheme)
            if scheme.packing == "packed"
            else ScaledMatrix(rows, inputs, scheme)
        )

    def _scheme(self, name: str) -> Scheme | None:
        """That of the group which names a layer most closely: by its name, a regular expression, or
        as one of all.
        """
        for kind in range(3):
            for targets, scheme in self.groups:
                if targets.kinds[kind].have(name):
                    return scheme
        return None

    def stack(self, stack: Stack) -> Stored | None:
        """See `Format`."""
        return None


@dataclass(frozen=True, slots=True)
class ScaledMatrix:
    """See `Stored`."""

    rows: int
    inputs: int
    scheme: Scheme

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        shapes = self.scheme.scale_shapes(self.rows, self.inputs)
        dtype = "F8_E4M3" if self.scheme.packing == "float" else "I8"
        return {
            ".weight": Entry(((self.rows, self.inputs),), (dtype,)),
            ".weight_scale": Entry(shapes, _FLOATS),
            ".weight_zero_point": Entry(shapes, (dtype, *_FLOATS), is_optional=self.scheme.is_symmetric),
            ".weight_g_idx": _order(self.scheme, self.inputs),
        }

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        if self.scheme.is_ordered:
            return None
        return "fp8" if self.scheme.packing == "float" else "integers"

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return dtypes[".weight_scale"]

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        return _misordered(tensors, self.scheme, self.inputs)

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        from streamcore.models.formats import arithmetic

        weight = tensors[".weight"][rows]
        numbers = arithmetic.fp8(weight) if self.scheme.packing == "float" else weight
        stored = tensors.get(".weight_zero_point")
        zeros = None if stored is None else self.scheme.of_rows(stored, rows)
        return self.scheme.widen(numbers, rows, tensors, zeros)

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`; in fp8 only without zeros."""
        stored = tensors.get(".weight_zero_point")
        if self.scheme.packing == "float":
            return None if stored is not None and bool(stored.float().any()) else self.scheme.floats(tensors)
        zeros = None if stored is None else self.scheme.of_rows(stored, slice(0, self.rows))
        return self.scheme.grouped(tensors[".weight"], 8, tensors, self.inputs, zeros)


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """See `Stored`."""

    rows: int
    inputs: int
    scheme: Scheme

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        bits, groups = self.scheme.bits, num_groups(self.inputs, self.scheme.group_size)
        found = {
            ".weight_packed": Entry(((self.rows, num_words(self.inputs, bits)),), ("I32",)),
            ".weight_scale": Entry(self.scheme.scale_shapes(self.rows, self.inputs), _FLOATS),
            ".weight_shape": Entry(((2,),), ("I64", "I32"), is_optional=True),
            ".weight_g_idx": _order(self.scheme, self.inputs),
        }
        if not self.scheme.is_symmetric:
            found[".weight_zero_point"] = Entry(((num_words(self.rows, bits), groups),), ("I32",))
        return found

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        return None if self.scheme.is_ordered else "integers"

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return dtypes[".weight_scale"]

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        if ".weight_shape" in tensors and tensors[".weight_shape"].tolist() != [self.rows, self.inputs]:
            shape = shown(tensors[".weight_shape"].tolist())
            return f"`weight_shape` is {shape}, config.json asks for {[self.rows, self.inputs]}"
        return _misordered(tensors, self.scheme, self.inputs)

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        from streamcore.models.formats import arithmetic

        bits = self.scheme.bits
        numbers = arithmetic.unpack(tensors[".weight_packed"][rows], bits, self.inputs)
        if self.scheme.is_symmetric:
            return self.scheme.widen(numbers.float().sub_(1 << (bits - 1)), rows, tensors, None)
        words = tensors[".weight_zero_point"][rows.start * bits // 32 : num_words(rows.stop, bits)]
        zeros = arithmetic.unpack(words.t(), bits, rows.stop - rows.start).t()
        return self.scheme.widen(numbers, rows, tensors, zeros)

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`."""
        import torch

        from streamcore.models.formats import arithmetic, groups

        bits = self.scheme.bits

        def unpacked(rows: slice) -> "Tensor":
            return arithmetic.unpack(tensors[".weight_packed"][rows], bits, self.inputs)

        codes = groups.in_pieces(self.rows, self.inputs, unpacked, torch.uint8)
        zeros: Tensor | None = None
        if not self.scheme.is_symmetric:
            words = tensors[".weight_zero_point"]
            zeros = arithmetic.unpack(words.t(), bits, self.rows).t().int()
        elif bits < 4:
            codes += 8 - (1 << (bits - 1))
        if bits == 8:
            codes, zeros = groups.signed(codes), None if zeros is None else zeros - 128
        return self.scheme.grouped(codes, bits, tensors, self.inputs, zeros)


def _order(scheme: Scheme, inputs: int) -> Entry:
    return Entry(((inputs,),), ("I32", "I64"), is_optional=not scheme.is_ordered)


def _misordered(tensors: "Mapping[str, Tensor]", scheme: Scheme, inputs: int) -> str | None:
    from streamcore.models.formats import arithmetic

    index = arithmetic.order(tensors.get(".weight_g_idx"), scheme.group_size)
    return None if index is None else arithmetic.outside(index, num_groups(inputs, scheme.group_size))


def parse(fields: Fields) -> CompressedTensors:
    """`quant_method` compressed-tensors."""
    sparsity = fields.mapping("sparsity_config")
    if sparsity:
        fields.inside("sparsity_config", sparsity).choice("format", "dense", ("dense",))
    if fields.raw.get("transform_config"):
        fields.refuse("transform_config", fields.raw["transform_config"], "rotated weights are not supported")
    groups = fields.mapping("config_groups")
    if not groups and fields.raw.get("kv_cache_scheme") is None:
        fields.refuse("config_groups", fields.raw.get("config_groups"), "it must hold a group of layers")
    parsed = []
    rounds_activations = fields.raw.get("kv_cache_scheme") is not None
    for name, said in groups.items():
        if not isinstance(said, dict):
            fields.refuse(f"config_groups.{name}", said, "it must be an object")
            continue
        inside = fields.inside(f"config_groups.{name}", said)
        if not inside.texts("targets"):
            inside.refuse("targets", said.get("targets"), "it must be a list of layers")
        parsed.append((Targets.of(inside.texts("targets")), _parse_scheme(inside, fields)))
        rounds_activations |= said.get("input_activations") is not None
    return CompressedTensors(tuple(parsed), Targets.of(fields.texts("ignore")), rounds_activations)


def _parse_scheme(group: Fields, fields: Fields) -> Scheme | None:
    said = group.mapping("weights")
    if not said:
        return None
    weights = group.inside("weights", said)
    is_own = group.raw.get("format") is not None or fields.raw.get("format") == _MIXED
    packing = _parse_packing(group if is_own else fields, weights)
    if packing is None:
        return None
    strategy = _parse_strategy(weights, packing)
    is_symmetric = weights.boolean("symmetric", True)
    if packing == "packed" and not is_symmetric and strategy == "tensor":
        weights.refuse("symmetric", False, "with `strategy` tensor only true is supported")
    return Scheme(
        packing,
        parse_bits(weights, "num_bits", 8, _BITS[packing]),
        is_symmetric,
        weights.integer("group_size") if strategy == "group" else -1,
        _parse_block(weights) if strategy == "block" else None,
        strategy == "tensor",
        _is_ordered(weights, strategy),
    )


def _parse_packing(fields: Fields, weights: Fields) -> Packing | None:
    """How numbers lie in the file: as a group says, or all of them do."""
    name = fields.choice("format", None, tuple(_PACKINGS))
    packing = _PACKINGS[name]
    kind = weights.choice("type", "int", ("int", "float"))
    if name == "naive-quantized" and kind == "float":
        return "float"
    if packing is not None and (packing == "float") != (kind == "float"):
        weights.refuse("type", kind, f"`format` {name} holds {'float' if packing == 'float' else 'int'}")
    return packing


def _parse_strategy(weights: Fields, packing: Packing) -> str:
    size = weights.raw.get("group_size")
    default = "tensor" if size is None else "channel" if size == -1 else "group"
    strategy = weights.choice("strategy", default, _STRATEGIES)
    if packing == "packed" and strategy == "block":
        weights.refuse("strategy", "block", "supported with packed numbers are tensor, channel, group")
    return strategy


def _parse_block(weights: Fields) -> tuple[int, int]:
    value = weights.raw.get("block_structure")
    if isinstance(value, str):
        value = [int(size) if size.isdecimal() else size for size in value.split("x")]
    if isinstance(value, list) and len(value) == 2 and all(type(size) is int and size > 0 for size in value):
        return value[0], value[1]
    weights.refuse(
        "block_structure", weights.raw.get("block_structure"), "it must be a list of two positive integers"
    )
    return 1, 1


def _is_ordered(weights: Fields, strategy: str) -> bool:
    """Whether columns are in groups by importance; `weight` and `static` order them only while the
    scales are worked out.
    """
    value = weights.raw.get("actorder")
    if value in (None, False, "weight", "static"):
        return False
    if value in (True, "group", "dynamic") and strategy == "group":
        return True
    weights.refuse("actorder", value, "supported are group, weight, static, and with groups only")
    return False
