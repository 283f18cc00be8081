"""The compiled kernels as they are in the extension, and structs of arguments made from its own
list of their fields.
"""

import ctypes
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from streamcore.kernels import pages

DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float8_e4m3fn: 3}
_C_TYPES = {"usize": ctypes.c_size_t, "u32": ctypes.c_uint32, "f32": ctypes.c_float}


def _load() -> Any:
    try:
        return import_module("streamcore._core").kernels
    except ModuleNotFoundError:
        # Not built. One that is there and does not load raises another `ImportError`, which must be
        # seen.
        return None


compiled: Any = _load()
"""`streamcore._core.kernels`, None where the extension is not built."""


class Operation:
    """An operation of the extension: its number, and the struct of its arguments.

    Fields that are not given are 0, which is no tensor, no norm, no window.
    """

    def __init__(self, number: int, name: str, fields: list[tuple[str, str]], rows: str) -> None:
        self.number = number
        self.name = name
        self.rows = rows
        """The field that counts the rows."""
        self.struct = _struct(name, fields)


def _struct(name: str, fields: list[tuple[str, str]]) -> type[ctypes.Structure]:
    layout = [(field, _C_TYPES[kind]) for field, kind in fields]
    return type(name, (ctypes.Structure,), {"_fields_": layout})


def _by_name(listed: list[tuple[str, list[tuple[str, str]], str]]) -> dict[str, Operation]:
    return {name: Operation(number, name, fields, rows) for number, (name, fields, rows) in enumerate(listed)}


OPERATIONS = _by_name(compiled.operations()) if compiled is not None else {}
"""By the names of the structs in `rust/kernels/src/cpu`."""

CUDA_OPERATIONS = _by_name(compiled.cuda_operations()) if compiled is not None else {}
"""Likewise those of a CUDA device, also where no compiler was there for the kernels."""


FORM_STRUCT = _struct("Form", compiled.form_fields()) if compiled is not None else None
"""How a weight in groups lies in memory; see `grouped.Form`."""


def packs_weights() -> bool:
    """Whether products on the CPU are the extension's, which sums in one order for any number of
    tokens.
    """
    return compiled is not None


def has_vectors() -> bool:
    """Whether the extension uses vector instructions on this processor."""
    return compiled is not None and compiled.cpu_features() != "portable"


def prefers_rounding() -> bool:
    """Whether products of bfloat16 weights are faster on this processor with activations rounded to
    bfloat16.
    """
    return bool(compiled.cpu_prefers_rounding())


def attention_rounds(head_dim: int) -> bool:
    """Whether attention over a bfloat16 cache rounds queries and weights on this processor, for heads
    of this many elements.
    """
    return bool(compiled.cpu_attention_rounds(head_dim))


def activates(num_outputs: int) -> bool:
    """Whether the product of a packed weight with this many outputs, which is not in groups, is
    activated by the same kernel.
    """
    return bool(compiled.cpu_activates(num_outputs))


def pack_linear(weight: Tensor) -> Tensor:
    """The packed form of a contiguous float32 or bfloat16 weight [num_outputs, num_inputs] on the
    CPU.
    """
    is_wide = weight.dtype == torch.float32
    packed = pages.empty_beside_others(compiled.cpu_packed_len(*weight.shape, is_wide), weight.dtype)
    compiled.cpu_pack_linear(packed.data_ptr(), weight.data_ptr(), weight.shape, is_wide)
    return packed


def set_num_threads(num_threads: int) -> None:
    """Sets how many threads share a CPU kernel, the calling one included; torch's own threads are
    apart.
    """
    if compiled is not None:
        compiled.set_num_threads(num_threads)
