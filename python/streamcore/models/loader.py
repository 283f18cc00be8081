"""Brings the weights of a checked model folder to a device."""

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from streamcore import kernels
from streamcore.errors import ModelLoadError
from streamcore.models.folder import ModelFolder
from streamcore.models.layout import parameter_shapes
from streamcore.models.llama import LlamaModel
from streamcore.models.tensor_files import TensorInfo

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that were read and the bytes that there are."""


def load_model(
    folder: ModelFolder,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress | None = None,
) -> LlamaModel:
    """Loads a model; `LlamaModel.set_max_len` must follow before it runs.

    Args:
        folder: a folder that was checked.
        device: where it is to run.
        dtype: the precision; weights of another one are converted, but see `activation_dtype` and `matrix_dtype`.
        progress: told after each tensor.

    Raises:
        ModelLoadError: the device has not enough memory, or a file changed since it was checked.
    """
    parameters = load_parameters(folder, device, dtype, progress)
    return LlamaModel(folder.config, parameters, exact=dtype == torch.float32)


def activation_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What activations are kept in.

    On the CPU, bfloat16 activations would be widened and rounded again by every operation; where the kernels
    multiply float32 activations with bfloat16 weights, they stay float32 between the products.
    """
    stays_wide = device.type == "cpu" and dtype == torch.bfloat16 and kernels.can_keep_bfloat16()
    return torch.float32 if stays_wide else dtype


def matrix_dtype(folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What matrices are kept in.

    On the CPU those of a bfloat16 checkpoint stay so under float32 activations too: widening them as they are
    read is exact, and half the bytes are read.
    """
    matrices = {info.dtype for info in folder.tensors.values() if len(info.shape) == 2}
    stays_narrow = device.type == "cpu" and dtype == torch.float32 and matrices == {"BF16"}
    return torch.bfloat16 if stays_narrow and kernels.can_keep_bfloat16() else dtype


def load_parameters(
    folder: ModelFolder, device: torch.device, dtype: torch.dtype, progress: Progress | None = None
) -> dict[str, Tensor]:
    """The parameters by name, stacked as the folder's layout says.

    Each tensor is copied from the mapped file straight into its rows, so that beside the parameters no memory
    is needed but the pages of the tensor at hand.
    """
    shapes = parameter_shapes(folder.layout)
    try:
        wide, narrow = activation_dtype(device, dtype), matrix_dtype(folder, device, dtype)
        parameters = {
            name: torch.empty(shape, dtype=narrow if len(shape) == 2 else wide, device=device)
            for name, shape in shapes.items()
        }
        _fill(folder, parameters, progress)
    except torch.OutOfMemoryError as error:
        size_gb = folder.num_parameters * dtype.itemsize / 1e9
        raise ModelLoadError(
            f"the weights need {size_gb:.1f} GB, {device} has not enough free memory"
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"the weights in {folder.path} cannot be read: {error}") from error
    return parameters


def _fill(folder: ModelFolder, parameters: Mapping[str, Tensor], progress: Progress | None) -> None:
    num_bytes = {name: info.num_bytes for name, info in folder.tensors.items()}
    total, done = sum(num_bytes.values()), 0

    def path_of(item: tuple[str, TensorInfo]) -> str:
        return str(item[1].path)

    for path, tensors in groupby(sorted(folder.tensors.items(), key=path_of), key=path_of):
        with safe_open(path, framework="pt", device="cpu") as file:
            for name, _ in tensors:
                placement = folder.layout[name]
                rows = slice(placement.first_row, placement.first_row + placement.shape[0])
                parameters[placement.parameter][rows].copy_(file.get_tensor(name))
                done += num_bytes[name]
                if progress is not None:
                    progress(done, total)
