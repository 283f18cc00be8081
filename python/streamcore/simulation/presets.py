"""What is known of some GPUs and models, from their data sheets and configs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """The figures of a data sheet."""

    bandwidth: float
    """Bytes read in a second."""
    flops: float
    """Operations in a second with 16-bit numbers, without sparsity."""
    memory: float
    """Bytes."""


@dataclass(frozen=True)
class ModelSize:
    """What of a model decides how long a step takes."""

    num_weights: float
    kv_bytes_per_token: float
    """Keys and values of all layers, in 16 bits."""


KV_BYTES = 2
"""Of each number in a key or a value."""


BANDWIDTH_SHARE = 0.8
"""What kernels reach of the bandwidth in a data sheet."""
FLOPS_SHARE = 0.5
"""What they reach of the operations."""

DEVICES: Mapping[str, Gpu] = {
    "l4": Gpu(300e9, 121e12, 24e9),
    "a100": Gpu(2.04e12, 312e12, 80e9),
    "h100": Gpu(3.35e12, 989e12, 80e9),
    "h200": Gpu(4.8e12, 989e12, 141e9),
    "b200": Gpu(8e12, 2250e12, 180e9),
}

MODELS: Mapping[str, ModelSize] = {
    "llama-3.2-1b": ModelSize(1.24e9, 2 * 16 * 8 * 64 * 2),
    "llama-3.2-3b": ModelSize(3.21e9, 2 * 28 * 8 * 128 * 2),
    "llama-3.1-8b": ModelSize(8.03e9, 2 * 32 * 8 * 128 * 2),
    "llama-3.1-70b": ModelSize(70.6e9, 2 * 80 * 8 * 128 * 2),
}
