"""A feed-forward layer of experts (Shazeer et al. 2017, arXiv:1701.06538)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.linear import Linear
from streamcore.operands import Expert, ExpertRule

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.layers.step import Step


@dataclass(frozen=True, slots=True)
class Experts:
    """A router that chooses some of many gated MLPs for each token."""

    router: Linear
    experts: Sequence[Expert]
    rule: ExpertRule

    @classmethod
    def of(
        cls, router: Linear, gate_up: Sequence[Linear], down: Sequence[Linear], rule: ExpertRule
    ) -> "Experts":
        """The layer of two products for each expert."""
        experts = [
            Expert(first.weight, first.bias, second.weight, second.bias)
            for first, second in zip(gate_up, down, strict=True)
        ]
        return cls(router, experts, rule)

    def __call__(self, x: "Tensor", step: "Step") -> "Tensor":
        """[num_tokens, hidden] to [num_tokens, hidden]."""
        scores = self.router(x, step, "scores")
        out = step.scratch.rows("hidden", x.shape[0], x.shape[1])
        step.ops.experts(out, x, scores, self.experts, self.rule)
        return out
