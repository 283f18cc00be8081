"""How matrices lie in files: what a format says about one layer, without torch."""

import fnmatch
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from streamcore.layers.weights import Stack
from streamcore.models.fields import Fields
from streamcore.models.names import published_names
from streamcore.models.tensor_files import FLOATS, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

Found = Mapping[str, TensorInfo]
"""The tensors of a folder by their plain names; empty where only config.json is known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a tensor in a file must be."""

    shapes: tuple[tuple[int, ...], ...]
    """Any of these."""
    dtypes: tuple[str, ...] = FLOATS
    is_optional: bool = False


class Stored(Protocol):
    """A matrix [rows, inputs], or as many as there are experts, in the tensors of a format."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """By what follows the name of the layer. Of a stack each has the number of experts as its
        first size.
        """

    def dtype(self, dtypes: Mapping[str, str]) -> str:
        """The dtype that `widen` returns, by those of the entries, in the words of safetensors."""

    def problem(self, tensors: "Mapping[str, Tensor]") -> str | None:
        """What is wrong with the values of the tensors, as far as reading them would go astray."""

    def widen(self, tensors: "Mapping[str, Tensor]", rows: slice) -> "Tensor":
        """Some rows of the matrix; their first number is a multiple of 32.

        Args:
            tensors: those of the entries that the file has; of a stack the part of one expert.
            rows: which, with both ends.
        """


class Format(Protocol):
    """How a folder stores its weights."""

    @property
    def title(self) -> str | None:
        """What the log calls it; None for weights that are stored as they are computed with."""

    @property
    def rounds_activations(self) -> bool:
        """Whether the folder asks for activations, or keys and values, to be quantised."""

    @property
    def passed_over(self) -> frozenset[str]:
        """Last parts of the names of tensors that are not needed for products with unquantised
        activations.
        """

    def matrix(self, name: str, rows: int, inputs: int, found: Found) -> Stored | None:
        """How the matrix of a linear layer is stored; None for one that is not quantised."""

    def stack(self, stack: Stack) -> Stored | None:
        """How the matrices of a stack of experts are stored; None for those that are not
        quantised.
        """


def num_groups(inputs: int, group_size: int) -> int:
    """How many groups of columns a matrix has; -1 for one."""
    return 1 if group_size < 0 else math.ceil(inputs / group_size)


def num_words(count: int, bits: int) -> int:
    """How many int32 hold `count` numbers, one after another."""
    return math.ceil(count * bits / 32)


def is_listed(layer: str, patterns: Iterable[str]) -> bool:
    """Whether a list of layers that stay as they are names a layer: by its own name or that of a
    module around it, by the end of its name, by a regular expression or a shell's pattern.
    """
    names = list(published_names(layer))
    return any(_fits(name, pattern) for pattern in patterns for name in names)


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("re:"):
        return matches(name, pattern)
    ends = name.endswith(pattern) or name.startswith(f"{pattern}.")
    return (
        ends or fnmatch.fnmatchcase(name, pattern) or matches(name, rf"re:(?:{pattern})(?:(?<=\.)|(?=\.|$))")
    )


def matches(name: str, pattern: str) -> bool:
    """Whether a name is a pattern, or begins as the regular expression behind `re:` says; one that
    is none fits nothing.
    """
    if not pattern.startswith("re:"):
        return name == pattern
    try:
        return re.match(pattern.removeprefix("re:"), name) is not None
    except re.error:
        return False


def parse_bits(fields: Fields, name: str, default: int | None, known: Sequence[int]) -> int:
    """How many bits a number has."""
    bits = fields.integer(name, default)
    if bits not in known and fields.raw.get(name) is not None:
        verb = "is" if len(known) == 1 else "are"
        fields.refuse(name, fields.raw[name], f"supported {verb} {', '.join(map(str, known))}")
    return bits if bits in known else known[0]


def parse_group_size(fields: Fields, default: int) -> int:
    """How many columns share a scale; -1 for all."""
    value = fields.raw.get("group_size")
    return -1 if value == -1 else fields.integer("group_size", default)
