"""A linear layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore import kernels


@dataclass(frozen=True, slots=True)
class Linear:
    """`x @ weight.T + bias`."""

    weight: kernels.LinearWeight
    bias: Tensor | None
    """[out], or None"""

    @classmethod
    def prepare(cls, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, exact: bool) -> "Linear":
        """Put a weight into the form that its product reads; `weight` may be freed afterwards.

        Args:
            weight: [out, in].
            bias: [out], or None.
            dtype: of the activations.
            exact: never round activations below that.
        """
        return cls(kernels.pack_linear_weight(weight, dtype, exact=exact), bias)

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, in] to [num_tokens, out]."""
        return kernels.multiply(x, self.weight, self.bias)
