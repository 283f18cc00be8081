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
from streamcore.models.formats.plain import PLAIN, experts_apart, matrix_of, stack_of
from streamcore.models.formats.stored import Entry, Format, Found, Stored
from streamcore.models.tensor_files import FLOATS

Shapes = Mapping[str, tuple[int, ...]]


class Declaration:
    """A source of weights that notes what is asked for; what it hands out stands for tensors and is
    not to be looked at.
    """

    def __init__(self, weight_format: Format = PLAIN, found: Found | None = None) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Of what the model is computed with, by its name in a folder that is not quantised."""
        self.entries: dict[str, Entry] = {}
        """What the files must hold, by name."""
        self.matrices: dict[str, Stored] = {}
        """How matrices are stored, by the beginning of the names of their tensors."""
        self._format = weight_format
        self._found = {} if found is None else found

    def _note(self, name: str, *shape: int) -> Any:
        self.shapes[name] = shape
        self.entries[name] = Entry((shape,))
        return _Absent(shape)

    def _note_stored(self, name: str, stored: Stored) -> None:
        self.matrices[name] = stored
        self.entries |= {name + ending: entry for ending, entry in stored.entries.items()}

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
            self.shapes[f"{name}.weight"] = (rows, inputs)
            stored = matrix_of(self._format, name, rows, inputs, self._found)
            self._note_stored(name, stored)
            if bias:
                self._note(f"{name}.bias", rows)
            elif ".weight" not in stored.entries:
                # Old writers give every quantised layer a bias, of zeros where the model has none.
                self.entries[f"{name}.bias"] = Entry(((rows,),), FLOATS, is_optional=True)
            weight = _Absent((rows, inputs))
        return Linear(weight)

    def stack(self, stack: Stack) -> Sequence[Linear]:
        """See `Source`."""
        if apart := experts_apart(stack, self._found):
            return [self.linear(parts, stack.inputs, stack.bias is not None) for parts in apart]
        stored = stack_of(self._format, stack, self._found)
        self._note_stored(stack.name, stored)
        self.shapes[stack.name] = (stack.num_experts, stack.rows, stack.inputs)
        if stack.bias is not None:
            self._note(stack.bias, stack.num_experts, stack.rows)
        return [Linear(_Absent((stack.rows, stack.inputs)))] * stack.num_experts  # type: ignore[arg-type]

    def tied(self, matrix: Any) -> Linear:
        """See `Source`."""
        return Linear(matrix)


class _Absent:
    """Stands for a tensor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def declare(family: Family, config: DecoderConfig, weight_format: Format = PLAIN) -> tuple[Shapes, Decoder]:
    """The shape of everything that the model is computed with, by its name in a folder that is not
    quantised, and a decoder that has all but the tensors.
    """
    declaration = Declaration(weight_format)
    decoder = family.build(config, Weights(declaration))
    return declaration.shapes, decoder


def declare_files(family: Family, config: DecoderConfig, weight_format: Format, found: Found) -> Declaration:
    """What the files of a folder must hold.

    Args:
        family: of the model.
        config: its shape.
        weight_format: of its weights.
        found: what the files hold, by plain names: a format may leave a choice to them.
    """
    declaration = Declaration(weight_format, found)
    family.build(config, Weights(declaration))
    return declaration
