"""The operations of a forward pass that torch has not, or not fused: one function each.

Tensors on the CPU go to the Rust kernels, tensors on a CUDA device to the compiled CUDA kernels, and either
to `reference` where its kernels are missing; `description()` says which and why. All take float32, bfloat16
and float16 and accumulate in float32. Arguments that break a contract raise `ValueError`.

A step makes hundreds of calls whose arguments cannot differ from the last step's in what is checked. Layers
therefore check once what they are made of, and call `operations_for` their device, which believes everything.
"""

from typing import Protocol

import torch
from torch import Tensor

from streamcore.kernels import checks, native, reference
from streamcore.kernels.linear import LinearWeight, can_keep_bfloat16, linear, multiply, pack_linear_weight
from streamcore.kernels.native import description, set_num_threads
from streamcore.kernels.sequences import PagedSequences

__all__ = [
    "LinearWeight",
    "Operations",
    "PagedSequences",
    "add_rms_norm",
    "can_keep_bfloat16",
    "description",
    "linear",
    "multiply",
    "operations_for",
    "pack_linear_weight",
    "paged_attention",
    "rms_norm",
    "rope_and_store_kv",
    "set_num_threads",
    "silu_mul",
]


class Operations(Protocol):
    """The functions of this package without their checks, for one device."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `rms_norm`."""

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `add_rms_norm`."""

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """See `silu_mul`."""

    def rope_and_store_kv(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cos_sin: Tensor,
        positions: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        slot_mapping: Tensor,
    ) -> None:
        """See `rope_and_store_kv`."""

    def paged_attention(
        self, query: Tensor, key_cache: Tensor, value_cache: Tensor, sequences: PagedSequences, scale: float
    ) -> Tensor:
        """See `paged_attention`."""


def operations_for(x: Tensor) -> Operations:
    """The fastest operations that there are on the device of `x`; a wrong argument is undefined behaviour."""
    return native.kernels_for(x) or reference


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square normalisation of each row.

    Args:
        x: [num_tokens, hidden], rows contiguous, any row stride.
        weight: [hidden], dtype of `x`.
        eps: added to the mean square.

    Returns:
        [num_tokens, hidden], contiguous, dtype of `x`.
    """
    checks.rows("x", x)
    checks.vector("weight", weight, x.shape[1], x.dtype, x)
    return operations_for(x).rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`residual += x` in place, rounded to its dtype, then the normalisation of the sum.

    Args:
        x: [num_tokens, hidden], rows contiguous, any row stride.
        residual: like `x`; updated in place.
        weight: [hidden], dtype of `x`.
        eps: added to the mean square.

    Returns:
        [num_tokens, hidden], contiguous, dtype of `x`.
    """
    checks.rows("x", x)
    checks.rows("residual", residual)
    checks.same_kind("residual", residual, x)
    if residual.shape != x.shape:
        raise ValueError(f"`residual` must be {list(x.shape)}, got {list(residual.shape)}")
    checks.vector("weight", weight, x.shape[1], x.dtype, x)
    return operations_for(x).add_rms_norm(x, residual, weight, eps)


def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up`, the activation of a gated MLP.

    Args:
        gate_up: [num_tokens, 2 * inter], gate, then up in each row; rows contiguous.

    Returns:
        [num_tokens, inter], contiguous, dtype of `gate_up`.
    """
    checks.rows("gate_up", gate_up)
    if gate_up.shape[1] % 2 != 0:
        raise ValueError(f"`gate_up` must have an even width, got {gate_up.shape[1]}")
    return operations_for(gate_up).silu_mul(gate_up)


def rope_and_store_kv(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
) -> None:
    """Rotates query and key in place and writes the rotated key and the value to their cache slots.

    Dimension `i` of a head pairs with dimension `i + rotary_dim / 2`; dimensions from `rotary_dim` on stay as
    they are. On a GPU positions and slots are not range-checked: they come from the scheduler.

    Args:
        query: [num_tokens, num_heads, head_dim]; heads adjacent, any token stride.
        key: [num_tokens, num_kv_heads, head_dim], likewise.
        value: like `key`.
        cos_sin: [max_position, rotary_dim] float32, contiguous: cosines in the first half of the columns.
        positions: [num_tokens] int32, each below `max_position`.
        key_cache: [num_blocks, block_size, num_kv_heads, head_dim], contiguous, dtype of `query`; on the CPU
            bfloat16 under float32 is fine, and half the bytes to read.
        value_cache: like `key_cache`.
        slot_mapping: [num_tokens] int64, `block * block_size + offset`; -1 stores nothing.
    """
    checks.heads("query", query)
    checks.heads("key", key)
    checks.heads("value", value)
    checks.same_kind("key", key, query)
    checks.same_kind("value", value, query)
    num_tokens, num_kv_heads, head_dim = key.shape
    if value.shape != key.shape or query.shape[0] != num_tokens or query.shape[2] != head_dim:
        raise ValueError(
            f"query {list(query.shape)}, key {list(key.shape)} and value {list(value.shape)} do not match"
        )
    checks.caches(key_cache, value_cache, query)
    if key_cache.shape[2] != num_kv_heads:
        raise ValueError(f"caches have {key_cache.shape[2]} heads, `key` has {num_kv_heads}")
    checks.rotary_table(cos_sin, head_dim, query.device)
    checks.vector("positions", positions, num_tokens, torch.int32, query)
    checks.vector("slot_mapping", slot_mapping, num_tokens, torch.int64, query)
    operations_for(query).rope_and_store_kv(
        query, key, value, cos_sin, positions, key_cache, value_cache, slot_mapping
    )


def paged_attention(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, sequences: PagedSequences, scale: float
) -> Tensor:
    """Causal attention of each sequence's new tokens over its cached keys and values, prefills and decodes.

    The last query token of a sequence sees its whole context, the one before it one key less, and so on.
    Query head `h` reads KV head `h // (num_heads // num_kv_heads)`. The caches must hold finite numbers
    everywhere (zero them once): the torch path multiplies unused slots by zero.

    Args:
        query: [num_tokens, num_heads, head_dim]; heads adjacent, any token stride.
        key_cache: [num_blocks, block_size, num_kv_heads, head_dim], contiguous, holding this step's keys too;
            dtype of `query`, or on the CPU bfloat16 under float32.
        value_cache: like `key_cache`.
        sequences: whose tokens and blocks they are, on the device of `query`.
        scale: multiplies the scores, usually `head_dim ** -0.5`.

    Returns:
        [num_tokens, num_heads, head_dim], contiguous, dtype of `query`.
    """
    checks.heads("query", query)
    checks.caches(key_cache, value_cache, query)
    if query.shape[1] % key_cache.shape[2] != 0:
        raise ValueError(f"{query.shape[1]} query heads do not divide among {key_cache.shape[2]} KV heads")
    if sequences.context_lens.device != query.device:
        raise ValueError(f"`sequences` must be on {query.device}, got {sequences.context_lens.device}")
    return operations_for(query).paged_attention(query, key_cache, value_cache, sequences, scale)
