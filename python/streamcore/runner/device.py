"""Chooses where a model runs and in which precision."""

import torch

from streamcore import kernels
from streamcore.errors import ConfigError, ModelLoadError
from streamcore.models.config import Dtype
from streamcore.models.folder import ModelFolder
from streamcore.models.precision import precision_of
from streamcore.runner.memory import available_memory

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_COMFORTABLE_SHARE = 0.5


def choose_device(name: str = "auto") -> torch.device:
    """The device by that name: `auto`, which takes a GPU if there is one, `cpu`, `cuda` or
    `cuda:N`.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    index = _index_of(name)
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    # torch's attention is left for what our kernels do not take. Its cuDNN would plan anew for
    # every length of a context, which takes longer than the step.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def _index_of(name: str) -> int:
    """The number of the CUDA device by that name."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise ConfigError(f"`--device` is {name}, torch sees no CUDA device")
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        raise ConfigError(f"`--device` is {name}, torch sees {count} CUDA device{'s' if count > 1 else ''}")
    return index


def choose_dtype(name: str, folder: ModelFolder, device: torch.device) -> torch.dtype:
    """The dtype by that name: `auto`, which works it out, `bfloat16`, `float16` or `float32`.

    `auto` is the checkpoint's own, but float16 on a GPU that cannot compute in bfloat16, and on a
    CPU float32 where it computes slowly in 16 bits: in float16, and in bfloat16 without vector
    instructions. Such weights may take half of the memory that is available; larger ones run in
    bfloat16.

    Raises:
        ConfigError: the device cannot compute in it.
        ModelLoadError: the weights do not fit into the device's memory.
    """
    available = available_memory(device)
    if name == "auto":
        dtype = _auto_dtype(folder, device, available)
    else:
        dtype = _DTYPES[name]
        if dtype == torch.bfloat16 and not _has_bfloat16(device):
            raise ConfigError(f"{device} cannot compute in bfloat16, use float16 or float32")
    precision = precision_of(folder, device, dtype)
    needed = folder.num_bytes(precision.weights.itemsize, precision.keeps)
    if needed > available:
        widened = f", widened from {folder.format.title}" if folder.format.title else ""
        raise ModelLoadError(
            f"the weights of {folder.path} need {needed / 1e9:.1f} GB as {_name(dtype)}{widened}, "
            f"{device} has {available / 1e9:.1f} GB available"
        )
    return dtype


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _auto_dtype(folder: ModelFolder, device: torch.device, available: int) -> torch.dtype:
    if device.type == "cpu":
        if folder.dtype == "bfloat16" and kernels.is_fast_in_bfloat16():
            return torch.bfloat16
        comfortable = folder.num_parameters * 4 <= available * _COMFORTABLE_SHARE
        return torch.float32 if comfortable else torch.bfloat16
    checkpoint: Dtype = folder.dtype
    if checkpoint == "bfloat16" and not _has_bfloat16(device):
        return torch.float16
    return _DTYPES[checkpoint]


def explain_dtype(device: torch.device) -> str:
    """What `--dtype auto` makes of checkpoints on a device, and why, in one line."""
    if device.type == "cuda":
        narrow = "" if _has_bfloat16(device) else ", float16 for bfloat16, in which it cannot compute"
        return f"that of the checkpoint{narrow}"
    wide = (
        "float32, because 16-bit numbers are slower here, and bfloat16 for weights beyond half of the memory"
    )
    if kernels.is_fast_in_bfloat16():
        return f"bfloat16 for checkpoints in bfloat16, which this processor computes fast; for others {wide}"
    return wide


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)
