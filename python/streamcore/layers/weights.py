"""What a checkpoint holds, declared where it is used.

A family is built twice with the same code. The first time every name and shape is noted, without
torch, and the folder is compared with that list; the second time the tensors themselves are handed
out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from streamcore.layers.linear import Linear

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Stack:
    """Matrices of several experts in one tensor [num_experts, rows, inputs]."""

    name: str
    num_experts: int
    rows: int
    inputs: int
    is_transposed: bool = False
    """Whether the tensor is [num_experts, inputs, rows]."""
    is_interleaved: bool = False
    """Whether gate and up alternate row by row, instead of the gate's rows before those of the up
    projection.
    """
    bias: str | None = None
    """The name of a tensor [num_experts, rows], or None."""


class Source(Protocol):
    """Notes what is asked for, or reads it."""

    def vector(self, name: str, size: int, shift: float) -> "Tensor":
        """[size], with `shift` added."""

    def matrix(self, name: str, rows: int, columns: int) -> "Tensor":
        """[rows, columns]."""

    def linear(self, parts: Mapping[str, int], inputs: int, bias: bool) -> Linear:
        """The product of matrices with `inputs` columns, one below the other; `parts` has their
        numbers of rows by name.
        """

    def stack(self, stack: Stack) -> Sequence[Linear]:
        """The products of a stacked tensor, one for each expert."""

    def tied(self, matrix: "Tensor") -> Linear:
        """The product of a matrix that was handed out already."""


class Weights:
    """What a checkpoint holds below one name."""

    def __init__(self, source: Source, prefix: str = "") -> None:
        self._source = source
        self._prefix = prefix

    def at(self, name: str) -> "Weights":
        """What is below a name."""
        return Weights(self._source, f"{self._prefix}{name}.")

    def vector(self, name: str, size: int, *, shift: float = 0.0) -> "Tensor":
        """The tensor `name` of the activations' dtype, [size]; some families store their norms less
        1, which `shift` adds.
        """
        return self._source.vector(self._prefix + name, size, shift)

    def matrix(self, name: str, rows: int, columns: int) -> "Tensor":
        """The tensor `name.weight`, [rows, columns], as it is."""
        return self._source.matrix(f"{self._prefix}{name}.weight", rows, columns)

    def linear(self, parts: Mapping[str, int], inputs: int, *, bias: bool = False) -> Linear:
        """Projections that read the same input, as one product: `parts` has the outputs of each by
        name, in order.
        """
        named = {self._prefix + name: rows for name, rows in parts.items()}
        return self._source.linear(named, inputs, bias)

    def stack(self, stack: Stack) -> Sequence[Linear]:
        """The projections of experts that lie in one tensor."""
        names = {
            "name": self._prefix + stack.name,
            "bias": None if stack.bias is None else self._prefix + stack.bias,
        }
        fields = {name: getattr(stack, name) for name in Stack.__slots__} | names
        return self._source.stack(Stack(**fields))

    def tied(self, matrix: "Tensor") -> Linear:
        """The product of a matrix that has another use already."""
        return self._source.tied(matrix)
