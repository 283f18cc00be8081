"""A linear layer."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Linear:
    """`x @ weight.T + bias`."""

    weight: Tensor
    """[out, in]"""
    bias: Tensor | None = None
    """[out], or None"""

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, in] to [num_tokens, out]."""
        return functional.linear(x, self.weight, self.bias)
