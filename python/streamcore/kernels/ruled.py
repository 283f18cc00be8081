"""Paged attention with windows, soft caps and sinks in plain torch: what `gathered` cannot leave to
torch's own attention.

One sequence after another, its queries in tiles whose scores fit into `_SCORES_BYTES`; keys before
a tile's first window are not gathered at all.
"""

import torch
from torch import Tensor

from streamcore.kernels.paged import LayerCache, PagedSequences
from streamcore.operands import AttentionRule

_SCORES_BYTES = 1 << 28


def ruled_attention(
    out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
) -> None:
    """See `Ops.paged_attention`."""
    for seq, context_len in enumerate(sequences.lens):
        start, query_len = sequences.starts[seq], sequences.query_len(seq)
        before = context_len - query_len
        tile = max(_SCORES_BYTES // (4 * query.shape[1] * max(context_len, 1)), 1)
        for first in range(0, query_len, tile):
            end = min(first + tile, query_len)
            # A padding row of length 0 sees one key instead of none, and so stays finite.
            positions = torch.arange(before + first, before + end, device=query.device).clamp(min=0)
            last_key = max(before + end, 1)
            first_key = max(before + first + 1 - rule.window, 0) if rule.window else 0
            keys, values = (
                _gather(tensor, sequences, seq, first_key, last_key) for tensor in (cache.keys, cache.values)
            )
            tokens = slice(start + first, start + end)
            out[tokens] = _attend(query[tokens], keys, values, positions, first_key, rule)


def _gather(cache: Tensor, sequences: PagedSequences, seq: int, first_key: int, end: int) -> Tensor:
    """float32 [num_kv_heads, end - first_key, head_dim]."""
    block_size = cache.shape[1]
    blocks = sequences.block_ids(seq, seq + 1, -(-end // block_size))[0]
    first_block = first_key // block_size
    rows = cache[blocks[first_block:]].flatten(0, 1)
    offset = first_block * block_size
    return rows[first_key - offset : end - offset].transpose(0, 1).float()


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, first_key: int, rule: AttentionRule
) -> Tensor:
    num_queries, _, head_dim = query.shape
    num_kv_heads = keys.shape[0]
    grouped = query.float().view(num_queries, num_kv_heads, -1, head_dim).permute(1, 2, 0, 3)
    scores = grouped @ keys.unsqueeze(1).transpose(-1, -2) * rule.scale
    if rule.soft_cap:
        scores = rule.soft_cap * torch.tanh(scores / rule.soft_cap)
    numbers = torch.arange(first_key, first_key + keys.shape[1], device=query.device)
    hidden = numbers > positions.unsqueeze(1)
    if rule.window:
        hidden |= numbers <= positions.unsqueeze(1) - rule.window
    scores = scores.masked_fill(hidden, -torch.inf)
    if rule.sinks is not None:
        sinks = rule.sinks.float().view(num_kv_heads, -1, 1, 1).expand(*scores.shape[:-1], 1)
        weights = torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return (weights @ values.unsqueeze(1)).permute(2, 0, 1, 3).reshape(query.shape).to(query.dtype)
