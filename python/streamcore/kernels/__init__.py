"""The operations of a forward pass: `Ops` lists them with their shapes.

On the CPU they are the Rust kernels, on a CUDA device the compiled CUDA kernels, and either is
plain torch where its kernels are missing; `description()` says which and why.
"""

import os

import torch

from streamcore.kernels import native
from streamcore.kernels.checked import Checked
from streamcore.kernels.describe import description
from streamcore.kernels.library import set_num_threads
from streamcore.kernels.ops import Ops
from streamcore.kernels.paged import KvGroup, LayerCache, PagedSequences
from streamcore.kernels.scratch import Scratch
from streamcore.kernels.weight import (
    LinearWeight,
    can_keep_bfloat16,
    is_fast_in_bfloat16,
    pack_grouped_weight,
    pack_linear_weight,
)

__all__ = [
    "Checked",
    "KvGroup",
    "LayerCache",
    "LinearWeight",
    "Ops",
    "PagedSequences",
    "Scratch",
    "can_keep_bfloat16",
    "description",
    "is_fast_in_bfloat16",
    "ops_for",
    "pack_grouped_weight",
    "pack_linear_weight",
    "set_num_threads",
]


def ops_for(device: torch.device) -> Ops:
    """The fastest operations that there are on a device, checked where `STREAMCORE_CHECK` is 1."""
    ops = native.ops_for(device)
    return Checked(ops) if os.environ.get("STREAMCORE_CHECK") == "1" else ops
