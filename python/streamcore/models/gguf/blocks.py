"""The types in which GGUF files store numbers, and how tensors are read out of them.

Quantised types are blocks along the rows of a matrix. PyPI's `gguf` widens them; here only their
names and sizes are known.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from streamcore.errors import ModelLoadError

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels.grouped import Grouped

_READ: Mapping[str, tuple[int, int, int]] = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "BF16": (30, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34),
    "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
    "IQ1_S": (19, 256, 50),
    "IQ1_M": (29, 256, 56),
    "IQ2_XXS": (16, 256, 66),
    "IQ2_XS": (17, 256, 74),
    "IQ2_S": (22, 256, 82),
    "IQ3_XXS": (18, 256, 98),
    "IQ3_S": (21, 256, 110),
    "IQ4_NL": (20, 32, 18),
    "IQ4_XS": (23, 256, 136),
    "TQ1_0": (34, 256, 54),
    "TQ2_0": (35, 256, 66),
    "MXFP4": (39, 32, 17),
}
"""The types that are read: number in files, numbers and bytes of a block."""

BLOCKS: Mapping[str, tuple[int, int]] = {name: (count, size) for name, (_, count, size) in _READ.items()}
"""Numbers and bytes of a block, by type."""

_OTHERS = {
    **{9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64"},
    **{31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 40: "NVFP4", 41: "Q1_0"},
}
_NAMES: Mapping[int, str] = {number: name for name, (number, *_) in _READ.items()} | _OTHERS
GROUPED_TYPES = (
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ4_NL", "IQ4_XS", "MXFP4"),
)
"""Those that a kernel multiplies with as they are."""
PLAIN_TYPES = ("F32", "F16", "BF16")
"""Those without blocks."""
# Small enough for the caches of a core while its blocks are taken apart.
_CHUNK = 1 << 17


def type_name(number: int) -> str:
    """The name of a type by its number in files; those that are not known have none but it."""
    return _NAMES.get(number, f"type {number}")


def check_library() -> None:
    """Checks that the package is there that widens blocks.

    Raises:
        ModelLoadError: it is missing.
    """
    if find_spec("gguf") is None:
        raise ModelLoadError(
            "GGUF files are read with the package `gguf`, which is missing",
            "install it: `pip install 'gguf>=0.18'`, the extra `gguf` of streamcore-llm",
        )


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it lies in a file."""

    path: Path
    name: str
    type: str
    shape: tuple[int, ...]
    """Rows first, as in torch."""
    begin: int
    """The first byte in the file."""

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        numbers, num_bytes = BLOCKS[self.type]
        return self.num_elements // numbers * num_bytes

    @property
    def dtype(self) -> str:
        """What reading returns, as safetensors calls it."""
        return self.type if self.type in PLAIN_TYPES else "F32"

    def part(self, index: int) -> "StoredTensor":
        """One of the tensors that are stacked in this one."""
        size = self.num_bytes // self.shape[0]
        return replace(self, shape=self.shape[1:], begin=self.begin + index * size)

    def numbers(self) -> tuple[float, ...]:
        """All numbers of a small tensor of float32, without torch.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(self.begin)
            return struct.unpack(f"<{self.num_elements}f", file.read(self.num_bytes))

    def _mapped(self) -> Any:
        """The bytes of the file, [rows, bytes of a row]."""
        numpy, _ = _libraries()
        columns = self.shape[-1]
        rows, row_bytes = self.num_elements // columns, self.num_bytes * columns // self.num_elements
        try:
            # Private to this process: torch wants memory that it may write to.
            mapped = numpy.memmap(self.path, numpy.uint8, "c", self.begin, (rows, row_bytes))
        except ValueError as error:
            raise OSError(f"{self.path.name} has become shorter") from error
        return mapped.view(numpy.ndarray)

    def grouped(self) -> "Grouped | None":
        """The numbers of a matrix as they are; None for types that are widened.

        Raises:
            OSError: the file has changed since its header was read.
        """
        import torch

        from streamcore.models.gguf import groups

        if len(self.shape) != 2:
            return None
        return groups.grouped(torch.from_numpy(self._mapped()), self.type, BLOCKS[self.type][1])

    def read(self) -> "Tensor":
        """Maps plain numbers, and widens blocks to float32.

        Raises:
            OSError: the file has changed since its header was read.
        """
        import torch

        numpy, quants = _libraries()
        raw = self._mapped()
        rows, columns = len(raw), self.shape[-1]
        if self.type in PLAIN_TYPES:
            dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
            return torch.from_numpy(raw).view(dtypes[self.type]).reshape(self.shape)
        widened = torch.empty(rows, columns)
        target, widen = widened.numpy(), getattr(quants, self.type).dequantize_rows
        step = max(1, _CHUNK // columns)
        # A scale that is no number stays one, as in every other format.
        with numpy.errstate(all="ignore"):
            for first in range(0, rows, step):
                target[first : first + step] = widen(raw[first : first + step])
        return widened.reshape(self.shape)


def _libraries() -> tuple[Any, ModuleType]:
    import numpy
    from gguf import quants

    return numpy, quants
