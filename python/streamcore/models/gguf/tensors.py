"""Finds the tensors that a family declares in a GGUF file, and puts them into the
family's order.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from streamcore.models.config import DecoderConfig
from streamcore.models.gguf.architectures import Architecture
from streamcore.models.gguf.blocks import BLOCKS, GROUPED_TYPES, StoredTensor
from streamcore.models.gguf.rope import FACTORS
from streamcore.models.tensor_files import Kept, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped

Shape = tuple[int, ...]

Make = Callable[[Sequence[Any]], "Tensor"]
"""Puts what is stored into a family's order. Of matrices that is an order of rows, so that it takes
anything that `read` returns rows of.
"""

_OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight")
_OF_EXPERTS = {
    **{"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"},
    **{"w1": "ffn_gate", "w3": "ffn_up", "w2": "ffn_down"},
}
_MAX_NAMES = 3
_TYPES = ", ".join(BLOCKS)


@dataclass(frozen=True, slots=True)
class GgufTensor(TensorInfo):
    """A tensor as a family declares it."""

    stored: tuple[StoredTensor, ...]
    """What it is made of."""
    make: Make

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return sum(tensor.num_bytes for tensor in self.stored)

    @property
    def kept(self) -> Kept | None:
        """See `TensorInfo`."""
        return "integers" if all(tensor.type in GROUPED_TYPES for tensor in self.stored) else None

    def read(self) -> "Tensor":
        """Reads it; see `StoredTensor.read`."""
        return self.make(self.stored)

    def grouped(self) -> "Grouped | None":
        """Its numbers as they are; None where it is made of more than rows of one type."""
        parts = [part for tensor in self.stored if (part := tensor.grouped()) is not None]
        if len(parts) < len(self.stored) or len({part.form for part in parts}) > 1:
            return None
        return parts[0].join(parts[1:], lambda tensors: self.make([_Rows(rows) for rows in tensors]))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Stands for a `StoredTensor` that is read already."""

    rows: "Tensor"

    def read(self) -> "Tensor":
        """All of them."""
        return self.rows


class GgufSource:
    """A `TensorSource` of these: each maps its part of the file by itself."""

    def __enter__(self) -> "GgufSource":
        """See `TensorSource`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def read(self, info: TensorInfo) -> "Tensor":
        """See `TensorSource`."""
        assert isinstance(info, GgufTensor)
        return info.read()

    def grouped(self, info: TensorInfo) -> "Grouped | None":
        """See `TensorSource`."""
        assert isinstance(info, GgufTensor)
        return info.grouped()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a declared tensor lies."""

    shapes: Mapping[str, Shape]
    """The tensors of the file that it is made of, in order, with the shapes that they must have."""
    make: Make
    part: int | None = None
    """Which of the tensors that are stacked in that one; None for all of it."""


class Finder:
    """Finds tensors by the names that a family has for them."""

    def __init__(
        self, architecture: Architecture, config: DecoderConfig, stored: Mapping[str, StoredTensor]
    ) -> None:
        self._architecture = architecture
        self._config = config
        self._stored = stored

    def find(self, shapes: Mapping[str, Shape]) -> tuple[dict[str, TensorInfo], list[str]]:
        """The tensors of these names and shapes, and everything that is wrong with the file's."""
        found: dict[str, TensorInfo] = {}
        absent: set[str] = set()
        used = set(FACTORS)
        wrong: dict[str, str] = {}
        for name, shape in shapes.items():
            place = self._place(name, shape)
            used |= place.shapes.keys()
            if missing := place.shapes.keys() - self._stored.keys():
                absent |= missing
                continue
            stored = [self._stored[source] for source in place.shapes]
            for tensor, expected in zip(stored, place.shapes.values(), strict=True):
                if tensor.type not in BLOCKS:
                    wrong[tensor.name] = f"`{tensor.name}` has the type {tensor.type}, supported are {_TYPES}"
                elif tensor.shape != expected:
                    shown = f"{list(tensor.shape)}, the metadata ask for {list(expected)}"
                    wrong[tensor.name] = f"`{tensor.name}` has shape {shown}"
            if wrong.keys().isdisjoint(place.shapes):
                found[name] = _found(stored, shape, place)
        problems = [f"it lacks {_names(absent)}"] if absent else []
        if unused := self._stored.keys() - used:
            problems.append(f"it holds {_names(unused)}, which its metadata do not account for")
        messages = list(wrong.values())
        return found, problems + messages[:_MAX_NAMES] + _more(messages)

    def _place(self, name: str, shape: Shape) -> _Place:
        in_layer = _LAYER.fullmatch(name)
        if in_layer is None:
            stem, _, kind = name.rpartition(".")
            return _Place({f"{_OUTER[stem]}.{kind}": shape}, self._as_is(stem))
        prefix, rest = f"blk.{in_layer[1]}.", in_layer[2]
        if expert := _EXPERT.fullmatch(rest):
            return self._expert(prefix, int(expert[1]), _OF_EXPERTS[expert[2]], shape)
        if rest.startswith("mlp.experts."):
            return _stacked(prefix, rest, shape)
        stem, _, kind = rest.rpartition(".") if rest.endswith((".weight", ".bias")) else (rest, ".", "weight")
        part = self._architecture.names[stem]
        if part == "attn_qkv" and f"{prefix}attn_q.weight" in self._stored:
            return self._split_heads(prefix, shape)
        if stem == "mlp.gate_up_proj" and f"{prefix}ffn_gate.weight" in self._stored:
            half = (shape[0] // 2, shape[1])
            return _Place(
                {f"{prefix}ffn_gate.weight": half, f"{prefix}ffn_up.weight": half}, _one_below_other
            )
        heads = {"attn_q": self._config.num_heads, "attn_k": self._config.num_kv_heads}.get(part)
        if heads is not None and self._architecture.turns_neighbours:
            return _Place({f"{prefix}{part}.{kind}": shape}, partial(_halves_apart, heads))
        return _Place({f"{prefix}{part}.{kind}": shape}, self._as_is(stem))

    def _as_is(self, stem: str) -> Make:
        shift = self._architecture.norm_shift if stem.endswith("norm") else 0.0
        return partial(_less, shift) if shift else _as_is

    def _expert(self, prefix: str, index: int, part: str, shape: Shape) -> _Place:
        """One of those that lie in one tensor, or in older files each in its own."""
        alone = f"{prefix}{part}.{index}.weight"
        if alone in self._stored:
            return _Place({alone: shape}, _as_is)
        num_experts: int = getattr(self._config, "num_experts")  # noqa: B009
        return _Place({f"{prefix}{part}_exps.weight": (num_experts, *shape)}, _as_is, index)

    def _split_heads(self, prefix: str, shape: Shape) -> _Place:
        """Phi's stacked projection, which some files have in three."""
        query, key = (
            (heads * self._config.head_dim, shape[1])
            for heads in (self._config.num_heads, self._config.num_kv_heads)
        )
        shapes = {"attn_q": query, "attn_k": key, "attn_v": key}
        return _Place({f"{prefix}{part}.weight": size for part, size in shapes.items()}, _one_below_other)


def _found(stored: list[StoredTensor], shape: Shape, place: _Place) -> GgufTensor:
    first, dtypes = stored[0], {tensor.dtype for tensor in stored}
    if place.part is not None:
        stored = [first.part(place.part)]
    dtype = first.dtype if len(dtypes) == 1 else "F32"
    return GgufTensor(first.path, first.name, dtype, shape, tuple(stored), place.make)


def _stacked(prefix: str, rest: str, shape: Shape) -> _Place:
    """The experts of gpt-oss: its folders have matrices with inputs first, and rows of gate and up
    in turn.
    """
    is_bias = rest.endswith("_bias")
    kind = "bias" if is_bias else "weight"
    stored = shape if is_bias else (shape[0], shape[2], shape[1])
    if "gate_up" not in rest:
        return _Place({f"{prefix}ffn_down_exps.{kind}": stored}, _as_is if is_bias else _transposed)
    half = (stored[0], stored[1] // 2, *stored[2:])
    shapes = {f"{prefix}ffn_{part}_exps.{kind}": half for part in ("gate", "up")}
    return _Place(shapes, _in_turn if is_bias else _in_turn_transposed)


def _as_is(stored: Sequence[StoredTensor]) -> "Tensor":
    return stored[0].read()


def _less(shift: float, stored: Sequence[StoredTensor]) -> "Tensor":
    return stored[0].read().float() - shift


def _halves_apart(num_heads: int, stored: Sequence[StoredTensor]) -> "Tensor":
    """Rows 0, 2, 4, … of each head before rows 1, 3, 5, …"""
    rows = stored[0].read()
    pairs = rows.reshape(num_heads, -1, 2, *rows.shape[1:])
    return pairs.transpose(1, 2).reshape(rows.shape)


def _one_below_other(stored: Sequence[StoredTensor]) -> "Tensor":
    import torch

    return torch.cat([tensor.read() for tensor in stored])


def _transposed(stored: Sequence[StoredTensor]) -> "Tensor":
    return stored[0].read().transpose(1, 2)


def _in_turn(stored: Sequence[StoredTensor]) -> "Tensor":
    """[experts, rows, …] twice to [experts, 2 rows, …], an expert at a time to save memory."""
    import torch

    gate, up = stored
    num_experts, rows, *rest = gate.shape
    both = torch.empty(num_experts, 2 * rows, *rest)
    for index in range(num_experts):
        both[index, 0::2] = gate.part(index).read()
        both[index, 1::2] = up.part(index).read()
    return both


def _in_turn_transposed(stored: Sequence[StoredTensor]) -> "Tensor":
    return _in_turn(stored).transpose(1, 2)


def _names(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join([f"`{name}`" for name in names[:_MAX_NAMES]] + _more(names))


def _more(items: list[str]) -> list[str]:
    return [f"and {len(items) - _MAX_NAMES} more"] if len(items) > _MAX_NAMES else []
