"""A gated feed-forward layer."""

from dataclasses import dataclass

from torch import Tensor

from streamcore import kernels
from streamcore.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class GatedMlp:
    """`down(silu(gate(x)) * up(x))` (Shazeer 2020, arXiv:2002.05202)."""

    gate_up: Linear
    """Rows of the gate, then rows of the up projection."""
    down: Linear
    operations: kernels.Operations

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, hidden] to [num_tokens, hidden]."""
        return self.down(self.operations.silu_mul(self.gate_up(x)))
