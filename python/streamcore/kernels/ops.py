"""What a forward pass is made of: every operation with its shapes.

Outputs and what is updated in place are arguments: a step allocates nothing. All operations take
float32, bfloat16 and float16 and accumulate in float32.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from streamcore.kernels.paged import LayerCache, PagedSequences
from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Activation, AttentionRule, Expert, ExpertRule, HeadNorms, Rotation


class Ops(Protocol):
    """The operations on one device. They believe their arguments; `checked.Checked`
    looks at each.
    """

    @property
    def reads_blocks_apart(self) -> bool:
        """Whether other memory may lie between the blocks of a cache."""

    def embed(self, out: Tensor, token_ids: Tensor, table: Tensor, factor: float) -> None:
        """`out = table[token_ids] * factor`.

        Args:
            out: [num_tokens, hidden], contiguous.
            token_ids: int32 [num_tokens].
            table: [vocab_size, hidden], contiguous; dtype of `out`, or on the CPU bfloat16 under
                float32.
            factor: multiplies the rows.
        """

    def take(self, out: Tensor, x: Tensor, rows: Tensor) -> None:
        """`out = x[rows]`; [num_rows, hidden] of [any, hidden], contiguous, by int32 [num_rows]."""

    def add(self, total: Tensor, x: Tensor) -> None:
        """`total += x`, both [num_tokens, hidden], contiguous; rounded to the dtype."""

    def scale(self, x: Tensor, factor: float) -> None:
        """`x *= factor`, [num_tokens, width], contiguous."""

    def soft_cap(self, x: Tensor, cap: float) -> None:
        """`x = cap * tanh(x / cap)`, [num_tokens, width], contiguous."""

    def rms_norm(self, out: Tensor, x: Tensor, weight: Tensor, eps: float) -> None:
        """`out = x / sqrt(mean(x²) + eps) * weight`, per row (Zhang and Sennrich 2019,
        arXiv:1910.07467).

        Args:
            out: like `x`, rows contiguous, any row stride; may be `x` itself.
            x: [num_tokens, hidden], rows contiguous, any row stride.
            weight: [hidden], dtype of `x`.
            eps: added to the mean square.
        """

    def add_rms_norm(self, out: Tensor, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> None:
        """`residual += x`, rounded to its dtype, then `rms_norm` of the sum into `out`; all like
        `x`.
        """

    def gated(self, out: Tensor, gate_up: Tensor, activation: Activation) -> None:
        """The middle of a gated MLP, by `activation`.

        Args:
            out: [num_tokens, inter], contiguous.
            gate_up: [num_tokens, 2 * inter], gate, then up in each row; rows contiguous.
            activation: which.
        """

    def linear(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """`out = x @ weight.T + bias`, accumulated in float32.

        Args:
            out: [num_tokens, num_outputs], contiguous, dtype of `x`.
            x: [num_tokens, num_inputs], rows contiguous; of the dtype that `pack_linear_weight` was
                given.
            weight: from `pack_linear_weight`.
            bias: [num_outputs], dtype of `x`, or None.
        """

    def gated_linear(
        self,
        out: Tensor,
        gate_up: Tensor,
        x: Tensor,
        weight: LinearWeight,
        bias: Tensor | None,
        activation: Activation,
    ) -> None:
        """`linear`, then `gated` of it: one operation where a kernel has both.

        Args:
            out: as that of `gated`.
            gate_up: as that of `gated`, which `linear` writes to where they are two; only
                `weight.gate_up_width` wide.
            x: as in `linear`.
            weight: likewise.
            bias: likewise.
            activation: as in `gated`.
        """

    def rope_and_store_kv(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rotation: Rotation,
        positions: Tensor,
        cache: LayerCache,
        slot_mapping: Tensor,
        norms: HeadNorms | None = None,
    ) -> None:
        """Normalises and rotates query and key in place, and writes the key and the value to their
        cache slots.

        Dimension `i` of a head pairs with dimension `i + rotary_dim / 2`; dimensions from
        `rotary_dim` on stay as they are (Su et al. 2021, arXiv:2104.09864). On a GPU positions and
        slots are not range-checked: they come from the scheduler.

        Args:
            query: [num_tokens, num_heads, head_dim]; heads adjacent, any token stride.
            key: [num_tokens, num_kv_heads, head_dim], likewise.
            value: like `key`.
            rotation: the table of the positions.
            positions: int32 [num_tokens].
            cache: of these heads; on the CPU bfloat16 under float32 is fine, and half the bytes to
                read.
            slot_mapping: int64 [num_tokens], `block * block_size + offset`; -1 stores nothing.
            norms: of the heads, or None.
        """

    def paged_attention(
        self, out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
    ) -> None:
        """Causal attention of each sequence's new tokens over its cached keys and values, prefills
        and decodes.

        The last query token of a sequence sees its whole context, the one before it one key less,
        and so on. Query head `h` reads KV head `h // (num_heads // num_kv_heads)`. The cache must
        hold finite numbers everywhere (zero it once): the torch path multiplies unused slots by
        zero.

        Args:
            out: [num_tokens, num_heads, head_dim], contiguous, dtype of `query`.
            query: [num_tokens, num_heads, head_dim]; heads adjacent, any token stride.
            cache: holds this step's keys too; dtype of `query`, or on the CPU bfloat16 under
                float32.
            sequences: whose tokens and blocks they are, on the device of `query`.
            rule: how scores become weights.
        """

    def experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        """The weighted sum of the outputs of each token's experts.

        Args:
            out: [num_tokens, hidden], contiguous.
            x: [num_tokens, hidden], contiguous.
            scores: [num_tokens, num_experts], what the router makes of `x`.
            experts: num_experts of them.
            rule: which are chosen, and their weights.
        """
