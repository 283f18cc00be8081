"""The operations of a forward pass that torch has not, or not fused: one function each.

Tensors on the CPU go to the Rust kernels, tensors on a CUDA device to the compiled CUDA kernels, and either
to `reference` where its kernels are missing; `description()` says which and why. All take float32, bfloat16
and float16 and accumulate in float32. Arguments that break a contract raise `ValueError`.
"""

import torch
from torch import Tensor

from streamcore.kernels import checks, native, reference
from streamcore.kernels.linear import LinearWeight, can_keep_bfloat16, linear, pack_linear_weight
from streamcore.kernels.native import description, set_num_threads

__all__ = [
    "LinearWeight",
    "add_rms_norm",
    "can_keep_bfloat16",
    "description",
    "linear",
    "pack_linear_weight",
    "paged_attention",
    "rms_norm",
    "rope_and_store_kv",
    "set_num_threads",
    "silu_mul",
]


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
    kernels = native.kernels_for(x)
    if kernels is None:
        return reference.rms_norm(x, weight, eps)
    return kernels.rms_norm(x, weight, eps)


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
    checks.require(
        residual.shape == x.shape, f"`residual` must be {list(x.shape)}, got {list(residual.shape)}"
    )
    checks.vector("weight", weight, x.shape[1], x.dtype, x)
    kernels = native.kernels_for(x)
    if kernels is None:
        return reference.add_rms_norm(x, residual, weight, eps)
    return kernels.add_rms_norm(x, residual, weight, eps)


def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up`, the activation of a gated MLP.

    Args:
        gate_up: [num_tokens, 2 * inter], gate, then up in each row; rows contiguous.

    Returns:
        [num_tokens, inter], contiguous, dtype of `gate_up`.
    """
    checks.rows("gate_up", gate_up)
    checks.require(gate_up.shape[1] % 2 == 0, f"`gate_up` must have an even width, got {gate_up.shape[1]}")
    kernels = native.kernels_for(gate_up)
    if kernels is None:
        return reference.silu_mul(gate_up)
    return kernels.silu_mul(gate_up)


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
    they are. Positions and slots are not range-checked: they come from the scheduler.

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
    checks.require(
        value.shape == key.shape and query.shape[0] == num_tokens and query.shape[2] == head_dim,
        f"query {list(query.shape)}, key {list(key.shape)} and value {list(value.shape)} do not match",
    )
    checks.caches(key_cache, value_cache, query)
    checks.require(
        key_cache.shape[2] == num_kv_heads,
        f"caches have {key_cache.shape[2]} heads, `key` has {num_kv_heads}",
    )
    checks.require(
        cos_sin.dim() == 2
        and cos_sin.dtype == torch.float32
        and cos_sin.is_contiguous()
        and cos_sin.device == query.device
        and cos_sin.shape[1] % 2 == 0
        and cos_sin.shape[1] <= head_dim,
        "`cos_sin` must be contiguous float32 [max_position, rotary_dim], even and at most `head_dim` wide",
    )
    checks.vector("positions", positions, num_tokens, torch.int32, query)
    checks.vector("slot_mapping", slot_mapping, num_tokens, torch.int64, query)
    kernels = native.kernels_for(query) or reference
    kernels.rope_and_store_kv(query, key, value, cos_sin, positions, key_cache, value_cache, slot_mapping)


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    query_starts: Tensor,
    scale: float,
    *,
    max_query_len: int | None = None,
    max_context_len: int | None = None,
) -> Tensor:
    """Causal attention of each sequence's new tokens over its cached keys and values, prefills and decodes.

    The last query token of a sequence sees its whole context, the one before it one key less, and so on.
    Query head `h` reads KV head `h // (num_heads // num_kv_heads)`. Lengths and block ids are not
    range-checked: they come from the scheduler. The caches must hold finite numbers everywhere (zero them
    once): the torch path multiplies unused slots by zero.

    Args:
        query: [num_tokens, num_heads, head_dim]; heads adjacent, any token stride.
        key_cache: [num_blocks, block_size, num_kv_heads, head_dim], contiguous, holding this step's keys too;
            dtype of `query`, or on the CPU bfloat16 under float32.
        value_cache: like `key_cache`.
        block_tables: [num_seqs, stride] int32; entries past a sequence's context are ignored.
        context_lens: [num_seqs] int32, the KV length after this step, at least the sequence's query length.
        query_starts: [num_seqs + 1] int32, from 0 to num_tokens: where each sequence's tokens begin.
        scale: multiplies the scores, usually `head_dim ** -0.5`.
        max_query_len: the greatest query length, where the caller knows it; with 1 and `max_context_len`
            given, a CUDA step never waits for the device.
        max_context_len: the greatest context length, where the caller knows it.

    Returns:
        [num_tokens, num_heads, head_dim], contiguous, dtype of `query`.
    """
    checks.heads("query", query)
    checks.caches(key_cache, value_cache, query)
    checks.require(
        query.shape[1] % key_cache.shape[2] == 0,
        f"{query.shape[1]} query heads do not divide among {key_cache.shape[2]} KV heads",
    )
    num_seqs = context_lens.shape[0]
    checks.vector("context_lens", context_lens, num_seqs, torch.int32, query)
    checks.vector("query_starts", query_starts, num_seqs + 1, torch.int32, query)
    checks.require(
        block_tables.dim() == 2
        and block_tables.shape[0] == num_seqs
        and block_tables.dtype == torch.int32
        and block_tables.stride(1) == 1
        and block_tables.device == query.device,
        f"`block_tables` must be int32 [{num_seqs}, stride] with contiguous rows on {query.device}",
    )
    kernels = native.kernels_for(query)
    if isinstance(kernels, native.CpuKernels):
        return kernels.paged_attention(
            query, key_cache, value_cache, block_tables, context_lens, query_starts, scale
        )
    return reference.paged_attention(
        query,
        key_cache,
        value_cache,
        block_tables,
        context_lens,
        query_starts,
        scale,
        max_query_len=max_query_len,
        max_context_len=max_context_len,
    )
