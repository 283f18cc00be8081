"""In which precision a model computes, decided once."""

from dataclasses import dataclass

import torch

from streamcore import kernels
from streamcore.models.folder import ModelFolder


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtypes of a model on its device."""

    chosen: torch.dtype
    """What the user, or the choice made for the user, names."""
    activations: torch.dtype
    """On the CPU, bfloat16 activations would be widened and rounded again by every operation; where
    the kernels multiply float32 activations with bfloat16 weights, they stay float32 between the
    products."""
    weights: torch.dtype
    """Of matrices. On the CPU those of a bfloat16 checkpoint stay so under float32 activations too:
    widening them as they are read is exact, and half the bytes are read."""

    @property
    def cache(self) -> torch.dtype:
        """Of keys and values in the KV cache."""
        return self.chosen

    @property
    def is_exact(self) -> bool:
        """Whether activations are never rounded below their dtype."""
        return self.chosen == torch.float32


def precision_of(folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> Precision:
    """What `dtype` means for a folder on a device."""
    keeps_bfloat16 = device.type == "cpu" and kernels.can_keep_bfloat16()
    if keeps_bfloat16 and dtype == torch.float16:
        # There are no products of it on the CPU whose sums do not depend on the batch, and float32
        # holds each of its numbers.
        dtype = torch.float32
    activations = torch.float32 if keeps_bfloat16 and dtype == torch.bfloat16 else dtype
    is_narrow = keeps_bfloat16 and dtype == torch.float32 and folder.matrix_dtypes == {"BF16"}
    return Precision(dtype, activations, torch.bfloat16 if is_narrow else dtype)
