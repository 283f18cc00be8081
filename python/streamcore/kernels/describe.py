"""Which kernels are active and why, in one line."""

import torch

from streamcore.kernels import native
from streamcore.kernels.library import compiled, packs_weights, prefers_rounding


def description(dtype: torch.dtype | None = None, device: torch.device | None = None) -> str:
    """Which kernels are active and why, in one line.

    Args:
        dtype: the precision that the user chose; with it the line says how bfloat16 weights are
            multiplied.
        device: where the model runs. No other CUDA device is asked anything: that takes a second
            and hundreds of megabytes on each.
    """
    if compiled is None:
        return "CPU kernels: torch (the extension is not built); CUDA kernels: torch"
    cpu = f"CPU kernels: Rust, {compiled.cpu_features()}{_describe_products(dtype)}"
    return f"{cpu}, {compiled.num_threads()} threads; CUDA kernels: {_describe_cuda(device)}"


def _describe_products(dtype: torch.dtype | None) -> str:
    if dtype == torch.float32:
        return ", float32 products"
    if dtype != torch.bfloat16 or not packs_weights():
        return ""
    return f", {'bfloat16' if prefers_rounding() else 'float32'} products"


def _describe_cuda(device: torch.device | None) -> str:
    build = compiled.cuda_build()
    if build is None:
        return "torch (built without a CUDA compiler)"
    toolkit, targets = build
    built = f"built for {targets.replace(' ', ', ')} with CUDA {toolkit}"
    num_devices, error = compiled.cuda_device_count()
    if error == "cudaErrorInsufficientDriver":
        return f"{built}; no driver found, or one too old for it"
    if error is not None:
        return f"{built}; no device ({error})"
    if device is None or device.type != "cuda":
        return f"{built}; {num_devices} device{'s' if num_devices > 1 else ''}, not in use"
    if not native.has_cuda_kernels(device.index or 0):
        return f"{built}; torch on {device}, for which they have no code"
    return f"{built}; active on {device}"
