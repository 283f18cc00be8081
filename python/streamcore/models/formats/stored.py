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
from streamcore.models.tensor_files import FLOATS, Kept, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped

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

    @property
    def kept(self) -> Kept | None:
        """The numbers that `grouped` may return, as far as that is known without the tensors."""

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

    def grouped(self, tensors: "Mapping[str, Tensor]") -> "Grouped | None":
        """The numbers of the matrix in groups, without widening them; None where that cannot hold
        them.

        Args:
            tensors: as in `widen`.
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


@dataclass(frozen=True, slots=True)
class Names:
    """The layers that a list of names and patterns is about, by any of their published names."""

    exact: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]
    takes_parts: bool = False
    """Whether a name may also be that of a module around a layer, or the end of the layer's."""

    @classmethod
    def of(cls, listed: Iterable[str]) -> "Names":
        """Of whole names, and regular expressions behind `re:` for their beginnings."""
        expressions = [item.removeprefix("re:") for item in listed if item.startswith("re:")]
        exact = frozenset(item for item in listed if not item.startswith("re:"))
        return cls(exact, _compiled(expressions))

    @classmethod
    def of_parts(cls, listed: Iterable[str]) -> "Names":
        """The same and parts of names, regular expressions without a mark and a shell's
        patterns.
        """
        marked = [item for item in listed if item.startswith("re:")]
        others = [item for item in listed if not item.startswith("re:")]
        unmarked = [item for item in others if _SPECIAL.search(item)]
        expressions = [rf"(?:{item})(?:(?<=\.)|(?=\.|$))" for item in unmarked]
        expressions += [item.removeprefix("re:") for item in marked] + list(map(fnmatch.translate, unmarked))
        return cls(frozenset(others), _compiled(expressions), takes_parts=True)

    def have(self, layer: str) -> bool:
        """Whether the list is about a layer."""
        return any(self._have(name) for name in published_names(layer))

    def _have(self, name: str) -> bool:
        if name in self.exact or any(pattern.match(name) for pattern in self.patterns):
            return True
        if not self.takes_parts:
            return False
        steps = name.split(".")
        return any(
            ".".join(steps[:place]) in self.exact or ".".join(steps[place:]) in self.exact
            for place in range(1, len(steps))
        )


_SPECIAL = re.compile(r"[^\w.-]")
_LINEAR = "Linear"


def _compiled(expressions: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Those that are regular expressions; another fits nothing."""
    compiled = []
    for expression in expressions:
        try:
            compiled.append(re.compile(expression))
        except re.error:
            continue
    return tuple(compiled)


@dataclass(frozen=True, slots=True)
class Targets:
    """The layers that a list names, by what names them most closely: by their names, by a regular
    expression, or as all that are linear.
    """

    kinds: tuple[Names, Names, Names]

    @classmethod
    def of(cls, listed: Sequence[str]) -> "Targets":
        """Of a list in config.json."""
        expressions = [item for item in listed if item.startswith("re:")]
        names = [item for item in listed if item not in (*expressions, _LINEAR)]
        all_linear = ["re:"] if _LINEAR in listed else []
        return cls((Names.of(names), Names.of(expressions), Names.of(all_linear)))

    def have(self, layer: str) -> bool:
        """Whether a layer is one of them."""
        return any(names.have(layer) for names in self.kinds)


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
