"""Projections with bfloat16 weights and float32 activations on the CPU.

The kernel either widens the weights in registers and multiplies in float32, or rounds the activations to
bfloat16 and uses the processor's own products of bfloat16 pairs: whichever a measurement at load finds
faster. Both sum in float32, and in the same order for any number of tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from streamcore.kernels import checks, native


@dataclass(frozen=True)
class LinearWeight:
    """A weight [num_outputs, num_inputs] in the form that `linear` reads.

    Attributes:
        data: the packed weight where `packed`, else the weight itself.
        num_outputs: outputs of the projection.
        num_inputs: inputs of the projection.
        packed: whether the kernel reads it; else torch does.
        round_x: whether the kernel rounds activations to bfloat16 first.
    """

    data: Tensor
    num_outputs: int
    num_inputs: int
    packed: bool
    round_x: bool = False


def can_keep_bfloat16() -> bool:
    """Whether float32 activations on the CPU can be multiplied with weights that stay in bfloat16."""
    kernels = native.kernels_for(torch.empty(0))
    return isinstance(kernels, native.CpuKernels) and kernels.packs_weights()


def pack_linear_weight(weight: Tensor, dtype: torch.dtype, *, exact: bool) -> LinearWeight:
    """Prepares a weight for `linear`, once, at load; `weight` itself may be freed afterwards.

    A bfloat16 weight on the CPU for float32 activations is packed for the kernel, in as many bytes (outputs
    rounded up to 32); without the kernel it is widened to float32. Any other weight stays as it is.

    Args:
        weight: [num_outputs, num_inputs]; bfloat16 or `dtype`.
        dtype: of the activations.
        exact: never round activations to bfloat16, also where that is faster.
    """
    num_outputs, num_inputs = weight.shape
    if weight.dtype == dtype:
        return LinearWeight(weight, num_outputs, num_inputs, packed=False)
    kernels = native.kernels_for(weight)
    if isinstance(kernels, native.CpuKernels) and kernels.packs_weights():
        packed = kernels.pack_linear_weight(weight.contiguous())
        round_x = not exact and kernels.prefers_rounding()
        return LinearWeight(packed, num_outputs, num_inputs, packed=True, round_x=round_x)
    return LinearWeight(weight.float(), num_outputs, num_inputs, packed=False)


def linear(x: Tensor, weight: LinearWeight, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`, accumulated in float32.

    Args:
        x: [num_tokens, num_inputs]; float32 on the CPU for bfloat16 weights, else of the weight's dtype.
        weight: from `pack_linear_weight`.
        bias: [num_outputs], dtype of `x`.

    Returns:
        [num_tokens, num_outputs], contiguous, dtype of `x`.
    """
    if weight.packed:
        checks.rows("x", x)
        if x.dtype != torch.float32 or x.device.type != "cpu" or x.shape[1] != weight.num_inputs:
            raise ValueError(
                f"`x` must be float32 [num_tokens, {weight.num_inputs}] on the CPU, "
                f"got {x.dtype} {list(x.shape)} on {x.device}"
            )
    return multiply(x, weight, bias)


def multiply(x: Tensor, weight: LinearWeight, bias: Tensor | None) -> Tensor:
    """`linear` without its checks."""
    if not weight.packed:
        return functional.linear(x, weight.data, bias)
    kernels = native.cpu_kernels
    assert kernels is not None, "a packed weight exists only where its kernel does"
    product = kernels.linear(x, weight.data, weight.num_outputs, weight.round_x)
    return product if bias is None else product.add_(bias)
