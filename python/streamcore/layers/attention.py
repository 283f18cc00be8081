"""Self-attention over a paged KV cache."""

from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore import kernels
from streamcore.kernels import checks
from streamcore.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """Where a step's tokens stand in their sequences and in the KV cache, the same for every layer."""

    positions: Tensor
    """int32 [num_tokens]"""
    slot_mapping: Tensor
    """int64 [num_tokens], block id times block size plus offset"""
    sequences: kernels.PagedSequences

    def __post_init__(self) -> None:
        """Checks once what every layer relies on; raises `ValueError`."""
        num_tokens, like = self.positions.shape[0], self.sequences.context_lens
        checks.vector("positions", self.positions, num_tokens, torch.int32, like)
        checks.vector("slot_mapping", self.slot_mapping, num_tokens, torch.int64, like)


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The keys and values of one layer, each [num_blocks, block_size, num_kv_heads, head_dim]."""

    keys: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        """Checks once what every step relies on; raises `ValueError`."""
        checks.cache_pair(self.keys, self.values)


@dataclass(frozen=True, slots=True)
class Attention:
    """Grouped-query attention with rotary positions."""

    qkv: Linear
    output: Linear
    num_heads: int
    num_kv_heads: int
    head_dim: int
    operations: kernels.Operations

    def __call__(self, x: Tensor, cos_sin: Tensor, inputs: AttentionInputs, cache: LayerCache) -> Tensor:
        """Stores the tokens' keys and values, then attends to everything before them.

        Args:
            x: [num_tokens, hidden].
            cos_sin: float32 [max_len, head_dim].
            inputs: the step.
            cache: this layer's cache, written to; of this layer's heads and on its device.

        Returns:
            [num_tokens, hidden].
        """
        heads = self.qkv(x).view(x.shape[0], -1, self.head_dim)
        sizes = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        query, key, value = torch.split_with_sizes(heads, sizes, dim=1)
        keys, values = cache.keys, cache.values
        self.operations.rope_and_store_kv(
            query, key, value, cos_sin, inputs.positions, keys, values, inputs.slot_mapping
        )
        attended = self.operations.paged_attention(query, keys, values, inputs.sequences, self.head_dim**-0.5)
        return self.output(attended.flatten(1))
