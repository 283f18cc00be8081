"""Self-attention over a paged KV cache."""

from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore import kernels
from streamcore.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """Where a step's tokens stand in their sequences and in the KV cache, the same for every layer."""

    positions: Tensor
    """int32 [num_tokens]"""
    slot_mapping: Tensor
    """int64 [num_tokens], block id times block size plus offset"""
    block_tables: Tensor
    """int32 [num_seqs, stride]"""
    context_lens: Tensor
    """int32 [num_seqs], keys of each sequence once this step's are stored"""
    query_starts: Tensor
    """int32 [num_seqs + 1]"""
    max_query_len: int
    max_context_len: int


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The keys and values of one layer, each [num_blocks, block_size, num_kv_heads, head_dim]."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Attention:
    """Grouped-query attention with rotary positions."""

    qkv: Linear
    output: Linear
    num_heads: int
    num_kv_heads: int
    head_dim: int

    def __call__(self, x: Tensor, cos_sin: Tensor, inputs: AttentionInputs, cache: LayerCache) -> Tensor:
        """Stores the tokens' keys and values, then attends to everything before them.

        Args:
            x: [num_tokens, hidden].
            cos_sin: float32 [max_len, head_dim].
            inputs: the step.
            cache: this layer's cache, written to.

        Returns:
            [num_tokens, hidden].
        """
        heads = self.qkv(x).view(x.shape[0], -1, self.head_dim)
        sizes = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        query, key, value = torch.split_with_sizes(heads, sizes, dim=1)
        kernels.rope_and_store_kv(
            query, key, value, cos_sin, inputs.positions, cache.keys, cache.values, inputs.slot_mapping
        )
        attended = kernels.paged_attention(
            query,
            cache.keys,
            cache.values,
            inputs.block_tables,
            inputs.context_lens,
            inputs.query_starts,
            self.head_dim**-0.5,
            max_query_len=inputs.max_query_len,
            max_context_len=inputs.max_context_len,
        )
        return self.output(attended.flatten(1))
