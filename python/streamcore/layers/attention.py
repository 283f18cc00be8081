"""Self-attention over a paged KV cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.linear import Linear
from streamcore.layers.norm import RmsNorm
from streamcore.layers.rotary import Rope
from streamcore.operands import AttentionRule, HeadNorms

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.layers.step import Step


@dataclass(frozen=True, slots=True)
class Attention:
    """Grouped-query attention with rotary positions; parts that a family lacks are None."""

    qkv: Linear
    """Rows of the queries, then of the keys, then of the values."""
    output: Linear
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope: Rope
    layer: int
    """Which of the KV group's caches is its own."""
    rule: AttentionRule
    head_norms: HeadNorms | None = None
    whole_norms: tuple[RmsNorm, RmsNorm] | None = None
    """Of all heads of query and key together."""
    kv_group: int = 0

    def __call__(self, x: "Tensor", step: "Step") -> "Tensor":
        """Stores the tokens' keys and values, then attends to everything that they see.

        Args:
            x: [num_tokens, hidden], normalised.
            step: the step.

        Returns:
            [num_tokens, hidden], or of a step that goes on with some of its tokens [num_wanted,
            hidden].
        """
        qkv = self.qkv(x, step, "qkv")
        width = self.num_heads * self.head_dim
        if self.whole_norms is not None:
            kv_width = self.num_kv_heads * self.head_dim
            self.whole_norms[0](qkv[:, :width], step)
            self.whole_norms[1](qkv[:, width : width + kv_width], step)
        query, key, value = self._heads(qkv)
        kv = step.kv[self.kv_group]
        cache = kv.caches[self.layer]
        step.ops.rope_and_store_kv(
            query, key, value, self.rope.rotation, step.positions, cache, kv.slot_mapping, self.head_norms
        )
        sequences = kv.sequences
        if step.wanted is not None and kv.wanted is not None:
            query, _, _ = self._heads(step.take("wanted_qkv", qkv, step.wanted))
            sequences = kv.wanted
        attended = step.scratch.rows("attended", query.shape[0], width)
        step.ops.paged_attention(attended.view(query.shape), query, cache, sequences, self.rule)
        return self.output(attended, step, "hidden")

    def _heads(self, qkv: "Tensor") -> "Sequence[Tensor]":
        """Query, key and value of rows, each [num_rows, heads, head_dim]."""
        heads = qkv.view(qkv.shape[0], -1, self.head_dim)
        return heads.split_with_sizes((self.num_heads, self.num_kv_heads, self.num_kv_heads), 1)
