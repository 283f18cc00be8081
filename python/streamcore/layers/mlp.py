"""A gated feed-forward layer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.linear import Linear
from streamcore.operands import Activation

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.layers.step import Step
    from streamcore.layers.weights import Weights


@dataclass(frozen=True, slots=True)
class GatedMlp:
    """`down(activation(gate(x)) * up(x))` (Shazeer 2020, arXiv:2002.05202)."""

    gate_up: Linear
    """Rows of the gate, then rows of the up projection."""
    down: Linear
    activation: Activation = "silu"

    @classmethod
    def of(
        cls,
        weights: "Weights",
        hidden: int,
        inter: int,
        *,
        bias: bool = False,
        activation: Activation = "silu",
    ) -> "GatedMlp":
        """The layer by the names that nearly every checkpoint has."""
        gate_up = weights.linear({"gate_proj": inter, "up_proj": inter}, hidden, bias=bias)
        return cls(gate_up, weights.linear({"down_proj": hidden}, inter, bias=bias), activation)

    def __call__(self, x: "Tensor", step: "Step") -> "Tensor":
        """[num_tokens, hidden] to [num_tokens, hidden]."""
        weight = self.gate_up.weight
        gate_up = step.scratch.rows("gate_up", x.shape[0], weight.gate_up_width)
        active = step.scratch.rows("active", x.shape[0], weight.num_outputs // 2)
        step.ops.gated_linear(active, gate_up, x, weight, self.gate_up.bias, self.activation)
        return self.down(active, step, "hidden")
