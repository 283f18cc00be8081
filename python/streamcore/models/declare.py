"""The first building of a family: the names and shapes of all tensors that its folder must have,
without torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from streamcore.layers.decoder import Decoder
from streamcore.layers.linear import Linear
from streamcore.layers.weights import Stack, Weights
from streamcore.models.config import DecoderConfig
from streamcore.models.families import Family


class Declaration:
    """A source of weights that notes what is asked for; what it hands out stands for tensors and is
    never looked at.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def _note(self, name: str, *shape: int) -> Any:
        self.shapes[name] = shape
        return _Absent(shape)

    def vector(self, name: str, size: int, shift: float) -> Any:
        """See `Source`."""
        return self._note(name, size)

    def matrix(self, name: str, rows: int, columns: int) -> Any:
        """See `Source`."""
        return self._note(name, rows, columns)

    def linear(self, parts: Mapping[str, int], inputs: int, bias: bool) -> Linear:
        """See `Source`."""
        weight: Any = None
        for name, rows in parts.items():
            weight = self._note(f"{name}.weight", rows, inputs)
            if bias:
                self._note(f"{name}.bias", rows)
        return Linear(weight)

    def stack(self, stack: Stack) -> Sequence[Linear]:
        """See `Source`."""
        rows, inputs = (stack.inputs, stack.rows) if stack.is_transposed else (stack.rows, stack.inputs)
        weight = self._note(stack.name, stack.num_experts, rows, inputs)
        if stack.bias is not None:
            self._note(stack.bias, stack.num_experts, stack.rows)
        return [Linear(weight)] * stack.num_experts

    def tied(self, matrix: Any) -> Linear:
        """See `Source`."""
        return Linear(matrix)


class _Absent:
    """Stands for a tensor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def declare(family: Family, config: DecoderConfig) -> tuple[Mapping[str, tuple[int, ...]], Decoder]:
    """The shape of every tensor by its name, and a decoder that has all but the tensors."""
    declaration = Declaration()
    decoder = family.build(config, Weights(declaration))
    return declaration.shapes, decoder
