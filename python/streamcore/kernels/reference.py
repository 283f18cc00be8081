"""The operations in plain torch: the oracle of the kernel tests, and what runs where no kernel was compiled.

Each function has the contract of its namesake in `streamcore.kernels`, which states shapes and dtypes;
arithmetic is in float32 whatever the dtype of the tensors.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x²) + eps) * weight`, per row (Zhang and Sennrich, 2019)."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return (wide * scale * weight.float()).to(x.dtype)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Adds `x` to `residual` in place, then normalises the sum as it was stored."""
    residual.copy_(residual.float() + x.float())
    return rms_norm(residual, weight, eps)


def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up`, where each row is gate, then up."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    return (silu(gate) * up).to(gate_up.dtype)


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
    """Rotates query and key in place (Su et al., 2021; half-split pairs), then stores key and value."""
    cos, sin = cos_sin.index_select(0, positions).unsqueeze(1).chunk(2, dim=-1)
    _rotate(query, cos, sin)
    _rotate(key, cos, sin)
    key, value = key.to(key_cache.dtype), value.to(value_cache.dtype)
    stored = slot_mapping >= 0
    slots, num_slots = slot_mapping, key_cache.shape[0] * key_cache.shape[1]
    if key.device.type == "cpu":
        slots, key, value = slots[stored], key[stored], value[stored]
        _slots_of(key_cache, num_slots).index_copy_(0, slots, key)
        _slots_of(value_cache, num_slots).index_copy_(0, slots, value)
        return
    # A boolean index would make the host wait for the device.
    _store_where(_slots_of(key_cache, num_slots), stored, slots, key)
    _store_where(_slots_of(value_cache, num_slots), stored, slots, value)


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
    """Gathers each sequence's blocks, then torch's own attention.

    A step of decodes is one batched call and, where both maxima are given, never makes the host wait for the
    device. A step with prefill chunks reads the lengths back once and takes the sequences one by one.
    """
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    num_seqs = context_lens.shape[0]
    if max_query_len == 1 and query.shape[0] == num_seqs:
        if max_context_len is None:
            max_context_len = int(context_lens.max())
        output.copy_(
            _decode(query, key_cache, value_cache, block_tables, context_lens, scale, max_context_len)
        )
        return output
    starts, lens = query_starts.tolist(), context_lens.tolist()
    decodes = [i for i in range(num_seqs) if starts[i + 1] - starts[i] == 1]
    if decodes:
        rows = torch.tensor(decodes, device=query.device)
        tokens = query_starts[:-1].index_select(0, rows).long()
        attended = _decode(
            query.index_select(0, tokens),
            key_cache,
            value_cache,
            block_tables.index_select(0, rows),
            context_lens.index_select(0, rows),
            scale,
            max(lens[i] for i in decodes),
        )
        output.index_copy_(0, tokens, attended)
    for i in range(num_seqs):
        if starts[i + 1] - starts[i] > 1:
            chunk = slice(starts[i], starts[i + 1])
            output[chunk] = _prefill(query[chunk], key_cache, value_cache, block_tables[i], lens[i], scale)
    return output


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    a, b = first.float(), second.float()
    # Both before either is stored: float32 inputs are `a` and `b` themselves.
    rotated_first, rotated_second = a * cos - b * sin, b * cos + a * sin
    first.copy_(rotated_first)
    second.copy_(rotated_second)


def _slots_of(cache: Tensor, num_slots: int) -> Tensor:
    return cache.view(num_slots, cache.shape[2], cache.shape[3])


def _store_where(slots_of_cache: Tensor, stored: Tensor, slots: Tensor, rows: Tensor) -> None:
    # Skipped rows are redirected to the last stored row's slot and value, so that duplicate writes agree.
    order = torch.arange(rows.shape[0], device=rows.device)
    last = torch.where(stored, order, -1).amax()
    source = torch.where(stored, order, last.clamp(min=0))
    target = slots.index_select(0, source).clamp(min=0)
    kept = slots_of_cache.index_select(0, target)
    new = torch.where(stored.any(), rows.index_select(0, source), kept)
    slots_of_cache.index_copy_(0, target, new)


def _gather(cache: Tensor, block_tables: Tensor, max_context_len: int) -> Tensor:
    """[num_seqs, blocks, ...] of a cache as [num_seqs, num_kv_heads, max_context_len, head_dim]."""
    block_size = cache.shape[1]
    num_blocks = -(-max_context_len // block_size)
    gathered = cache[block_tables[:, :num_blocks].long()]
    return gathered.flatten(1, 2)[:, :max_context_len].transpose(1, 2)


def _decode(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    scale: float,
    max_context_len: int,
) -> Tensor:
    # One query per sequence: the query heads that share a KV head become the rows of one attention.
    num_seqs, num_heads, head_dim = query.shape
    grouped = query.reshape(num_seqs, key_cache.shape[2], -1, head_dim)
    positions = torch.arange(max_context_len, device=query.device)
    # A padding row of length 0 reads one key instead of none, and so stays finite.
    visible = positions < context_lens.clamp(min=1).unsqueeze(1)
    attended = scaled_dot_product_attention(
        grouped,
        _gather(key_cache, block_tables, max_context_len).to(query.dtype),
        _gather(value_cache, block_tables, max_context_len).to(query.dtype),
        attn_mask=visible[:, None, None, :],
        scale=scale,
    )
    return attended.reshape(num_seqs, num_heads, head_dim)


def _prefill(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_table: Tensor,
    context_len: int,
    scale: float,
) -> Tensor:
    query_len = query.shape[0]
    whole = query_len == context_len
    mask = None
    if not whole:
        mask = torch.ones(query_len, context_len, dtype=torch.bool, device=query.device)
        mask = mask.tril(context_len - query_len)
    attended = scaled_dot_product_attention(
        query.transpose(0, 1).unsqueeze(0),
        _gather(key_cache, block_table.unsqueeze(0), context_len).to(query.dtype),
        _gather(value_cache, block_table.unsqueeze(0), context_len).to(query.dtype),
        attn_mask=mask,
        is_causal=whole,
        scale=scale,
        enable_gqa=query.shape[1] != key_cache.shape[2],
    )
    return attended.squeeze(0).transpose(0, 1)
