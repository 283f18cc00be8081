"""Brings the weights of a checked model folder to a device: the second building of its family."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from streamcore import kernels
from streamcore.errors import ModelLoadError
from streamcore.layers.linear import Linear
from streamcore.layers.weights import Stack, Weights
from streamcore.models.folder import ModelFolder
from streamcore.models.model import Model
from streamcore.models.precision import Precision, precision_of
from streamcore.models.progress import Progress


def load_model(
    folder: ModelFolder, device: torch.device, dtype: torch.dtype, progress: Progress | None = None
) -> Model:
    """Loads a model; `Model.prepare` must follow before it runs.

    Each tensor is copied from the mapped file straight to its place, so that beside the weights no
    memory is needed but that of the matrix at hand, before it is packed.

    Args:
        folder: a folder that was checked.
        device: where it is to run.
        dtype: the precision; `precision_of` says what it means for which weights.
        progress: called after each tensor.

    Raises:
        ModelLoadError: the device has not enough memory, or a file changed since it was checked.
    """
    precision = precision_of(folder, device, dtype)
    try:
        with ExitStack() as files:
            reader = _Reader(folder, device, precision, progress, files)
            decoder = folder.family.build(folder.config, Weights(reader))
    except torch.OutOfMemoryError as error:
        size_gb = folder.num_parameters * precision.weights.itemsize / 1e9
        raise ModelLoadError(
            f"the weights need {size_gb:.1f} GB, {device} has not enough free memory"
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"the weights in {folder.path} cannot be read: {error}") from error
    return Model(folder.config, decoder, precision, device)


class _Reader:
    """A source of weights that reads them."""

    def __init__(
        self,
        folder: ModelFolder,
        device: torch.device,
        precision: Precision,
        progress: Progress | None,
        files: ExitStack,
    ) -> None:
        self._tensors = folder.tensors
        self._device = device
        self._precision = precision
        self._progress = progress
        self._files = files
        self._opened: dict[Path, Any] = {}
        self._total = sum(info.num_bytes for info in folder.tensors.values())
        self._done = 0

    def vector(self, name: str, size: int, shift: float) -> Tensor:
        """See `Source`."""
        values = self._read(name)
        if shift:
            values = values.float() + shift
        return values.to(self._device, self._precision.activations, copy=True)

    def matrix(self, name: str, rows: int, columns: int) -> Tensor:
        """See `Source`."""
        matrix = self._empty(rows, columns)
        matrix.copy_(self._read(name))
        return matrix

    def linear(self, parts: Mapping[str, int], inputs: int, bias: bool) -> Linear:
        """See `Source`."""
        weight = self._empty(sum(parts.values()), inputs)
        first = 0
        for name, rows in parts.items():
            weight[first : first + rows].copy_(self._read(f"{name}.weight"))
            first += rows
        biases = [self.vector(f"{name}.bias", rows, 0.0) for name, rows in parts.items()] if bias else []
        return self._product(weight, torch.cat(biases) if biases else None)

    def stack(self, stack: Stack) -> Sequence[Linear]:
        """See `Source`."""
        biases = (
            None if stack.bias is None else self._read(stack.bias).to(self._precision.activations, copy=True)
        )
        stacked = self._read(stack.name)
        return [
            self._product(
                self._expert(stack, stacked[index]),
                None if biases is None else self._ordered(stack, biases[index]).to(self._device),
            )
            for index in range(stack.num_experts)
        ]

    def _expert(self, stack: Stack, weight: Tensor) -> Tensor:
        matrix = self._empty(stack.rows, stack.inputs)
        matrix.copy_(self._ordered(stack, weight.t() if stack.is_transposed else weight))
        return matrix

    def _ordered(self, stack: Stack, rows: Tensor) -> Tensor:
        return torch.cat([rows[0::2], rows[1::2]]) if stack.is_interleaved else rows.contiguous()

    def tied(self, matrix: Tensor) -> Linear:
        """See `Source`."""
        return self._product(matrix, None)

    def _product(self, weight: Tensor, bias: Tensor | None) -> Linear:
        precision = self._precision
        packed = kernels.pack_linear_weight(weight, precision.activations, exact=precision.is_exact)
        return Linear(packed, bias)

    def _empty(self, rows: int, columns: int) -> Tensor:
        return torch.empty(rows, columns, dtype=self._precision.weights, device=self._device)

    def _read(self, name: str) -> Tensor:
        info = self._tensors[name]
        file = self._opened.get(info.path)
        if file is None:
            opened = safe_open(str(info.path), framework="pt", device="cpu")
            file = self._opened[info.path] = self._files.enter_context(opened)
        tensor: Tensor = file.get_tensor(info.name)
        self._done += info.num_bytes
        if self._progress is not None:
            self._progress(self._done, self._total)
        return tensor
