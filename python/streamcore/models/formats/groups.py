"""From the numbers of a format to weights in groups, which are multiplied as they are; in torch."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from streamcore.kernels.grouped import FP8_GROUP, Form, Grouped, Offsets

_LARGEST = 128
_DTYPES = (torch.float16, torch.bfloat16)
# As in the loader: what lies between stays in the processor's cache.
_MAX_NUMBERS = 1 << 18

QUANTISED_GROUP = 32
"""Inputs that share a scale where weights are quantised here."""
# Shares of the scale that reaches the greatest number of a group: a smaller one cuts that off and
# is closer to the others.
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)


def in_pieces(rows: int, inputs: int, piece: Callable[[slice], Tensor], dtype: torch.dtype) -> Tensor:
    """[rows, inputs], some rows at a time; pieces begin at multiples of 32."""
    whole = torch.empty(rows, inputs, dtype=dtype)
    step = max(_MAX_NUMBERS // inputs // 32, 1) * 32
    for first in range(0, rows, step):
        part = slice(first, min(first + step, rows))
        whole[part] = piece(part)
    return whole


def integers(
    codes: Tensor, scales: Tensor, group_size: int, *, bits: int, zeros: Tensor | None = None
) -> Grouped | None:
    """A weight `(code - zero) · scale`.

    Args:
        codes: [rows, inputs]: uint8 numbers without a sign of up to 4 bits, or int8.
        scales: [rows, groups].
        group_size: inputs of a group; -1 for one group.
        bits: up to 4, or 8.
        zeros: [rows, groups], integers up to 256 in magnitude; without them codes of up to 4 bits
            have 8 added.

    Returns:
        None where no layout holds it: scales of 32 bits, zeros that are no integers, groups of
        another size.
    """
    size = _LARGEST if group_size < 0 or group_size % _LARGEST == 0 else group_size
    if scales.dtype not in _DTYPES or (size != 16 and (size % 32 != 0 or size > _LARGEST)):
        return None
    if zeros is not None and zeros.is_floating_point():
        return None
    if zeros is not None and bits <= 4:
        zeros = zeros.int() - 8
    has_zeros = zeros is not None and bool(zeros.any())
    offsets: Offsets = "zeros" if has_zeros else "none"
    num_groups = -(-codes.shape[1] // size)

    def spread(values: Tensor) -> Tensor:
        """The values of groups for smaller ones."""
        times = num_groups if group_size < 0 else group_size // size
        return values.to(scales.dtype).repeat_interleave(times, dim=1)[:, :num_groups]

    form = Form(4 if bits <= 4 else 8, size, scales.dtype, offsets)
    return Grouped(form, codes, spread(scales), spread(zeros) if has_zeros and zeros is not None else None)


def floats(codes: Tensor, scales: Tensor, group_size: int) -> Grouped | None:
    """A weight `code · scale` in fp8.

    Args:
        codes: float8_e4m3fn [rows, inputs].
        scales: [rows, groups].
        group_size: inputs of a group; -1 for one group.

    Returns:
        None where no layout holds it: rows that are no whole groups of 16 bytes, groups that are no
        multiples of 128 inputs.
    """
    inputs, numbers = codes.shape[1], codes.contiguous().view(torch.uint8)
    if inputs % 16 != 0:
        return None
    if scales.shape[1] == 1:
        return Grouped(Form(8, inputs, torch.float32, is_fp8=True), numbers, scales.float())
    if group_size % FP8_GROUP != 0:
        return None
    spread = scales.float().repeat_interleave(group_size // FP8_GROUP, dim=1)
    form = Form(8, FP8_GROUP, torch.float32, is_fp8=True)
    return Grouped(form, numbers, spread[:, : -(-inputs // FP8_GROUP)])


def signed(codes: Tensor) -> Tensor:
    """int8 numbers of uint8 ones that have 128 added."""
    return (codes ^ 128).view(torch.int8)


def quantised(weight: Tensor, bits: Literal[4, 8]) -> Grouped:
    """A weight [rows, inputs] rounded to nearest, by groups of 32 inputs with a scale in float16.

    In 8 bits the scale reaches the greatest magnitude of a group with 127. In 4 bits it reaches the
    number of the greatest magnitude with -8, or less than that where the squares of what rounding
    loses then add up to less.
    """
    form = Form(bits, QUANTISED_GROUP, torch.float16)
    num_groups = -(-weight.shape[1] // QUANTISED_GROUP)
    scales = torch.empty(weight.shape[0], num_groups, dtype=torch.float16)

    def rounded(rows: slice) -> Tensor:
        wide = torch.nn.functional.pad(weight[rows].float(), (0, -weight.shape[1] % QUANTISED_GROUP))
        grouped = wide.view(wide.shape[0], num_groups, QUANTISED_GROUP)
        codes, scales[rows] = _eight(grouped) if bits == 8 else _four(grouped)
        return codes.flatten(1)[:, : weight.shape[1]]

    dtype = torch.int8 if bits == 8 else torch.uint8
    return Grouped(form, in_pieces(weight.shape[0], weight.shape[1], rounded, dtype), scales)


def _eight(groups: Tensor) -> tuple[Tensor, Tensor]:
    scales = (groups.abs().amax(dim=-1) / 127).half()
    return _nearest(groups, scales, -127, 127).to(torch.int8), scales


def _four(groups: Tensor) -> tuple[Tensor, Tensor]:
    greatest = groups.gather(-1, groups.abs().argmax(dim=-1, keepdim=True)).squeeze(-1)
    best, scales, codes = torch.full_like(greatest, torch.inf), greatest.half(), torch.zeros_like(groups)
    for share in _SHARES:
        tried = (greatest * share / -8).half()
        numbers = _nearest(groups, tried, -8, 7)
        loss = (numbers * tried.float().unsqueeze(-1) - groups).square_().sum(dim=-1)
        is_better = loss < best
        best = torch.where(is_better, loss, best)
        scales = torch.where(is_better, tried, scales)
        codes = torch.where(is_better.unsqueeze(-1), numbers, codes)
    return (codes + 8).to(torch.uint8), scales


def _nearest(groups: Tensor, scales: Tensor, least: int, most: int) -> Tensor:
    """The numbers of groups in units of their scales; 0 where a scale is too small for float16."""
    wide = scales.float().unsqueeze(-1)
    return torch.where(wide == 0, 0.0, groups / wide).round_().clamp_(least, most)
