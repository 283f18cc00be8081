"""From packed numbers and scales to matrices, in torch; the one part of formats that imports it."""

from collections.abc import Sequence

import torch
from torch import Tensor

FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""Floating-point numbers of four bits."""


def unpack(words: Tensor, bits: int, count: int) -> Tensor:
    """The unsigned numbers that lie one after another in int32 words, from their lowest bits on.

        word 0                              word 1
        bits 0..b-1  b..2b-1  2b..3b-1  …   the rest of a number that did not fit, the next, …

    Args:
        words: int32 [rows, num_words].
        bits: of a number, up to 8.
        count: how many numbers a row has; what is left over is padding.

    Returns:
        [rows, count], integers.
    """
    if 8 % bits == 0:
        pairs = words.contiguous().view(torch.uint8)
        parts = [(pairs >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
        return torch.stack(parts, dim=-1).flatten(1)[:, :count]
    first = torch.arange(count, device=words.device) * bits
    wide = torch.nn.functional.pad(words.long() & 0xFFFFFFFF, (0, 1))
    low, high = wide[:, first // 32], wide[:, first // 32 + 1]
    return ((low | (high << 32)) >> (first % 32)) & ((1 << bits) - 1)


def unpack_across(words: Tensor, bits: int, places: Sequence[int]) -> Tensor:
    """The unsigned numbers in int32 words that hold some of a column each, the matrix transposed.

    Args:
        words: int32 [inputs, num_words].
        bits: of a number.
        places: where in a word the numbers lie, the first row first.

    Returns:
        int32 [num_words · numbers of a word, inputs].
    """
    shifts = torch.tensor(places, dtype=torch.int32, device=words.device).mul_(bits).unsqueeze(-1)
    return ((words.t().contiguous().unsqueeze(1) >> shifts) & ((1 << bits) - 1)).flatten(0, 1)


def scaled(
    numbers: Tensor,
    scales: Tensor,
    group_size: int,
    *,
    zeros: Tensor | None = None,
    index: Tensor | None = None,
) -> Tensor:
    """`(number - zero) · scale` in float32, which holds differences and products with scales of 16
    bits exactly, then rounded to the dtype of the scales.

    Args:
        numbers: [rows, inputs]; float32 numbers are overwritten.
        scales: [rows, num_groups].
        group_size: columns of a group, which lie side by side; -1 for one group.
        zeros: [rows, num_groups].
        index: [inputs], the group of each column, where groups do not lie side by side.

    Returns:
        [rows, inputs].
    """
    wide = numbers.float()
    num_rows, num_groups = scales.shape
    if index is None and num_groups > 1 and wide.shape[1] != num_groups * group_size:
        index = torch.arange(wide.shape[1], device=wide.device) // group_size
    grouped = wide.view(num_rows, num_groups if index is None else wide.shape[1], -1)
    for part, apply in ((zeros, grouped.sub_), (scales, grouped.mul_)):
        if part is not None:
            chosen = part.float() if index is None else part.float().index_select(1, index)
            apply(chosen.unsqueeze(-1))
    return wide.to(scales.dtype)


def rows_of_blocks(scales: Tensor, rows: slice, height: int) -> Tensor:
    """The scales of some rows of a matrix, from those of each `height` rows."""
    return scales[torch.arange(rows.start, rows.stop, device=scales.device) // height]


def order(index: Tensor | None, group_size: int) -> Tensor | None:
    """The group of each column, or None where groups lie side by side, and where -1 says that
    nothing put them in another order.
    """
    if index is None or bool((index == -1).any()):
        return None
    places = torch.arange(index.shape[0], device=index.device)
    is_usual = torch.equal(index.long(), places // group_size if group_size > 0 else places * 0)
    return None if is_usual else index.int()


def outside(index: Tensor, num_groups: int) -> str | None:
    """What is wrong with the groups that columns belong to."""
    least, most = int(index.min()), int(index.max())
    if least >= 0 and most < num_groups:
        return None
    return f"columns belong to groups {least} to {most}, there are {num_groups}"


def exponents(scales: Tensor) -> Tensor:
    """float32 powers of two from bytes that hold their exponents plus 127."""
    return torch.exp2(scales.float() - 127)


def fp8(numbers: Tensor) -> Tensor:
    """float32 from fp8, by a table: several times faster than torch's own conversion on a CPU."""
    codes = torch.arange(256, dtype=torch.uint8, device=numbers.device)
    table = codes.view(numbers.dtype).float()
    return _looked_up(table, numbers.contiguous().view(torch.uint8))


def fp4(pairs: Tensor) -> Tensor:
    """float32 [..., 2 n] from bytes [..., n] of two numbers each, the low half first: a sign, two
    bits of exponent, one of mantissa.
    """
    table = torch.tensor(FP4, device=pairs.device)
    return _looked_up(table, torch.stack([pairs & 15, pairs >> 4], dim=-1)).flatten(-2)


def _looked_up(table: Tensor, codes: Tensor) -> Tensor:
    return table.index_select(0, codes.flatten().int()).view(codes.shape)
