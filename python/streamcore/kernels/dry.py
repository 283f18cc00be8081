"""`Ops` that compute nothing: a forward pass with them shows what memory it takes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from streamcore.kernels.few_rows import are_of_one_form, takes_experts
from streamcore.operands import Expert, ExpertRule

_FLOAT32_BYTES = torch.float32.itemsize


class DryOps:
    """Operations that leave everything as it is."""

    reads_blocks_apart = True

    has_experts = False
    """Whether one of them chose experts."""
    waits_for_experts = False
    """Whether it would be torch on a CUDA device, which waits for what is chosen."""
    most_bytes = 0
    """Maximum of what one operation allocates beside its output, where that grows with the tokens.
    """

    def __getattr__(self, name: str) -> Callable[..., None]:
        def nothing(*_: object) -> None: ...

        return nothing

    def experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        """The kernel of the CPU has a row for each expert that a token takes, with whole pairs of
        its inputs, and what the projections make of it.

        With torch all tokens may take the same expert: its input, inner tensors and output, and in
        float32 that output, its weighted form and the sum of all.
        """
        self.has_experts = True
        takes = takes_experts(x.dtype, x.shape[0], experts, rule) and are_of_one_form(experts)
        self.waits_for_experts |= not takes
        widest = max(expert.gate_up.num_outputs for expert in experts)
        if experts[0].gate_up.packed:
            num_rows, hidden = x.shape[0] * rule.num_used, x.shape[1]
            # Weights in groups have their inputs filled up beside that, and sums of groups.
            copied = 2 * max(hidden, widest) + 512 if experts[0].gate_up.form else 0
            num_numbers = num_rows * (hidden + hidden % 2 + widest) + x.shape[0] * copied
            self._take(num_numbers * _FLOAT32_BYTES)
            return
        inner = x.shape[0] * (widest + widest // 2) * x.element_size()
        self._take(inner + 2 * x.nbytes + 3 * x.numel() * _FLOAT32_BYTES)

    def _take(self, num_bytes: int) -> None:
        self.most_bytes = max(self.most_bytes, num_bytes)
