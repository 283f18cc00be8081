"""Weights that are stored as they are computed with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.weights import Stack
from streamcore.models.formats.stored import Entry, Format, Found, Stored
from streamcore.models.tensor_files import FLOATS, Kept

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped


@dataclass(frozen=True, slots=True)
class Plain:
    """See `Format`."""

    title: str | None = None
    rounds_activations: bool = False
    passed_over: frozenset[str] = frozenset()

    def matrix(self, name: str, rows: int, inputs: int, found: Found) -> Stored | None:
        """See `Format`."""
        return None

    def stack(self, stack: Stack) -> Stored | None:
        """See `Format`."""
        return None


PLAIN = Plain()


@dataclass(frozen=True, slots=True)
class PlainMatrix:
    """`.weight` [rows, inputs]."""

    rows: int
    inputs: int

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        return {".weight": Entry(((self.rows, self.inputs),))}

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        return None

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return dtypes[".weight"]

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        return None

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        return tensors[".weight"][rows]

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`."""
        return None


@dataclass(frozen=True, slots=True)
class PlainStack:
    """One tensor [num_experts, rows, inputs], or with its last two sizes the other way round."""

    stack: Stack

    @property
    def entries(self) -> Mapping[str, Entry]:
        """See `Stored`."""
        rows, inputs = self.stack.rows, self.stack.inputs
        sizes = (inputs, rows) if self.stack.is_transposed else (rows, inputs)
        return {"": Entry(((self.stack.num_experts, *sizes),))}

    @property
    def kept(self) -> Kept | None:
        """See `Stored`."""
        return None

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """See `Stored`."""
        return dtypes[""]

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """See `Stored`."""
        return None

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """See `Stored`."""
        weight = tensors[""]
        return (weight.t() if self.stack.is_transposed else weight)[rows]

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """See `Stored`."""
        return None


def matrix_of(weight_format: Format, name: str, rows: int, inputs: int, found: Found) -> Stored:
    """How the matrix of a linear layer is stored. Layers that are not quantised need not be listed:
    a tensor `.weight` of a dtype that activations can have is one.
    """
    weight = found.get(f"{name}.weight")
    if weight is None or weight.dtype not in FLOATS:
        stored = weight_format.matrix(name, rows, inputs, found)
        if stored is not None:
            return stored
    return PlainMatrix(rows, inputs)


def stack_of(weight_format: Format, stack: Stack, found: Found) -> Stored:
    """How the matrices of a stack of experts are stored."""
    stored = None if stack.name in found else weight_format.stack(stack)
    return PlainStack(stack) if stored is None else stored


def experts_apart(stack: Stack, found: Found) -> Sequence[Mapping[str, int]]:
    """The matrices of each expert of a stack, with their numbers of rows, where a folder has them
    one by one; else nothing. Programs that quantise layers take the experts of gpt-oss apart.
    """
    parent, _, last = stack.name.rpartition(".")
    if stack.name in found or not any(name.startswith(f"{parent}.0.") for name in found):
        return []
    names = ("gate_proj", "up_proj") if last == "gate_up_proj" else (last,)
    rows = stack.rows // len(names)
    return [{f"{parent}.{number}.{name}": rows for name in names} for number in range(stack.num_experts)]
