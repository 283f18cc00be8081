"""The weight of a projection in the form that its product reads.

On the CPU float32 activations meet packed weights. bfloat16 weights are either widened in registers
and multiplied in float32, or the activations are rounded to bfloat16 and the processor's own
products of bfloat16 pairs or tiles are used, as it suits the processor. Every product sums in
float32, and in the same order for any number of tokens. Weights of four and eight bits may meet
activations of eight, which are multiplied as integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from streamcore.kernels import grouped, library
from streamcore.kernels.grouped import Form, Grouped


@dataclass(frozen=True, slots=True)
class LinearWeight:
    """A weight [num_outputs, num_inputs]."""

    data: Tensor
    """The packed weight where `packed`, else the weight itself."""
    num_outputs: int
    num_inputs: int
    packed: bool
    """Whether the CPU kernel reads it; else torch does."""
    round_x: bool = False
    """Whether the kernel rounds activations to bfloat16 first."""
    form: Form | None = None
    """How the numbers lie in `data`, for a weight of four or eight bits in groups."""
    parts: "tuple[LinearWeight, ...]" = ()
    """Weights in groups of several forms whose outputs follow each other, in the place of `data`."""
    quantize_x: bool = False
    """Whether the kernel rounds activations to eight bits by group instead, for a weight in groups
    whose numbers eight bits hold.
    """

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return sum(part.num_bytes for part in self.parts) if self.parts else self.data.nbytes

    @property
    def gate_up_width(self) -> int:
        """Width of the product that `Ops.gated_linear` writes on its way; 0 where the kernel
        activates its sums at once.
        """
        is_at_once = (
            self.packed and not self.parts and self.form is None and library.activates(self.num_outputs)
        )
        return 0 if is_at_once else self.num_outputs


def can_keep_bfloat16() -> bool:
    """Whether float32 activations on the CPU can be multiplied with weights that stay
    in bfloat16.
    """
    return library.packs_weights()


def is_fast_in_bfloat16() -> bool:
    """Whether products of such weights on the CPU are as fast as those of float32."""
    return library.has_vectors()


def pack_linear_weight(weight: Tensor, dtype: torch.dtype, *, exact: bool) -> LinearWeight:
    """Prepares a weight for `Ops.linear`, once, at load; `weight` itself may be freed afterwards.

    A bfloat16 or float32 weight on the CPU for float32 activations is packed for the kernel, in the
    bytes that it had (outputs rounded up to 32); without the kernel it is widened to float32. Any
    other weight stays as it is.

    Args:
        weight: [num_outputs, num_inputs]; bfloat16 or `dtype`.
        dtype: of the activations.
        exact: never round activations to bfloat16, also where that is faster.
    """
    num_outputs, num_inputs = weight.shape
    if weight.device.type == "cpu" and dtype == torch.float32 and library.packs_weights():
        packed = library.pack_linear(weight.contiguous())
        round_x = weight.dtype == torch.bfloat16 and not exact and library.prefers_rounding()
        return LinearWeight(packed, num_outputs, num_inputs, packed=True, round_x=round_x)
    return LinearWeight(weight.to(dtype), num_outputs, num_inputs, packed=False)


def pack_grouped_weight(
    weights: Sequence[Grouped], dtype: torch.dtype, *, exact: bool, quantize_x: bool = False
) -> LinearWeight:
    """Prepares a weight of four or eight bits, which stays as small as it is.

    Args:
        weights: the numbers of some outputs each, one after another, on the device that they are
            for; of equal numbers of inputs.
        dtype: of the activations.
        exact: never round activations to bfloat16, also where that is faster. The numbers of the
            weight are never rounded.
        quantize_x: round activations to eight bits by group, where the kernels do.
    """
    alike = [list(neighbours) for _, neighbours in groupby(weights, key=lambda weight: weight.form)]
    parts = [_pack_grouped(first.join(others), dtype, exact, quantize_x) for first, *others in alike]
    if len(parts) == 1:
        return parts[0]
    num_outputs = sum(part.num_outputs for part in parts)
    return replace(parts[0], num_outputs=num_outputs, parts=tuple(parts), data=torch.empty(0))


def _pack_grouped(weight: Grouped, dtype: torch.dtype, exact: bool, quantize_x: bool) -> LinearWeight:
    num_outputs, num_inputs = weight.codes.shape
    is_cpu = weight.codes.device.type == "cpu"
    # No kernel of the CPU reads fp8: its weights are widened at load.
    packed = is_cpu and dtype == torch.float32 and library.packs_weights() and not weight.form.is_fp8
    round_x = packed and not exact and library.prefers_rounding()
    return LinearWeight(
        grouped.pack(weight),
        num_outputs,
        num_inputs,
        packed,
        round_x=round_x,
        quantize_x=packed and quantize_x,
        form=weight.form,
    )


def widened(weight: LinearWeight, dtype: torch.dtype) -> Tensor:
    """The matrix [num_outputs, num_inputs] of a weight that torch multiplies with."""
    if weight.parts:
        return torch.cat([widened(part, dtype) for part in weight.parts])
    if weight.form is None:
        return weight.data
    return grouped.unpack(weight.data, weight.form, weight.num_outputs, weight.num_inputs).values().to(dtype)
