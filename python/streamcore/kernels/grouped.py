"""Weights of four or eight bits in groups of inputs that share a scale: how their numbers lie in
memory.

The value of a weight is `scale · table[code] + offset`, rounded once, to float32; the table of
eight bits is the code itself, an integer or a number in fp8.
`rust/kernels/src/cpu/grouped/form.rs` has a drawing of the layout:

    tile of 32 outputs   spans of inputs, one after another
    span                 a group of inputs, or 256 of them where scales are nested: first its
                         scales and offsets, each of 32 outputs, then its words
    word                 8 inputs of an output in 4 bits, or 4 in 8; words of 32 outputs are
                         neighbours
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from streamcore.kernels import pages
from streamcore.kernels.library import DTYPE_CODES, FORM_STRUCT

TILE = 32
"""Outputs whose words are neighbours."""
OUTER = 256
"""Inputs that share an outer scale."""
FP8_GROUP = 128
"""Inputs that share a scale in fp8, where not all of a row do."""
Offsets = Literal["none", "zeros", "minima"]
_OFFSET_CODES: dict[Offsets, int] = {"none": 0, "zeros": 1, "minima": 2}
# The inputs of a word whose codes are the lower halves of its bytes, the upper ones, and its bytes.
_LOW, _HIGH = (0, 4, 1, 5), (2, 6, 3, 7)
_BYTES = (0, 2, 1, 3)

SIGNED = tuple(float(code - 8) for code in range(16))
"""What codes of 4 bits stand for that are integers plus 8."""
UNSIGNED = tuple(float(code) for code in range(16))
"""The same, without the 8."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the numbers of a weight are stored."""

    bits: Literal[4, 8]
    group_size: int
    """Inputs that share a scale: 16, or a multiple of 32; one that 256 is a multiple of where scales
    are nested.
    """
    dtype: torch.dtype
    """Of the scales, or of the outer ones: bfloat16 or float16."""
    offsets: Offsets = "none"
    """`zeros` are numbers like the scales, and an offset is `-(zero · scale)`; `minima` are the
    offsets themselves.
    """
    is_nested: bool = False
    """Whether scales and minima are numbers of 8 bits, times an outer one that 256 inputs share."""
    table: tuple[float, ...] = SIGNED
    """What the codes of 4 bits stand for: numbers that bfloat16 holds."""
    is_fp8: bool = False
    """Whether the numbers of 8 bits are `float8_e4m3fn`, with scales in float32, for each
    `FP8_GROUP` inputs or for all. Such a weight lies otherwise: row after row, as it is published,
    then its scales, float32 [groups, rows].
    """

    @property
    def span(self) -> int:
        """Inputs whose scales and words lie together."""
        return OUTER if self.is_nested else self.group_size

    @property
    def span_bytes(self) -> int:
        """Bytes of a span of a tile."""
        kinds = 1 if self.offsets == "none" else 2
        scales = 2 + self.span // self.group_size if self.is_nested else 2
        return TILE * (kinds * scales + self.span * self.bits // 8)


@dataclass(frozen=True, slots=True)
class Grouped:
    """The numbers of a weight [rows, inputs], as a format hands them out."""

    form: Form
    codes: Tensor
    """[rows, inputs]; uint8 below 16 of 4 bits, int8 of 8, in fp8 its bytes as uint8."""
    scales: Tensor
    """[rows, groups], of the form's dtype, or int8 where they are nested; likewise the offsets."""
    offsets: Tensor | None = None
    outer_scales: Tensor | None = None
    """[rows, inputs / 256], of the form's dtype, where scales are nested."""
    outer_offsets: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Grouped":
        """The same with each tensor changed by a function."""
        return self.join([], lambda tensors: change(tensors[0]))

    def join(
        self, others: Sequence["Grouped"], put: Callable[[list[Tensor]], Tensor] = torch.cat
    ) -> "Grouped":
        """One weight of several of the same form, each of their tensors put together by a function."""
        parts = [self, *others]

        def joined(tensors: list[Tensor | None]) -> Tensor | None:
            present = [tensor for tensor in tensors if tensor is not None]
            return put(present) if present else None

        return Grouped(
            self.form,
            put([part.codes for part in parts]),
            put([part.scales for part in parts]),
            joined([part.offsets for part in parts]),
            joined([part.outer_scales for part in parts]),
            joined([part.outer_offsets for part in parts]),
        )

    def values(self) -> Tensor:
        """The weight, float32."""
        scales = _wide(self.scales, self.outer_scales, self.form)
        numbers = self._numbers()
        size = self.form.group_size
        if self.offsets is not None and self.form.offsets == "zeros":
            numbers -= _spread(self.offsets.float(), size, numbers.shape[1])
            return numbers * _spread(scales, size, numbers.shape[1])
        product = numbers * _spread(scales, size, numbers.shape[1])
        if self.offsets is None:
            return product
        return product + _spread(_wide(self.offsets, self.outer_offsets, self.form), size, numbers.shape[1])

    def _numbers(self) -> Tensor:
        """What the codes stand for, float32."""
        if self.form.is_fp8:
            return self.codes.view(torch.float8_e4m3fn).float()
        if self.form.bits == 8:
            return self.codes.float()
        return torch.tensor(self.form.table, device=self.codes.device)[self.codes.int()]


def _wide(inner: Tensor, outer: Tensor | None, form: Form) -> Tensor:
    """float32 [rows, groups]."""
    if outer is None:
        return inner.float()
    return inner.float() * _spread(outer.float(), OUTER // form.group_size, inner.shape[1])


def _spread(values: Tensor, times: int, count: int) -> Tensor:
    return values.repeat_interleave(times, dim=1)[:, :count]


def pack(weight: Grouped) -> Tensor:
    """The bytes of a weight, uint8 [tiles, spans, bytes of a span]; outputs are filled up to tiles
    and inputs to spans with zeros. In fp8 nothing is filled up, and they are uint8 [any].
    """
    form = weight.form
    if form.is_fp8:
        parts = (weight.codes.contiguous(), weight.scales.t().contiguous())
        return torch.cat([part.view(torch.uint8).flatten() for part in parts])
    num_rows, num_inputs = weight.codes.shape
    num_tiles, num_spans = -(-num_rows // TILE), -(-num_inputs // form.span)
    per_span = form.span // form.group_size

    def laid(values: Tensor | None, columns: int) -> list[Tensor]:
        """[tiles, spans, bytes] of numbers that each span has `columns` of."""
        if values is None:
            return []
        whole = _filled(values, num_tiles * TILE, num_spans * columns)
        apart = whole.view(num_tiles, TILE, num_spans, columns).permute(0, 2, 3, 1).contiguous()
        return [apart.view(num_tiles, num_spans, -1).view(torch.uint8)]

    codes = _filled(weight.codes.view(torch.uint8), num_tiles * TILE, num_spans * form.span)
    words = _words(codes, form.bits).view(num_tiles, TILE, num_spans, -1, 4).permute(0, 2, 3, 1, 4)
    laid_out = laid(weight.outer_scales, 1) + laid(weight.outer_offsets, 1)
    laid_out += laid(weight.scales, per_span) + laid(weight.offsets, per_span)
    laid_out.append(words.reshape(num_tiles, num_spans, -1))
    if words.device.type != "cpu":
        return torch.cat(laid_out, dim=-1)
    num_bytes = sum(part.shape[-1] for part in laid_out)
    packed = pages.empty_beside_others(num_tiles * num_spans * num_bytes, torch.uint8)
    return torch.cat(laid_out, dim=-1, out=packed.view(num_tiles, num_spans, num_bytes))


def _filled(values: Tensor, rows: int, columns: int) -> Tensor:
    if values.shape == (rows, columns):
        return values
    filled = values.new_zeros(rows, columns)
    filled[: values.shape[0], : values.shape[1]] = values
    return filled


def _words(codes: Tensor, bits: int) -> Tensor:
    """The bytes of words, [rows, any]."""
    if bits == 8:
        return codes.view(codes.shape[0], -1, 4)[..., _BYTES].flatten(1)
    words = codes.view(codes.shape[0], -1, 8)
    return (words[..., _LOW] | words[..., _HIGH] << 4).flatten(1)


def unpack(packed: Tensor, form: Form, num_rows: int, num_inputs: int) -> Grouped:
    """The opposite of `pack`."""
    if form.is_fp8:
        codes, tail = packed[: num_rows * num_inputs], packed[num_rows * num_inputs :]
        return Grouped(
            form, codes.view(num_rows, num_inputs), tail.view(torch.float32).view(-1, num_rows).t()
        )
    num_tiles, num_spans, _ = packed.shape
    per_span = form.span // form.group_size
    place = 0

    def taken(dtype: torch.dtype, columns: int, count: int) -> Tensor:
        nonlocal place
        size = columns * TILE * dtype.itemsize
        part = packed[..., place : place + size].contiguous().view(dtype)
        place += size
        apart = part.view(num_tiles, num_spans, columns, TILE).permute(0, 3, 1, 2)
        return apart.reshape(num_tiles * TILE, -1)[:num_rows, :count]

    has_offsets = form.offsets != "none"
    inner, num_groups = torch.int8 if form.is_nested else form.dtype, -(-num_inputs // form.group_size)
    num_outer = -(-num_inputs // OUTER)
    outer = [taken(form.dtype, 1, num_outer) for _ in range(form.is_nested * (1 + has_offsets))]
    scales = [taken(inner, per_span, num_groups) for _ in range(1 + has_offsets)]
    words = packed[..., place:].view(num_tiles, num_spans, -1, TILE, 4).permute(0, 3, 1, 2, 4)
    codes = _codes(words.reshape(num_tiles * TILE, -1), form.bits)[:num_rows, :num_inputs]
    return Grouped(form, codes, *_pair(scales), *_pair(outer))


def _pair(tensors: list[Tensor]) -> tuple[Any, Any]:
    first, second, *_ = [*tensors, None, None]
    return first, second


def _codes(words: Tensor, bits: int) -> Tensor:
    """The opposite of `_words`."""
    words = words.view(words.shape[0], -1, 4)
    codes = words.new_empty(*words.shape[:2], 32 // bits)
    if bits == 8:
        codes[..., _BYTES] = words
        return codes.flatten(1).view(torch.int8)
    codes[..., _LOW], codes[..., _HIGH] = words & 15, words >> 4
    return codes.flatten(1)


@cache
def form_struct(form: Form) -> ctypes.Structure:
    """The form as the kernels read it; it and its table keep their addresses for good."""
    table = (ctypes.c_float * 16)(*form.table)
    _TABLES.append(table)
    assert FORM_STRUCT is not None, "only kernels read it"
    return FORM_STRUCT(
        bits=form.bits,
        group_size=form.group_size,
        dtype=DTYPE_CODES[form.dtype],
        offsets=_OFFSET_CODES[form.offsets],
        is_nested=form.is_nested,
        table=ctypes.addressof(table),
    )


_TABLES: list[Any] = []
