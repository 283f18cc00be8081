"""Root-mean-square normalisation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.layers.step import Step
    from streamcore.layers.weights import Weights


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """`x / sqrt(mean(x²) + eps) * weight`."""

    weight: "Tensor"
    eps: float

    @classmethod
    def of(cls, weights: "Weights", name: str, size: int, eps: float, *, shift: float = 0.0) -> "RmsNorm":
        """The norm whose weight is `name.weight`, stored less `shift`."""
        return cls(weights.vector(f"{name}.weight", size, shift=shift), eps)

    def __call__(self, x: "Tensor", step: "Step") -> "Tensor":
        """Normalises rows in place."""
        step.ops.rms_norm(x, x, self.weight, self.eps)
        return x

    def add(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """Adds `x` to the residual in place, if there is anything to add yet, and returns the sum
        normalised.
        """
        out = step.scratch.rows("normalised", residual.shape[0], residual.shape[1])
        if x is None:
            step.ops.rms_norm(out, residual, self.weight, self.eps)
        else:
            step.ops.add_rms_norm(out, x, residual, self.weight, self.eps)
        return out
