"""In which precision a model computes, decided once."""

from dataclasses import dataclass

import torch

from streamcore import kernels
from streamcore.errors import ConfigError
from streamcore.kernels.native import has_cuda_kernels, takes_heads
from streamcore.models.folder import ModelFolder
from streamcore.models.tensor_files import Kept


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
    cache: torch.dtype
    """Of keys and values in the KV cache."""
    keeps: frozenset[Kept] = frozenset()
    """Numbers of four and eight bits that are multiplied with as they are; others are widened."""
    quantize: str = "none"
    """What other matrices are rounded to: `int8`, `int4` or `none`."""

    @property
    def is_exact(self) -> bool:
        """Whether activations are never rounded below their dtype."""
        return self.chosen == torch.float32


def precision_of(
    folder: ModelFolder,
    device: torch.device,
    dtype: torch.dtype,
    kv_cache_dtype: str = "auto",
    quantize: str = "none",
) -> Precision:
    """What `dtype` means for a folder on a device.

    Args:
        kv_cache_dtype: `auto`, which is `dtype`, or `fp8`.
        quantize: as in `load_model`.

    Raises:
        ConfigError: no kernel reads such a cache, or such weights.
    """
    keeps_bfloat16 = device.type == "cpu" and kernels.can_keep_bfloat16()
    if keeps_bfloat16 and dtype == torch.float16:
        # There are no products of it on the CPU whose sums do not depend on the batch, and float32
        # holds each of its numbers.
        dtype = torch.float32
    activations = torch.float32 if keeps_bfloat16 and dtype == torch.bfloat16 else dtype
    is_narrow = keeps_bfloat16 and dtype == torch.float32 and folder.matrix_dtypes == {"BF16"}
    cache = dtype
    if kv_cache_dtype == "fp8":
        head_dim = folder.config.head_dim
        if not _reads_narrow_cache(device, activations, head_dim):
            name = str(activations).removeprefix("torch.")
            raise ConfigError(
                f"`--kv-cache-dtype` is fp8, which no kernel reads on {device} in {name} with heads of {head_dim}"
            )
        cache = torch.float8_e4m3fn
    on_cpu = keeps_bfloat16 and activations == torch.float32
    if quantize != "none" and not on_cpu:
        raise ConfigError(f"`--quantize` is {quantize}, which needs the CPU's kernels, not {device}")
    keeps = frozenset[Kept](["integers"] if on_cpu else [])
    if _multiplies_groups(device, activations):
        keeps = frozenset(["integers", "fp8"])
    return Precision(dtype, activations, torch.bfloat16 if is_narrow else dtype, cache, keeps, quantize)


def _reads_narrow_cache(device: torch.device, activations: torch.dtype, head_dim: int) -> bool:
    """Whether attention over a cache in eight bits is a kernel's: torch would widen all of it."""
    if device.type == "cpu":
        return activations == torch.float32
    return has_cuda_kernels(device.index or 0) and takes_heads(activations, head_dim)


def _multiplies_groups(device: torch.device, activations: torch.dtype) -> bool:
    """Whether a device has kernels for weights of four and eight bits."""
    is_taken = device.type == "cuda" and activations in (torch.bfloat16, torch.float16)
    return is_taken and has_cuda_kernels(device.index or 0)
