"""What a layer may know of a step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels import KvGroup, Ops, Scratch


@dataclass(frozen=True, slots=True)
class Step:
    """The tokens of a step, their places in the KV cache, and what computes them."""

    ops: "Ops"
    token_ids: "Tensor"
    """int32 [num_tokens]"""
    positions: "Tensor"
    """int32 [num_tokens]"""
    kv: "Sequence[KvGroup]"
    scratch: "Scratch"
    wanted: "Tensor | None" = None
    """int32 [num_wanted], the tokens that attention goes on with; None for all."""

    def ending_with(self, wanted: "Tensor") -> "Step":
        """The step in its last layer, where only these tokens go on if the KV groups tell them
        apart.
        """
        if any(group.wanted is None for group in self.kv):
            return self
        return replace(self, wanted=wanted)

    def take(self, name: str, x: "Tensor", tokens: "Tensor") -> "Tensor":
        """Rows of some tokens, under a name in the scratch memory."""
        taken = self.scratch.rows(name, tokens.shape[0], x.shape[1])
        self.ops.take(taken, x, tokens)
        return taken
