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
    """The device by that name: `auto`, which takes a GPU if there is one, `cpu` or `cuda`.

    Raises:
        ConfigError: there is no CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`--device` is cuda, torch sees no CUDA device")
    return torch.device(name)


def choose_dtype(name: str, folder: ModelFolder, device: torch.device) -> torch.dtype:
    """The dtype by that name: `auto`, which works it out, `bfloat16`, `float16` or `float32`.

    `auto` is the checkpoint's own, but float16 on a GPU that cannot compute in bfloat16, and on a CPU float32
    where it computes slowly in 16 bits: in float16, and in bfloat16 without vector instructions. Such weights
    may take half of the memory that is available; larger ones run in bfloat16.

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
    needed = folder.num_parameters * precision_of(folder, device, dtype).weights.itemsize
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


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)
