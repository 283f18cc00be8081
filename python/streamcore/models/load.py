"""Brings the weights of a checked model folder to a device: the second building of its family."""

from collections.abc import Mapping, Sequence

import torch
from safetensors import SafetensorError
from torch import Tensor

from streamcore import kernels
from streamcore.errors import ModelLoadError
from streamcore.layers.linear import Linear
from streamcore.layers.weights import Stack, Weights
from streamcore.models.folder import ModelFolder
from streamcore.models.formats.plain import experts_apart, matrix_of, stack_of
from streamcore.models.formats.stored import Stored
from streamcore.models.model import Model
from streamcore.models.precision import Precision, precision_of
from streamcore.models.progress import Progress
from streamcore.models.tensor_source import TensorSource

# How many numbers of a matrix are widened at once: what lies between stays in the processor's
# cache, and new memory for every step would take most of the time. The first row is a multiple of
# the second number, so that nothing that is packed along the rows is cut.
_MAX_NUMBERS = 1 << 18
_ROWS = 32


def load_model(
    folder: ModelFolder,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress | None = None,
    *,
    kv_cache_dtype: str = "auto",
) -> Model:
    """Loads a model; `Model.prepare` must follow before it runs.

    Each tensor is copied from the mapped file straight to its place, and widened piece by piece
    where it is quantised, so that beside the weights no memory is needed but that of the matrix at
    hand, before it is packed.

    Args:
        folder: a folder that was checked.
        device: where it is to run.
        dtype: the precision; `precision_of` says what it means for which weights.
        progress: called after each tensor.
        kv_cache_dtype: of the KV cache that the model will be given, as `precision_of` takes it.

    Raises:
        ConfigError: no kernel reads such a cache.
        ModelLoadError: the device has not enough memory, or a file changed since it was checked.
    """
    precision = precision_of(folder, device, dtype, kv_cache_dtype)
    try:
        with folder.open_tensors() as source:
            reader = _Reader(folder, device, precision, progress, source)
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
        source: TensorSource,
    ) -> None:
        self._format = folder.format
        self._tensors = folder.tensors
        self._device = device
        self._precision = precision
        self._progress = progress
        self._source = source
        self._total = folder.num_file_bytes
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
            stored = matrix_of(self._format, name, rows, inputs, self._tensors)
            self._fill(weight[first : first + rows], stored, self._read_stored(name, stored))
            first += rows
            if not bias and f"{name}.bias" in self._tensors and bool(self._read(f"{name}.bias").any()):
                raise ModelLoadError(f"`{name}.bias` is not zero, the model has no bias there")
        biases = [self.vector(f"{name}.bias", rows, 0.0) for name, rows in parts.items()] if bias else []
        return self._product(weight, torch.cat(biases) if biases else None)

    def stack(self, stack: Stack) -> Sequence[Linear]:
        """See `Source`."""
        if apart := experts_apart(stack, self._tensors):
            return [self.linear(parts, stack.inputs, stack.bias is not None) for parts in apart]
        biases = (
            None if stack.bias is None else self._read(stack.bias).to(self._precision.activations, copy=True)
        )
        stored = stack_of(self._format, stack, self._tensors)
        tensors = self._read_stored(stack.name, stored)
        return [
            self._product(
                self._expert(stack, stored, {name: tensor[index] for name, tensor in tensors.items()}),
                None if biases is None else self._ordered(stack, biases[index]).to(self._device),
            )
            for index in range(stack.num_experts)
        ]

    def _expert(self, stack: Stack, stored: Stored, tensors: Mapping[str, Tensor]) -> Tensor:
        matrix = self._empty(stack.rows, stack.inputs)
        self._fill(matrix, stored, tensors)
        return self._ordered(stack, matrix)

    def _ordered(self, stack: Stack, rows: Tensor) -> Tensor:
        return torch.cat([rows[0::2], rows[1::2]]) if stack.is_interleaved else rows.contiguous()

    def _read_stored(self, name: str, stored: Stored) -> Mapping[str, Tensor]:
        """The tensors of a matrix that the files have."""
        present = [ending for ending in stored.entries if name + ending in self._tensors]
        tensors = {ending: self._read(name + ending) for ending in present}
        if (problem := stored.problem(tensors)) is not None:
            raise ModelLoadError(f"the weights of `{name}` cannot be used: {problem}")
        return tensors

    def _fill(self, matrix: Tensor, stored: Stored, tensors: Mapping[str, Tensor]) -> None:
        """Widens a matrix to its place, on the device that it is for."""
        if len(tensors) > 1:
            tensors = {ending: tensor.to(self._device) for ending, tensor in tensors.items()}
        rows, inputs = matrix.shape
        step = max(_MAX_NUMBERS // inputs // _ROWS, 1) * _ROWS
        for first in range(0, rows, step):
            piece = slice(first, min(first + step, rows))
            matrix[piece].copy_(stored.widen(tensors, piece))

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
        tensor = self._source.read(info)
        self._done += info.num_bytes
        if self._progress is not None:
            self._progress(self._done, self._total)
        return tensor
