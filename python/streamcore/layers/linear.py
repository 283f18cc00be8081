"""A linear layer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels import LinearWeight
    from streamcore.layers.step import Step


@dataclass(frozen=True, slots=True)
class Linear:
    """`x @ weight.T + bias`."""

    weight: "LinearWeight"
    bias: "Tensor | None" = None
    """[out], or None"""

    def __call__(self, x: "Tensor", step: "Step", name: str) -> "Tensor":
        """[num_rows, in] to [num_rows, out], in the step's rows of that name."""
        out = step.scratch.rows(name, x.shape[0], self.weight.num_outputs)
        step.ops.linear(out, x, self.weight, self.bias)
        return out
