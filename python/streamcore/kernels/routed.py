"""Experts, one after another: each reads the rows of the tokens that take it, so that an unused one
costs nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from streamcore.operands import Expert, ExpertRule

if TYPE_CHECKING:
    from streamcore.kernels.ops import Ops


def route(scores: Tensor, rule: ExpertRule) -> tuple[Tensor, Tensor]:
    """The experts of each token, int64 [num_tokens, num_used], and their weights, float32."""
    wide = scores.float()
    if rule.chooses_first:
        chosen, ids = wide.topk(rule.num_used, dim=-1)
        return ids, chosen.softmax(-1)
    weights, ids = wide.softmax(-1).topk(rule.num_used, dim=-1)
    return ids, weights / weights.sum(-1, keepdim=True) if rule.is_normalised else weights


def routed_experts(
    ops: "Ops", out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
) -> None:
    """See `Ops.experts`.

    Each row is computed as it would be alone, and the experts of a token are added in the order of
    their numbers, so a token's result does not depend on its neighbours.
    """
    ids, weights = route(scores, rule)
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for number in sorted(set(ids.flatten().tolist())):
        expert = experts[number]
        tokens, places = (ids == number).nonzero(as_tuple=True)
        output = _one(ops, x.index_select(0, tokens), expert, rule)
        total.index_add_(0, tokens, output.float() * weights[tokens, places].unsqueeze(1))
    out.copy_(total)


def _one(ops: "Ops", x: Tensor, expert: Expert, rule: ExpertRule) -> Tensor:
    gate_up = x.new_empty(x.shape[0], expert.gate_up.num_outputs)
    ops.linear(gate_up, x, expert.gate_up, expert.gate_up_bias)
    active = x.new_empty(x.shape[0], expert.gate_up.num_outputs // 2)
    ops.gated(active, gate_up, rule.activation)
    output = x.new_empty(x.shape)
    ops.linear(output, active, expert.down, expert.down_bias)
    return output
