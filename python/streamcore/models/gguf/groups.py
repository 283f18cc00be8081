"""The numbers of a GGUF file's blocks as weights in groups, without widening them.

By type: how many inputs share a scale, and what a weight is. `d` and `m` are float16.

    Q4_0           32       d · (q - 8)                 q in 4 bits; inputs 0 to 15 in the lower halves of
    Q4_1           32       d · q + m                   the bytes, 16 to 31 in the upper ones
    Q5_0, Q5_1     32       d · (q - 16), d · q + m     the same; the fifth bits are a word of their own
    Q8_0           32       d · q                       q in 8 bits
    IQ4_NL         32       d · table[q]
    MXFP4          32       2^(e - 127) · fp4[q]
    Q4_K, Q5_K     32       d · s · q - m · t           s and t in 6 bits, d and m of 256 inputs; the halves
    Q6_K           16       d · s · (q - 32)            of a byte are inputs 32 apart, or 64 in Q6_K
    IQ4_XS         32       d · (s - 32) · table[q]

What has five or six bits takes eight.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from streamcore.kernels.grouped import UNSIGNED, Form, Grouped
from streamcore.models.formats import arithmetic
from streamcore.models.gguf.blocks import GROUPED_TYPES

_HALF = torch.float16
_IQ4 = tuple(
    float(number) for number in (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
)


def grouped(raw: Tensor, block_type: str, block_bytes: int) -> Grouped | None:
    """The numbers of blocks; None for a type whose blocks are widened.

    Args:
        raw: uint8 [rows, bytes of a row].
        block_type: by its name.
        block_bytes: bytes of a block.
    """
    if block_type not in GROUPED_TYPES:
        return None
    return _READ[block_type](raw.view(raw.shape[0], -1, block_bytes))


def _halves(data: Tensor) -> Tensor:
    """The lower halves of bytes [..., bytes], then the upper ones."""
    return torch.cat([data & 15, data >> 4], dim=-1)


def _floats(blocks: Tensor, place: int) -> Tensor:
    """[rows, blocks], float16."""
    return blocks[..., place : place + 2].contiguous().view(_HALF).squeeze(-1)


def _fifth_bits(words: Tensor) -> Tensor:
    """16 in each of 32 numbers whose bit of a word is set."""
    bits = torch.arange(8, dtype=torch.uint8)
    return (((words.unsqueeze(-1) >> bits) & 1) << 4).flatten(-2)


def _q4_0(blocks: Tensor) -> Grouped:
    return Grouped(Form(4, 32, _HALF), _halves(blocks[..., 2:]).flatten(1), _floats(blocks, 0))


def _q4_1(blocks: Tensor) -> Grouped:
    form = Form(4, 32, _HALF, "minima", table=UNSIGNED)
    return Grouped(form, _halves(blocks[..., 4:]).flatten(1), _floats(blocks, 0), _floats(blocks, 2))


def _q5_0(blocks: Tensor) -> Grouped:
    codes = (_halves(blocks[..., 6:]) | _fifth_bits(blocks[..., 2:6])).view(torch.int8) - 16
    return Grouped(Form(8, 32, _HALF), codes.flatten(1), _floats(blocks, 0))


def _q5_1(blocks: Tensor) -> Grouped:
    codes = (_halves(blocks[..., 8:]) | _fifth_bits(blocks[..., 4:8])).view(torch.int8)
    form = Form(8, 32, _HALF, "minima")
    return Grouped(form, codes.flatten(1), _floats(blocks, 0), _floats(blocks, 2))


def _q8_0(blocks: Tensor) -> Grouped:
    codes = blocks[..., 2:].contiguous().view(torch.int8)
    return Grouped(Form(8, 32, _HALF), codes.flatten(1), _floats(blocks, 0))


def _iq4_nl(blocks: Tensor) -> Grouped:
    form = Form(4, 32, _HALF, table=_IQ4)
    return Grouped(form, _halves(blocks[..., 2:]).flatten(1), _floats(blocks, 0))


def _mxfp4(blocks: Tensor) -> Grouped:
    scales = arithmetic.exponents(blocks[..., 0]).bfloat16()
    form = Form(4, 32, torch.bfloat16, table=arithmetic.FP4)
    return Grouped(form, _halves(blocks[..., 1:]).flatten(1), scales)


def _nested_scales(data: Tensor) -> tuple[Tensor, Tensor]:
    """Eight scales and eight minima of 6 bits out of 12 bytes: the first four of each are the lower
    bits of a byte; of the others the lower bits are halves of the last bytes, and the two above
    them the upper bits of the first.
    """
    first, second, last = data[..., :4], data[..., 4:8], data[..., 8:]
    scales = torch.cat([first & 63, (last & 15) | (first >> 6) << 4], dim=-1)
    minima = torch.cat([second & 63, (last >> 4) | (second >> 6) << 4], dim=-1)
    return scales.view(torch.int8), minima.view(torch.int8)


def _with_minima(blocks: Tensor, codes: Tensor, form: Form) -> Grouped:
    scales, minima = _nested_scales(blocks[..., 4:16])
    outer = (_floats(blocks, 0), -_floats(blocks, 2))
    return Grouped(form, codes.flatten(1), scales.flatten(1), minima.flatten(1), *outer)


def _q4_k(blocks: Tensor) -> Grouped:
    codes = _halves(torch.unflatten(blocks[..., 16:], -1, (4, 32)))
    return _with_minima(blocks, codes, Form(4, 32, _HALF, "minima", is_nested=True, table=UNSIGNED))


def _q5_k(blocks: Tensor) -> Grouped:
    low = torch.unflatten(_halves(torch.unflatten(blocks[..., 48:], -1, (4, 32))), -1, (2, 32)).flatten(
        -3, -2
    )
    bits = torch.arange(8, dtype=torch.uint8).unsqueeze(-1)
    high = ((blocks[..., 16:48].unsqueeze(-2) >> bits) & 1) << 4
    codes = (low | high).view(torch.int8)
    return _with_minima(blocks, codes.flatten(1), Form(8, 32, _HALF, "minima", is_nested=True))


def _q6_k(blocks: Tensor) -> Grouped:
    low = _halves(torch.unflatten(blocks[..., :128], -1, (2, 64)))
    shifts = torch.arange(0, 8, 2, dtype=torch.uint8).unsqueeze(-1)
    high = ((torch.unflatten(blocks[..., 128:192], -1, (2, 1, 32)) >> shifts) & 3).flatten(-2) << 4
    codes = (low | high).view(torch.int8) - 32
    scales = blocks[..., 192:208].contiguous().view(torch.int8)
    form = Form(8, 16, _HALF, is_nested=True)
    return Grouped(form, codes.flatten(1), scales.flatten(1), None, _floats(blocks, 208))


def _iq4_xs(blocks: Tensor) -> Grouped:
    pairs = torch.arange(0, 8, 2, dtype=torch.uint8)
    high = ((blocks[..., 2:4].unsqueeze(-1) >> pairs) & 3).flatten(-2)
    low = torch.stack([blocks[..., 4:8] & 15, blocks[..., 4:8] >> 4], dim=-1).flatten(-2)
    scales = (low | high << 4).view(torch.int8) - 32
    codes = _halves(torch.unflatten(blocks[..., 8:], -1, (8, 16)))
    form = Form(4, 32, _HALF, is_nested=True, table=_IQ4)
    return Grouped(form, codes.flatten(1), scales.flatten(1), None, _floats(blocks, 0))


_READ: Mapping[str, Callable[[Tensor], Grouped]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "IQ4_NL": _iq4_nl,
    "MXFP4": _mxfp4,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_XS": _iq4_xs,
}
