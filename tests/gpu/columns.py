"""Words of 32 bits as threads read and write them, and what they must be."""

from dataclasses import dataclass

import torch
from torch import Tensor

THREADS, LANES = 128, 32
"""Of a block and of a warp."""
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32


@dataclass(frozen=True)
class Column:
    """What words of the output must be."""

    wanted: Tensor
    """Words, or numbers of `dtype` in 16 bits, or for a bound float64."""
    dtype: torch.dtype = torch.int32
    bound: Tensor | None = None
    """How far off each number may be; None: not at all. Any NaN is NaN."""

    def wrong(self, got: Tensor) -> Tensor:
        """Where these words, int32, are something else."""
        if self.dtype == torch.int32:
            return got != self.wanted
        found = got.view(self.dtype) if self.dtype == F32 else got.view(torch.int16).view(self.dtype)
        wanted = self.wanted.view(found.shape)
        if self.bound is not None:
            with_bound = (found.double() - wanted).abs() <= self.bound.view(found.shape)
            right = with_bound | (found == wanted)
        elif self.dtype == F32:
            right = found.view(torch.int32) == wanted.view(torch.int32)
        else:
            right = found.view(torch.int16) == wanted.view(torch.int16)
        right |= found.isnan() & wanted.isnan()
        return ~right.view(*got.shape, -1).all(dim=-1)


Columns = list[Column]


def words(*shape: int, seed: int = 0) -> Tensor:
    """Random words."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randint(-(2**31), 2**31, shape, generator=generator).int()


def bits(numbers: Tensor) -> Tensor:
    """Floats as words."""
    return numbers.float().contiguous().view(torch.int32)


def floats(word: Tensor) -> Tensor:
    """Words as floats."""
    return word.contiguous().view(F32)


def halves(word: Tensor) -> Tensor:
    """Words as pairs of 16 bits, int16 [..., 2], the low half first."""
    return word.contiguous().view(torch.int16).view(*word.shape, 2)


def chosen(*lists: Tensor) -> Tensor:
    """Rows of numbers, of which each column has its own, to whole blocks."""
    rows = torch.stack(lists, dim=1)
    return torch.cat([rows, rows[: -len(rows) % THREADS]]).contiguous()


def ulp(number: Tensor) -> Tensor:
    """The distance of floats around these float64 numbers."""
    exponent = torch.frexp(number.abs().clamp(min=2.0**-126)).exponent
    return torch.ldexp(torch.ones_like(number), exponent - 24)


def near(wanted: Tensor, num_ulp: float | Tensor) -> Column:
    # What is below the least normal number may be 0.
    return Column(wanted, F32, num_ulp * ulp(wanted) + 2.0**-126)
