"""What the CUDA kernels of weights in groups take, and the memory for those that are widened."""

from functools import cache

import torch
from torch import Tensor

from streamcore.kernels.grouped import TILE, Form
from streamcore.kernels.weight import LinearWeight

MAX_ROWS_OF_GROUPS = 256
"""Rows that the kernel multiplies with numbers of few bits, 32 at a time, each after the first with
the weight from the cache of the device. It widens them anew for each 32 rows: where there are more,
torch multiplies with what was widened once.
"""
_WIDENED_BYTES = 64 << 20
_CHUNK = 32
"""Inputs of numbers of 4 bits that the kernel multiplies with at a time."""


def takes_groups(x: Tensor, weight: LinearWeight) -> bool:
    """Whether the kernels take a product with a weight in groups, or in fp8: rows of 16-bit numbers
    that are whole groups of 16 bytes.
    """
    return (
        weight.form is not None
        and not weight.parts
        and x.dtype in (torch.bfloat16, torch.float16)
        and weight.num_inputs % 8 == 0
        and x.stride(0) % 8 == 0
        and x.data_ptr() % 16 == 0
        and weight.data.data_ptr() % 16 == 0
    )


def is_fp8(weight: LinearWeight) -> bool:
    """Whether the kernels are those of weights that lie row after row."""
    return weight.form is not None and weight.form.is_fp8 and not weight.parts


def num_groups(weight: LinearWeight) -> int:
    """Scales of an output of a weight in fp8; 0 of one that has none."""
    return 0 if weight.form is None else -(-weight.num_inputs // weight.form.group_size)


def multiplies_with(weight: LinearWeight) -> bool:
    """Whether the kernel of few rows takes the weight's form; others are widened for any rows."""
    return weight.form is not None and _takes_form(weight.form)


@cache
def _takes_form(form: Form) -> bool:
    """Whether groups of 4 bits are whole chunks, and codes stand for bytes, halves or quarters."""
    if form.bits == 8:
        return True
    tables = [[number / unit for number in form.table] for unit in (1.0, 0.5, 0.25)]
    is_narrow = any(all(-128 <= x <= 127 and x == int(x) for x in table) for table in tables)
    return form.group_size % _CHUNK == 0 and is_narrow


class WidenedMemory:
    """Where some rows of a weight are widened for torch: one place for all products."""

    def __init__(self) -> None:
        """Takes no memory yet."""
        self._memory: Tensor | None = None

    def rows(self, num_inputs: int, like: Tensor) -> Tensor:
        """Rows of that many inputs, as many as fit, whole tiles of outputs."""
        if self._memory is None or self._memory.dtype != like.dtype:
            self._memory = torch.empty(_WIDENED_BYTES // 2, dtype=like.dtype, device=like.device)
        count = max(self._memory.numel() // num_inputs // TILE, 1) * TILE
        if count * num_inputs > self._memory.numel():
            self._memory = torch.empty(count * num_inputs, dtype=like.dtype, device=like.device)
        return self._memory[: count * num_inputs].view(count, num_inputs)
