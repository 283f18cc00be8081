"""Brings the weights of a checked model folder to a device: the second building of its family."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import Tensor

from streamcore import kernels
from streamcore.errors import ModelLoadError
from streamcore.kernels import LinearWeight, pages
from streamcore.kernels.grouped import Grouped
from streamcore.layers.linear import Linear
from streamcore.layers.weights import Stack, Weights
from streamcore.models.folder import ModelFolder
from streamcore.models.formats.groups import quantised
from streamcore.models.formats.plain import PlainMatrix, experts_apart, matrix_of, stack_of
from streamcore.models.formats.stored import Stored
from streamcore.models.model import Model, WeightSizes
from streamcore.models.precision import Precision, precision_of
from streamcore.models.progress import Progress
from streamcore.models.tensor_source import TensorSource

# How many numbers of a matrix are widened at once: what lies between stays in the processor's
# cache, and new memory for every step would take most of the time. The first row is a multiple of
# the second number, so that nothing that is packed along the rows is cut.
_MAX_NUMBERS = 1 << 18
_ROWS = 32
# The ends of the names of routers.
_ROUTERS = (".gate", ".router", ".router.layer")


def load_model(
    folder: ModelFolder,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress | None = None,
    *,
    kv_cache_dtype: str = "auto",
    quantize: str = "none",
    quantize_activations: str = "none",
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
        quantize: what matrices become that would be widened: `int8`, `int4` (the output matrix in 8
            bits), or `none`. Those of formats that can be multiplied with as they are stay so.
        quantize_activations: what activations are rounded to, by group, where they meet weights of
            four and eight bits: `int8` or `none`.

    Raises:
        ConfigError: no kernel reads such a cache, or takes such activations.
        ModelLoadError: the device has not enough memory, or a file changed since it was checked.
    """
    precision = precision_of(folder, device, dtype, kv_cache_dtype, quantize, quantize_activations)
    try:
        with folder.open_tensors() as source:
            reader = _Reader(folder, device, precision, progress, source)
            decoder = folder.family.build(folder.config, Weights(reader))
            sizes = reader.sizes
    except torch.OutOfMemoryError as error:
        size_gb = folder.num_parameters * precision.weights.itemsize / 1e9
        raise ModelLoadError(
            f"the weights need {size_gb:.1f} GB, {device} has not enough free memory"
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"the weights in {folder.path} cannot be read: {error}") from error
    return Model(folder.config, decoder, precision, device, sizes)


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
        self._counted: set[str] = set()
        self._names: dict[int, str] = {}
        """Of matrices that were handed out, by their address."""
        self.sizes = WeightSizes()

    def vector(self, name: str, size: int, shift: float) -> Tensor:
        """See `Source`."""
        values = self._read(name)
        if shift:
            values = values.float() + shift
        vector = values.to(self._device, self._precision.activations, copy=True)
        self.sizes.total += vector.nbytes
        return vector

    def matrix(self, name: str, rows: int, columns: int) -> Tensor:
        """See `Source`."""
        matrix = self._lasting(rows, columns)
        matrix.copy_(self._read(name))
        self.sizes.total += matrix.nbytes
        self._names[matrix.data_ptr()] = name
        return matrix

    def linear(self, parts: Mapping[str, int], inputs: int, bias: bool) -> Linear:
        """See `Source`."""
        stored = {
            name: matrix_of(self._format, name, rows, inputs, self._tensors) for name, rows in parts.items()
        }
        weight = self._grouped(stored)
        if weight is None:
            matrix = self._widened(stored, parts, inputs)
            weight = self._packed(matrix, self._bits_of(next(iter(parts))))
        for name in parts:
            if not bias and f"{name}.bias" in self._tensors and bool(self._read(f"{name}.bias").any()):
                raise ModelLoadError(f"`{name}.bias` is not zero, the model has no bias there")
        biases = [self.vector(f"{name}.bias", rows, 0.0) for name, rows in parts.items()] if bias else []
        return Linear(weight, torch.cat(biases) if biases else None)

    def _widened(self, stored: Mapping[str, Stored], parts: Mapping[str, int], inputs: int) -> Tensor:
        matrix = self._empty(sum(parts.values()), inputs)
        first = 0
        for name, rows in parts.items():
            self._fill(matrix[first : first + rows], stored[name], self._read_stored(name, stored[name]))
            first += rows
        return matrix

    def _grouped(self, stored: Mapping[str, Stored]) -> LinearWeight | None:
        """The product of matrices that are multiplied with as they are; None where one of them has
        to be widened.
        """
        numbers: list[Grouped] = []
        for name, matrix in stored.items():
            found = self._numbers(name, matrix)
            if found is None:
                return None
            numbers.append(found)
        # The kernel of experts takes one form for each product.
        if len({part.form for part in numbers}) > 1 and ".experts." in next(iter(stored)):
            return None
        return self._pack_grouped(numbers)

    def _numbers(self, name: str, stored: Stored) -> Grouped | None:
        """The numbers of a matrix as the files have them, if those can be multiplied with."""
        if isinstance(stored, PlainMatrix):
            return self._numbers_of(f"{name}.weight")
        return self._kept(stored, self._read_stored(name, stored)) if self._precision.keeps else None

    def _numbers_of(self, name: str) -> Grouped | None:
        """The same of a matrix in one tensor."""
        if "integers" not in self._precision.keeps:
            return None
        numbers = self._source.grouped(self._tensors[name])
        if numbers is not None:
            self._count(name)
        return numbers

    def _kept(self, stored: Stored, tensors: Mapping[str, Tensor]) -> Grouped | None:
        """The same of a matrix in the tensors of a format."""
        numbers = stored.grouped(tensors)
        if numbers is None or ("fp8" if numbers.form.is_fp8 else "integers") not in self._precision.keeps:
            return None
        return numbers

    def _pack_grouped(self, numbers: Sequence[Grouped]) -> LinearWeight:
        precision = self._precision
        placed = [part.map(lambda tensor: tensor.to(self._device)) for part in numbers]
        weight = kernels.pack_grouped_weight(
            placed,
            precision.activations,
            exact=precision.is_exact,
            quantize_x=precision.quantizes_activations,
        )
        self.sizes.total += weight.num_bytes
        self.sizes.grouped += weight.num_bytes
        return weight

    def _bits_of(self, name: str) -> Literal[4, 8] | None:
        """In how many bits a widened matrix is multiplied with; None for those of its dtype. The
        scores of a router are few, and decide much.
        """
        if self._precision.quantize == "none" or name.endswith(_ROUTERS):
            return None
        return 4 if self._precision.quantize == "int4" and not name.endswith("lm_head") else 8

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
            Linear(
                self._expert(stack, stored, {name: tensor[index] for name, tensor in tensors.items()}),
                None if biases is None else self._ordered(stack, biases[index]).to(self._device),
            )
            for index in range(stack.num_experts)
        ]

    def _expert(self, stack: Stack, stored: Stored, tensors: Mapping[str, Tensor]) -> LinearWeight:
        numbers = self._kept(stored, tensors) if self._precision.keeps else None
        if numbers is not None:
            return self._pack_grouped([numbers.map(lambda rows: self._ordered(stack, rows))])
        matrix = self._empty(stack.rows, stack.inputs)
        self._fill(matrix, stored, tensors)
        return self._packed(self._ordered(stack, matrix), self._bits_of(stack.name))

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
        name = self._names[matrix.data_ptr()]
        numbers = self._numbers_of(name)
        if numbers is not None:
            return Linear(self._pack_grouped([numbers]))
        return Linear(self._packed(matrix, None if self._precision.quantize == "none" else 8))

    def _packed(self, matrix: Tensor, bits: Literal[4, 8] | None) -> LinearWeight:
        if bits is not None:
            return self._pack_grouped([quantised(matrix, bits)])
        precision = self._precision
        weight = kernels.pack_linear_weight(matrix, precision.activations, exact=precision.is_exact)
        self.sizes.total += weight.num_bytes
        return weight

    def _lasting(self, rows: int, columns: int) -> Tensor:
        if self._device.type != "cpu":
            return self._empty(rows, columns)
        return pages.empty_beside_others(rows * columns, self._precision.weights).view(rows, columns)

    def _empty(self, rows: int, columns: int) -> Tensor:
        return torch.empty(rows, columns, dtype=self._precision.weights, device=self._device)

    def _read(self, name: str) -> Tensor:
        tensor = self._source.read(self._tensors[name])
        self._count(name)
        return tensor

    def _count(self, name: str) -> None:
        """Shows that a tensor was read, the first time."""
        if name in self._counted:
            return
        self._counted.add(name)
        self._done += self._tensors[name].num_bytes
        if self._progress is not None:
            self._progress(self._done, self._total)
