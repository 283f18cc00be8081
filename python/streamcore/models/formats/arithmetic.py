"""From packed numbers and scales to matrices, in torch; the one part of formats that imports it."""

import torch
from torch import Tensor

_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def unpack(words: Tensor, bits: int, count: int) -> Tensor:
    """The unsigned numbers that lie one after another in int32 words, from their lowest bits on.

        word 0                              word 1
        bits 0..b-1  b..2b-1  2b..3b-1  …   the rest of a number that did not fit, the next, …

    Args:
        words: int32 [..., num_words].
        bits: of a number, up to 8.
        count: how many numbers the last dimension has; what is left over is padding.

    Returns:
        uint8 [..., count].
    """
    if 8 % bits == 0:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=words.device)
        numbers = (words.contiguous().view(torch.uint8).unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
        return numbers.flatten(-2)[..., :count]
    first = torch.arange(count, device=words.device) * bits
    wide = torch.nn.functional.pad(words.long() & 0xFFFFFFFF, (0, 1))
    low, high = wide[..., first // 32], wide[..., first // 32 + 1]
    return (((low | (high << 32)) >> (first % 32)) & ((1 << bits) - 1)).to(torch.uint8)


def spread(values: Tensor, inputs: int, group_size: int, index: Tensor | None = None) -> Tensor:
    """What belongs to each column of a matrix, from what belongs to each group.

    Args:
        values: [rows, num_groups].
        inputs: number of columns.
        group_size: columns of a group that lie side by side; -1 for one group.
        index: [inputs], the group of each column, instead.

    Returns:
        [rows, inputs], or [rows, 1] for one group.
    """
    if index is not None:
        return values[:, index.long()]
    if values.shape[1] == 1:
        return values
    return values.repeat_interleave(group_size, dim=1)[:, :inputs]


def outside(index: Tensor, num_groups: int) -> str | None:
    """What is wrong with the groups that columns belong to."""
    least, most = int(index.min()), int(index.max())
    if least >= 0 and most < num_groups:
        return None
    return f"columns belong to groups {least} to {most}, there are {num_groups}"


def spread_blocks(scales: Tensor, rows: slice, inputs: int, block: tuple[int, int]) -> Tensor:
    """The scale of each number of some rows, [rows, inputs], from one of each block of `block` rows
    and columns; the last blocks may be smaller.
    """
    row = torch.arange(rows.start, rows.stop, device=scales.device) // block[0]
    column = torch.arange(inputs, device=scales.device) // block[1]
    return scales[row][:, column]


def exponents(scales: Tensor) -> Tensor:
    """float32 powers of two from bytes that hold their exponents plus 127."""
    return torch.exp2(scales.float() - 127)


def fp4(pairs: Tensor) -> Tensor:
    """float32 [..., 2 n] from bytes [..., n] of two numbers each, the low half first: a sign, two
    bits of exponent, one of mantissa.
    """
    table = torch.tensor(_FP4, device=pairs.device)
    return table[torch.stack([pairs & 15, pairs >> 4], dim=-1).long()].flatten(-2)
